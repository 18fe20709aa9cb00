"""Patches for aiokafka's logins.

An answer that is no answer of a broker raises ValueError, KeyError and others there. aiokafka handles only KafkaError
and OSError: anything else would end the worker, or silently one of aiokafka's tasks. And it considers a token accepted
when the broker answers why it refuses it.
"""

from __future__ import annotations

import struct
from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed

NO_ANSWER = (ValueError, LookupError, AssertionError, TypeError, struct.error)

_log_in = AIOKafkaConnection._do_sasl_handshake
_next_step = OAuthAuthenticator.step


def patch_handshakes() -> None:
    """Make aiokafka treat a failed login as such, for the whole process."""
    AIOKafkaConnection._do_sasl_handshake = _log_in_or_fail
    OAuthAuthenticator.step = _step_unless_refused


@wraps(_log_in)
async def _log_in_or_fail(connection: Any) -> None:
    try:
        await _log_in(connection)
    except NO_ANSWER as error:
        reason = str(error) or type(error).__name__
        raise KafkaConnectionError(
            f"The login at {connection.host}:{connection.port} failed: no answer of a broker that knows the password "
            f"({reason})"
        ) from error


@wraps(_next_step)
async def _step_unless_refused(authenticator: Any, payload: bytes | None) -> Any:
    # RFC 7628: the broker answers nothing if it accepts the token, and JSON if it refuses it.
    if payload:
        raise SaslAuthenticationFailed(payload[:200].decode(errors="replace"))
    return await _next_step(authenticator, payload)
