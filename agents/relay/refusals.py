"""Errors with which a broker refuses a batch for what is in it, as opposed to being unavailable."""

from __future__ import annotations

from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
    kafka_errors,
)


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc] # aiokafka has no types
    """The broker has validated the record and refuses it; aiokafka does not know this code."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The record has failed the validation on the broker."


kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

# A missing permission, or a clock that is wrong, is not the fault of a record.
REFUSALS = (
    CorruptRecordException,
    InvalidRecordError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)


def text_of(error: BrokerResponseError) -> str:
    """What the broker said, for people."""
    return f"{error.message}: {error.description}"
