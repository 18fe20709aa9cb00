"""A patch for aiokafka's connections on uvloop.

A uvloop transport raises RuntimeError on a write after close, which happens when two connections break at once.
aiokafka handles only OSError there: any other error silently ends the task that fetches or keeps the group membership.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


def patch_closed_connections() -> None:
    """Make aiokafka treat a closed connection as broken, for the whole process."""
    AIOKafkaConnection.send = _send_unless_closed


@wraps(_send)
def _send_unless_closed(connection: Any, request: Any, expect_response: bool = True) -> Any:  # noqa: FBT001, FBT002 - aiokafka's
    try:
        return _send(connection, request, expect_response=expect_response)
    except RuntimeError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"The connection is broken: {error}") from error
