"""Why an event is refused, and the answer when it is accepted: the same for every transport."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal

import msgspec

from headrace.events.envelope import EnvelopeError, InvalidEnvelope, ParsedEvent
from headrace.events.outcome import Outcome
from headrace.events.problem_document import ProblemError, problem_body


class Taken(msgspec.Struct, frozen=True):
    """An event that is stored; `duplicate`: it was stored before."""

    id: str
    source: str
    status: Literal["accepted", "duplicate"]


class Refusal(msgspec.Struct, frozen=True):
    """Why an event is refused."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[EnvelopeError] = ()
    event_id: str | None = None
    source: str | None = None

    @property
    def problem_errors(self) -> list[ProblemError]:
        return [ProblemError(pointer=e.pointer, code=e.code, detail=e.detail) for e in self.errors]

    def body(self) -> msgspec.Raw:
        """The problem as JSON."""
        return problem_body(self.status, self.code, self.title, self.detail, errors=self.problem_errors)


CONFLICT = Refusal(
    409,
    "id_conflict",
    "Another event has this id",
    "An event with this source and id, but other content, was accepted before. Send this event with a new id.",
)
UNSTORABLE = Refusal(
    400,
    "unstorable",
    "The database cannot hold this event",
    "A value is outside the range of PostgreSQL's jsonb or of an index, for example a number with too many digits.",
)
NOT_KEPT = Refusal(
    422,
    "not_kept",
    "Not kept",
    "Another event of the batch was refused, and Prefer: handling=strict accepts all events of a batch or none.",
)
REFUSED = {Outcome.CONFLICT: CONFLICT, Outcome.UNSTORABLE: UNSTORABLE}


def invalid(error: InvalidEnvelope) -> Refusal:
    """The refusal of an invalid event or batch."""
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        title, detail = "Too large", error.errors[0].detail
    elif error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        title, detail = "The event cannot be read", error.errors[0].detail
    elif error.status == HTTPStatus.FORBIDDEN:
        title, detail = "Not allowed", "The device in the topic may not send this event. See errors for what is wrong."
    else:
        title, detail = "Not a valid CloudEvent", "See errors for what is wrong and where."
    return Refusal(error.status, error.errors[0].code, title, detail, error.errors, error.id, error.source)


def misfit(event: ParsedEvent, errors: Sequence[EnvelopeError]) -> Refusal:
    """The refusal of an event whose data or subject is not valid for its type."""
    title, detail = "The event does not fit its type", "See errors for what is wrong and where."
    return Refusal(422, errors[0].code, title, detail, errors, event.id, event.source)


def taken_body(event: ParsedEvent, outcome: Outcome) -> bytes:
    """The answer for an event that is stored."""
    return msgspec.json.encode(
        Taken(event.id, event.source, "duplicate" if outcome is Outcome.DUPLICATE else "accepted")
    )
