"""aiokafka's connections on uvloop.

A transport of uvloop raises RuntimeError when it is written to after it was closed, as happens where two connections
break at once. aiokafka knows OSError there; at any other error the task that wrote, which fetches or takes part in the
consumer group, ends for good and without a word.
"""

from __future__ import annotations

from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def tell_closed_connections() -> None:
    """Let aiokafka take a connection that is closed for a broken one, in the whole process."""
    AIOKafkaConnection.send = _send_unless_closed


def _send_unless_closed(connection: Any, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002 - aiokafka's
    try:
        return _send(connection, request, expect_response=expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"The connection is broken: {error}") from error
