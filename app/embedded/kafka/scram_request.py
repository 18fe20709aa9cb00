"""Kafka's request AlterUserScramCredentials, which aiokafka lacks: it sets the password of a user."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

API_KEY = 51
SCRAM_SHA_256 = 1
# The least that Kafka allows; the password is random, so more would not make it harder to guess.
ITERATIONS = 4_096


class Upsertion(NamedTuple):
    """A user, and what the broker keeps of the password."""

    name: str
    mechanism: int
    iterations: int
    salt: bytes
    salted_password: bytes


class AlterScramResponse(Response):  # type: ignore[misc]  # mypy does not follow aiokafka
    """A result for each user: name, error code, error message, tags."""

    API_KEY = API_KEY
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterScramRequestStruct(RequestStruct):  # type: ignore[misc]  # mypy does not follow aiokafka
    """Version 0."""

    FLEXIBLE_VERSION = True
    API_KEY = API_KEY
    API_VERSION = 0
    RESPONSE_TYPE = AlterScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterScramRequest(Request[AlterScramRequestStruct]):  # type: ignore[misc]  # mypy does not follow aiokafka
    """Sets the password of one user."""

    API_KEY = API_KEY

    def __init__(self, upsertion: Upsertion) -> None:
        self._upsertion = upsertion

    def build(self, request_struct_class: type[AlterScramRequestStruct]) -> Any:
        """The request in the version that the broker knows."""
        return request_struct_class([], [(*self._upsertion, {})], {})
