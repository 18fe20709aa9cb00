"""Events that are known already, in all spellings and sizes: each outcome is right, and nobody waits for documents."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import Outcome
from tables.database import Connection, Database, Pool
from tables.intake import comparisons, outbox
from tables.intake.group_commit import GroupCommit, QueueFullError

from tests.support.data.events import event

ACCEPTED, DUPLICATE, CONFLICT, _ = Outcome
_numbers = itertools.count()

LARGE = "x" * (outbox.SMALL_CHARACTERS + 1)
# Contents of one line are equal for jsonb.
CONTENTS: list[list[Any]] = [
    [{"a": 1, "b": [1.0, "é"]}, {"b": [1, "é"], "a": 1.0}],
    [{"a": 2, "b": [1.0, "é"]}],
    [[LARGE, {"a": 1, "b": 2.50}], [LARGE, {"b": 2.5, "a": 1.0}]],
    [[LARGE, {"a": 1, "b": 2.51}]],
    [None],
]
MEGABYTE: list[Any] = [[] for _ in range(249_000)]


class Sent(NamedTuple):
    """An event of a request."""

    id: str
    content: int
    spelling: int
    time: str | None

    def event(self, source: str) -> ParsedEvent:
        data = CONTENTS[self.content][self.spelling % len(CONTENTS[self.content])]
        return event(self.id, source=source, data=data, time=self.time, received_at="2026-11-22T12:00:00Z")


class Request(NamedTuple):
    """Events that are submitted together."""

    events: list[Sent]
    strict: bool


class Model:
    """What the door promises, one event after the other."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, str]] = {}

    def submit(self, request: Request) -> list[Outcome]:
        before = dict(self.known)
        outcomes = [self._accept(one) for one in request.events]
        if request.strict and CONFLICT in outcomes:
            self.known = before
        return outcomes

    def _accept(self, sent: Sent) -> Outcome:
        written = (sent.content, sent.time or "2026-11-22T12:00:00Z")
        if sent.id not in self.known:
            self.known[sent.id] = written
            return ACCEPTED
        content, at = self.known[sent.id]
        same = content == sent.content and (sent.time is None or sent.time == at)
        return DUPLICATE if same else CONFLICT


sent = st.builds(
    Sent,
    st.sampled_from("abc"),
    st.integers(0, len(CONTENTS) - 1),
    st.integers(0, 1),
    st.sampled_from([None, "2026-11-22T12:00:00Z", "2026-11-22T12:00:01Z"]),
)
requests = st.builds(Request, st.lists(sent, min_size=1, max_size=8), st.booleans())
rounds = st.lists(st.tuples(st.lists(requests, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=3)


def group_commit(database: Database) -> GroupCommit:
    return GroupCommit(database, max_queued_events=10_000, committed=lambda: None)


async def store_all(pool: Pool) -> None:
    async with pool.acquire() as connection:
        stored = [row.seq for row in await outbox.store_next(connection, [], at_most=10_000, partitions=8)]
        await outbox.delete(connection, stored)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=rounds)
async def test_outcomes_are_those_of_one_event_after_the_other(
    database: Database, pool: Pool, rounds: list[tuple[list[Request], bool]]
) -> None:
    source, model, door = f"/{next(_numbers)}", Model(), group_commit(database)
    for asked, stored in rounds:
        outcomes = await asyncio.gather(
            *(door.submit([one.event(source) for one in each.events], all_or_nothing=each.strict) for each in asked)
        )
        assert outcomes == [model.submit(each) for each in asked]
        if stored:
            await store_all(pool)
    found = {row["id"] for row in await pool.fetch(KEPT, source)}
    assert found == set(model.known)


KEPT = "SELECT id FROM outbox WHERE source = $1 UNION SELECT id FROM event_store WHERE source = $1"


@pytest.mark.parametrize("stored", [False, True], ids=["in the outbox", "in the store"])
async def test_a_large_event_that_is_sent_again_is_known_by_its_digest(
    connection: Connection, pool: Pool, stored: bool
) -> None:
    first, timeless = event(1, data=MEGABYTE, time="2026-01-01T00:00:00Z"), event(2, data=MEGABYTE)
    await outbox.accept(connection, [first, timeless])
    if stored:
        await store_all(pool)
    later = event(2, data=MEGABYTE, received_at="2026-11-23T00:00:00Z")
    assert await outbox.accept(connection, [first, later]) == {0: True, 1: True}
    others = [event(1, data=MEGABYTE), event(2)]
    assert await outbox.accept(connection, others) == {0: None, 1: None}
    assert await outbox.compare(connection, others) == {0: True, 1: False}


async def test_events_from_before_there_were_digests_are_compared(
    database: Database, connection: Connection, pool: Pool
) -> None:
    await outbox.accept(connection, [event(1), event(2, data=LARGE)])
    await pool.execute("UPDATE outbox SET content_digest = NULL")
    door = group_commit(database)
    asked = [event(1), event(2, data=LARGE), event(1, data="other"), event(2, data="other"), event(3)]
    expected = [DUPLICATE, DUPLICATE, CONFLICT, CONFLICT, ACCEPTED]
    assert await door.submit(asked) == expected
    await store_all(pool)
    assert await door.submit(asked) == [*expected[:-1], DUPLICATE]
    assert await door.submit(asked, all_or_nothing=True) == [*expected[:-1], DUPLICATE]


@pytest.mark.alone
@pytest.mark.parametrize("spelling", ["one text", "many texts"])
async def test_a_megabyte_and_thousands_of_events_of_its_name_keep_nobody_waiting(
    database: Database, spelling: str
) -> None:
    door = group_commit(database)
    assert await door.submit([event("large", data=MEGABYTE)]) == [ACCEPTED]
    tiny = [event("large", data=0 if spelling == "one text" else number) for number in range(5_000)]
    attacks = [asyncio.create_task(attack(door, tiny)) for _ in range(3)]
    try:
        slowest = 0.0
        for number in range(100):
            started = time.monotonic()
            assert await door.submit([event(number)]) == [ACCEPTED]
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 2, slowest
    finally:
        for one in attacks:
            one.cancel()
        await asyncio.gather(*attacks, return_exceptions=True)
    assert await door.submit(tiny) == [CONFLICT] * 5_000


async def attack(door: GroupCommit, events: list[ParsedEvent]) -> None:
    while True:
        assert set(await door.submit(events)) == {CONFLICT}


SLOW_COMPARISONS = """
CREATE OR REPLACE FUNCTION events_are_same(ids text[], sources text[], times_given boolean[], events json[])
RETURNS TABLE (index bigint, same boolean) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(60);
END
$$
"""


async def test_many_large_documents_to_compare_keep_nobody_else_waiting(
    database: Database, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "SECONDS", 3.0)
    monkeypatch.setattr(comparisons, "SECONDS_IN_A_TRANSACTION", 0.2)
    door = group_commit(database)
    assert await door.submit([event("known", data=LARGE)]) == [ACCEPTED]
    await pool.execute(SLOW_COMPARISONS)
    waiting = asyncio.create_task(door.submit([event("known"), event("new")]))
    for number in range(5):
        assert await door.submit([event(number)]) == [ACCEPTED]
    assert not waiting.done()
    with pytest.raises(QueueFullError):
        await waiting
    with pytest.raises(QueueFullError):
        await door.submit([event("known"), event("strict")], all_or_nothing=True)
    assert await pool.fetchval("SELECT array_agg(id) FROM outbox WHERE id IN ('new', 'strict')") == ["new"]
