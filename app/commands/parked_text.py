"""What the commands for parked events print for people."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.folding.parked_groups import Group, ParkedOutcome
from tables.parked.parked_list import ParkedGroup, ParkedOne


def outcome_text(outcome: ParkedOutcome, what: Group | int | None) -> Sequence[str]:
    """The outcome of a retry or a discard of `what`: a group, the first event of a group, or all (None)."""
    discarded = f"{outcome.discarded} discarded; of the events behind, " if outcome.discarded else ""
    counted = f"{discarded}{outcome.applied} applied, {outcome.still_parked} still parked"
    return (
        f"{outcome.projection}{_named(what)}: {counted}",
        *(f"  position {failure.position}, key {failure.key!r}: {failure.error}" for failure in outcome.failures),
    )


def _named(what: Group | int | None) -> str:
    """What the numbers count, beside the projection."""
    if what is None:
        return ""
    if isinstance(what, int):
        return f", key of position {what}"
    return f", {'key' if what.key_is_known else 'partition key'} {what.key!r}"


def group_text(group: ParkedGroup) -> Sequence[str]:
    """The first parked event of a key."""
    kind = "key" if group.key_is_known else "partition key"
    return (
        f"{group.projection}, {kind} {group.key!r}: {group.waiting_behind} waiting behind it",
        f"  position {group.position}: {group.type}, source {group.source!r}, id {group.id!r}",
        f"  {group.error}",
        f"  {group.attempts} attempts, parked since {group.parked_at:%Y-%m-%dT%H:%M:%SZ}",
    )


def event_text(event: ParkedOne) -> Sequence[str]:
    """A parked event with its envelope."""
    kind = "key" if event.key_is_known else "partition key"
    is_first = event.first_position == event.position
    place = "first of its group" if is_first else f"waits behind position {event.first_position}"
    return (
        f"{event.projection}, {kind} {event.key!r}, position {event.position}: {place}",
        f"{event.error}",
        *(f"  {line}" for line in (event.traceback or "").splitlines()),
        f"{event.attempts} attempts, parked since {event.parked_at:%Y-%m-%dT%H:%M:%SZ}",
        "" if event.event is None else bytes(event.event).decode(),
    )
