"""Whether a caller may write an event: its source, subject, type and partition key, against the caller's grant."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.access.grant import Allowed, Grant
from headrace.events.envelope import EnvelopeError, ParsedEvent
from headrace.events.refusals import Refusal

TITLE = "Not yours"
DETAIL = "The key may not touch this event. See errors for what is allowed."


def not_yours(event: ParsedEvent, grant: Grant) -> Refusal | None:
    """The refusal of an event that the caller may not write; None if it may.

    Decided by the event alone, before the store is asked: no answer says whether another's event exists.
    """
    errors = list(_errors(event, grant))
    return Refusal(403, "not_yours", TITLE, DETAIL, errors, event.id, event.source) if errors else None


def _errors(event: ParsedEvent, grant: Grant) -> Iterator[EnvelopeError]:
    sources, subjects, types = grant
    if sources is not None and not sources.has(event.source):
        yield EnvelopeError("/source", "not_yours", _allowed(sources))
    if subjects is not None and not subjects.has(event.subject):
        yield EnvelopeError("/subject", "not_yours", _allowed(subjects))
    if types is not None and not types.has(event.type):
        yield EnvelopeError("/type", "not_yours", _allowed(types))
    keys = sources if subjects is None else subjects
    if keys is not None and not _has_own_key(event, grant, keys):
        detail = f"{_allowed(keys)}; or leave it out"
        yield EnvelopeError("/partitionkey", "not_yours", detail)


def _has_own_key(event: ParsedEvent, grant: Grant, keys: Allowed) -> bool:
    """Whether the event is ordered among events that the caller may write.

    Events of a key wait for one another: in the key of another, an event that cannot be applied would hold up the
    other's events. The event's own source is such a key only if the source is limited, and its own subject is one in
    any case: it is either allowed, or the caller may write any subject.
    """
    key = event.partition_key
    return key == event.subject or (key == event.source and grant.sources is not None) or keys.has(key)


def _allowed(allowed: Allowed) -> str:
    return f"the key may touch: {allowed.in_words}"
