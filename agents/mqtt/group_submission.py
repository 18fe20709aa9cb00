"""Submits the events of a group of messages, in order, and finds the event that keeps the others from being stored."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.events import unforeseen
from headrace.events.envelope import EnvelopeError, ParsedEvent
from headrace.events.outcome import Outcome
from headrace.events.refusals import REFUSED, Refusal
from tables.intake.group_commit import MAX_GROUP_EVENTS, GroupCommit
from tables.unstorable import may_be_of_the_input

MOST_TRIES = 3
"""An event that fails alone with an unforeseen error is refused after this many tries."""


class GroupSubmission:
    """Submits fewer events together after an error, and more again after successes."""

    def __init__(self, group_commit: GroupCommit) -> None:
        self._group_commit = group_commit
        self._at_once = MAX_GROUP_EVENTS
        self._tries = 0

    async def submit(self, events: Sequence[ParsedEvent], outcomes: list[Outcome | Refusal]) -> None:
        """Append the outcome of each event that has none yet.

        After an error that PostgreSQL's absence does not explain, halves are submitted, down to the event that causes
        it, which is refused. Raises what `GroupCommit.submit` raises, with the outcomes so far kept: call it again.
        """
        while len(outcomes) < len(events):
            part = events[len(outcomes) : len(outcomes) + self._at_once]
            try:
                outcomes += await self._group_commit.submit(part)
            except Exception as error:
                self._at_once = max(len(part) // 2, 1)
                if not may_be_of_the_input(error):
                    raise
                if len(part) > 1:
                    continue
                self._tries += 1
                if self._tries < MOST_TRIES:
                    raise
                outcomes.append(_unwritable(part[0], error))
            self._tries = 0
            self._at_once = min(self._at_once * 2, MAX_GROUP_EVENTS)


def with_outcomes(
    parsed: Sequence[ParsedEvent | Refusal], outcomes: Sequence[Outcome | Refusal]
) -> list[tuple[ParsedEvent | Refusal, Outcome | None]]:
    """Pair accepted events and duplicates with their outcomes, and refusals, old and new, with None."""
    left = iter(outcomes)
    results: list[tuple[ParsedEvent | Refusal, Outcome | None]] = []
    for one in parsed:
        outcome = None if isinstance(one, Refusal) else next(left)
        refusal = outcome if outcome is None or isinstance(outcome, Refusal) else REFUSED.get(outcome)
        if refusal is not None:
            results.append((refusal, None))
        else:
            assert not isinstance(outcome, Refusal)
            results.append((one, outcome))
    return results


def _unwritable(event: ParsedEvent, error: Exception) -> Refusal:
    detail = unforeseen.note(error, failed="storing it")
    errors = [EnvelopeError("", "unstorable", detail)]
    return Refusal(422, "unstorable", "The event could not be stored", detail, errors, event.id, event.source)
