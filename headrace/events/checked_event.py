"""An event as it is accepted, or why it is refused: the same for every transport."""

from __future__ import annotations

from collections.abc import Callable

from headrace.access.grant import EVERYTHING, Grant
from headrace.events.envelope import InvalidEnvelope, ParsedEvent, unreadable
from headrace.events.known_types import EventTypes
from headrace.events.ownership import not_yours
from headrace.events.refusals import Refusal, invalid, misfit


def checked(
    parse: Callable[[], ParsedEvent | InvalidEnvelope], event_types: EventTypes, grant: Grant = EVERYTHING
) -> ParsedEvent | Refusal:
    """What `parse` returns, if its sender may write it and it fits its type; otherwise its refusal.

    That is also so if it raises InvalidEnvelope, or any error but MemoryError, of which the log has the traceback.
    """
    try:
        event = parse()
        if isinstance(event, InvalidEnvelope):
            return invalid(event)
        if grant is not EVERYTHING and (refusal := not_yours(event, grant)) is not None:
            return refusal
        errors = event_types.errors(event)
        return misfit(event, errors) if errors else event
    except InvalidEnvelope as error:
        return invalid(error)
    except Exception as error:  # noqa: BLE001 - whatever was sent, the sender gets an answer and others are unaffected
        return invalid(unreadable(error))
