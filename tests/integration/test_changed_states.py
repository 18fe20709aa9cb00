"""Handlers that change the state that they were given: the rows are those of handlers that return a new state."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.projector import retry_schedule
from agents.projector.projector import Projector
from headrace.projection import Event, Projection
from tables.database import Database, Pool

from tests.support.data.numbers_projection import Numbered, batch, record

REFUSED = 3
STATES = "SELECT key, state::text, position, version FROM projections WHERE projection = $1 ORDER BY key"
PARKED = "SELECT position, key, attempts FROM parked WHERE projection = $1 ORDER BY position"


class Bag(msgspec.Struct):
    """Mutable, with mutable members."""

    numbers: list[int] = []
    by_name: dict[str, list[int]] = {}
    total: int = 0


class Refused(Exception):  # noqa: N818 - no error of ours
    """Raised after the state was changed."""


def changing(bag: Bag | None, event: Event[Numbered]) -> Bag | None:
    bag = bag or Bag()
    number = event.data.number
    bag.numbers.append(number)
    bag.by_name.setdefault(str(number), []).append(event.position)
    bag.total += number
    if number == REFUSED:
        bag.numbers.clear()
        raise Refused
    return bag if number else None


def pure(bag: Bag | None, event: Event[Numbered]) -> Bag | None:
    bag = bag or Bag()
    number = event.data.number
    if number == REFUSED:
        raise Refused
    name = str(number)
    by_name = bag.by_name | {name: [*bag.by_name.get(name, []), event.position]}
    return Bag([*bag.numbers, number], by_name, bag.total + number) if number else None


def projection(name: str, handler: Any) -> Projection[Bag]:
    made = Projection(name, state=Bag, key=lambda event: event.subject or "", description="Numbers.")
    made.on("numbered", Numbered)(handler)
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, REFUSED)), min_size=1, max_size=5), max_size=5
    )
)
async def test_a_changed_state_is_undone_where_the_handler_raises_and_kept_where_it_does_not(
    database: Database, pool: Pool, batches: list[list[tuple[str, int]]]
) -> None:
    await pool.execute("TRUNCATE projections, progress, parked")
    projectors = [Projector(projection(one.__name__, one), database) for one in (changing, pure)]
    position = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retry_schedule, "WAITS_SECONDS", (0.0,))
        for events in batches:
            values = [record(position + n, number, key) for n, (key, number) in enumerate(events, start=1)]
            position += len(events)
            for projector in projectors:
                await projector.apply(batch(*values))
    for query in (STATES, PARKED):
        of_changing, of_pure = [list(map(tuple, await pool.fetch(query, name))) for name in ("changing", "pure")]
        assert of_changing == of_pure
