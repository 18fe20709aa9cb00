"""Which records of the topic are events of this database, and why the others are passed over."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from headrace.events.origin import ORIGIN, Origin, Timeline, is_signed, origin_in, unpack_claim
from headrace.events.topic_record import Record, decode


class Reason(StrEnum):
    """Why a record is passed over."""

    UNREADABLE = "unreadable"
    """It is not an event."""
    UNSIGNED = "unsigned"
    """It has no origin: an earlier version wrote it, or another program."""
    FOREIGN = "foreign"
    """Another installation wrote it."""
    FORGED = "forged"
    """It names this installation, but the signature is not ours, or not of this value or partition."""
    ABANDONED = "abandoned"
    """It is of an epoch, or a part of one, that this database does not have."""
    AHEAD = "ahead"
    """The event store does not have this position."""


Genuine = tuple[Record, int]
"""An event of this database, and the position of the event before in its partition; -1 if its record does not say."""


class PassedOver(NamedTuple):
    """A record that is not applied."""

    reason: Reason
    position: int = 0
    """What it claims; 0 if it claims none, or if that was not read."""
    origin: Origin | None = None


def judge(
    timeline: Timeline, partition: int, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> Genuine | PassedOver:
    """Whether a record is an event of this database. Never raises, whatever a stranger wrote."""
    for name, header in headers:
        if name == ORIGIN:
            origin = origin_in(header)
            break
    else:
        origin = None
    if origin is None:
        unsigned = decode(value, partition)
        return PassedOver(Reason.UNREADABLE) if unsigned is None else PassedOver(Reason.UNSIGNED, unsigned.position)
    installation = timeline.installation
    _, named, epoch, follows = unpack_claim(origin)
    if named != installation.id:
        return PassedOver(Reason.FOREIGN, 0, Origin(named, epoch))
    if value is None or not is_signed(origin, installation, partition, value):
        return PassedOver(Reason.FORGED, 0, Origin(named, epoch))
    record = decode(value, partition)
    if record is None:
        return PassedOver(Reason.UNREADABLE, 0, Origin(named, epoch))
    if record.position > timeline.ends.get(epoch, 0):
        return PassedOver(Reason.ABANDONED, record.position, Origin(named, epoch))
    return record, follows
