"""The events of a request on their way into the outbox, and what becomes of each."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import Outcome
from tables.database import storable


class Submission:
    """The events of one request, written in one commit."""

    __slots__ = ("all_or_nothing", "caller", "events", "future", "outcomes", "size_bytes", "undecided")

    def __init__(self, events: Sequence[ParsedEvent], *, all_or_nothing: bool, caller: str = "") -> None:
        self.events = events
        self.caller = storable(caller) or None
        """The id of the caller who sent the events; None if anybody may send."""
        self.all_or_nothing = all_or_nothing
        self.size_bytes = sum(sys.getsizeof(event.text) for event in events)
        """Size in memory: a text with a character beyond Latin-1 has 2 or 4 bytes for each character."""
        self.outcomes: list[Outcome] = [Outcome.ACCEPTED] * len(events)
        self.undecided: set[int] = set()
        """The events that are known, but whether with the same content, only their documents can tell."""
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def decide(self, same: Sequence[bool]) -> None:
        """Set the outcomes of the undecided events."""
        for index, is_same in zip(sorted(self.undecided), same, strict=True):
            self.outcomes[index] = Outcome.DUPLICATE if is_same else Outcome.CONFLICT


Place = tuple[Submission, int]
"""An event, as its request and its index in the request."""


def callers_of(places: Sequence[Place]) -> list[str | None] | None:
    """Who sent each event; None if nobody is known."""
    callers = [submission.caller for submission, _ in places]
    return callers if any(callers) else None


async def set_aside(place: Place, _: Exception) -> None:
    submission, index = place
    submission.outcomes[index] = Outcome.UNSTORABLE


def is_settled_by(first: Place, again: Place) -> bool:
    """Give an event the outcome that follows from that of the first with its name; False if the first was refused."""
    submission, index = first
    event, outcome = submission.events[index], submission.outcomes[index]
    other, place = again
    is_same = event.text == other.events[place].text and event.time_given == other.events[place].time_given
    if outcome is Outcome.UNSTORABLE:
        if is_same:
            other.outcomes[place] = outcome
        return is_same
    if not is_same or index in submission.undecided:
        other.undecided.add(place)
    else:
        other.outcomes[place] = Outcome.DUPLICATE if outcome is Outcome.ACCEPTED else outcome
    return True


def name_of(place: Place) -> tuple[str, str]:
    submission, index = place
    event = submission.events[index]
    return event.source, event.id
