"""Reads posted events without holding the event loop: a batch in slices, what is large in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from time import perf_counter

import msgspec

from headrace.access.grant import EVERYTHING, Grant
from headrace.events import rfc3339
from headrace.events.checked_event import checked
from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent, elements, parse_element
from headrace.events.known_types import EventTypes
from headrace.events.refusals import Refusal
from headrace.process.turns import LARGE_BYTES, SLICE_SECONDS, off_the_loop

EVENTS_BETWEEN_CHECKS = 8
"""The time is checked after so many events."""
DETAILED_REFUSALS = 100
"""This many refused events of a batch are answered with their errors, later events with a code and a status."""
DETAILED_ERRORS = 500
"""Or this many errors, whichever comes first."""


class EventReader:
    """Reads events, and checks them against their types and what their sender may write."""

    def __init__(self, event_types: EventTypes, limits: Limits) -> None:
        self._event_types = event_types
        self._limits = limits
        self._turn = asyncio.Lock()
        """Between two slices, of any batches, other requests have their turn."""

    async def event(
        self, parse: Callable[[], ParsedEvent | InvalidEnvelope], size: int, grant: Grant = EVERYTHING
    ) -> ParsedEvent | Refusal:
        """One event, or why it is refused."""
        if size <= LARGE_BYTES:
            return checked(parse, self._event_types, grant)
        return await off_the_loop(lambda: checked(parse, self._event_types, grant), size)

    async def batch(self, body: bytes, grant: Grant = EVERYTHING) -> list[ParsedEvent | Refusal]:
        """The events of a JSON array, in order. Raises InvalidEnvelope where it is none."""
        found = await off_the_loop(partial(elements, body, self._limits), len(body))
        read = partial(self._read, received_at=rfc3339.now(), grant=grant)
        batch = _Batch(found, read)
        while True:
            async with self._turn:
                large = batch.read_slice()
            if large is not None:
                batch.add(await off_the_loop(partial(read, large), len(large)))
            elif batch.is_read:
                return batch.taken
            await asyncio.sleep(0)

    def _read(self, raw: bytes, received_at: str, grant: Grant) -> ParsedEvent | Refusal:
        return checked(lambda: parse_element(raw, self._limits, received_at), self._event_types, grant)


class _Batch:
    """A batch of which the first events are read."""

    def __init__(self, found: Sequence[msgspec.Raw], read: Callable[[bytes], ParsedEvent | Refusal]) -> None:
        self.taken: list[ParsedEvent | Refusal] = []
        self._found = found
        self._read = read
        self._budget = _Budget()

    @property
    def is_read(self) -> bool:
        return len(self.taken) == len(self._found)

    def read_slice(self) -> bytes | None:
        """Read events for a short time; the text of the next event when it is large."""
        end, read, budget = perf_counter() + SLICE_SECONDS, self._read, self._budget
        for place in range(len(self.taken), len(self._found)):
            raw = bytes(self._found[place])
            if budget.is_spent and (refusal := refused_at_sight(raw)) is not None:
                self.taken.append(refusal)
            elif len(raw) > LARGE_BYTES:
                return raw
            else:
                self.add(read(raw))
            if place % EVENTS_BETWEEN_CHECKS == 0 and perf_counter() > end:
                break
        return None

    def add(self, one: ParsedEvent | Refusal) -> None:
        """The next event."""
        self.taken.append(self._budget.spend(one) if isinstance(one, Refusal) else one)


class _Budget:
    """How much is listed about the refused events of a batch."""

    def __init__(self) -> None:
        self._refusals = DETAILED_REFUSALS
        self._errors = DETAILED_ERRORS
        self.is_spent = False
        """Whether enough is listed."""

    def spend(self, refusal: Refusal) -> Refusal:
        """The refusal, or a brief refusal when enough is listed."""
        if self.is_spent:
            brief = _brief(refusal.status, refusal.code)
            return msgspec.structs.replace(brief, event_id=refusal.event_id, source=refusal.source)
        self._refusals -= 1
        self._errors -= len(refusal.errors)
        self.is_spent = self._refusals <= 0 or self._errors <= 0
        return refusal


def refused_at_sight(raw: bytes) -> Refusal | None:
    """The refusal of what is no object: when enough is listed, it is not parsed."""
    return None if raw.startswith(b"{") else _brief(400, "not_an_object")


@lru_cache(maxsize=64)
def _brief(status: int, code: str) -> Refusal:
    return Refusal(status, code, "Refused", "Too many events of the batch were refused to list the errors of all.")
