"""What is read into memory together is bounded by bytes: what is left out comes with the next read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agents.kafka.access import KafkaAccess
from agents.parked.retrier import Retrier
from agents.projector.projector import Projector
from agents.relay.paced_publishing import PacedPublisher
from agents.relay.publisher import Publisher
from agents.relay.topic_refill import refill
from agents.verify.findings import Findings
from agents.verify.verify import verify
from headrace.folding.folding import Folding
from headrace.projection import Event, Projection
from tables.database import Connection, Database, Pool
from tables.history import event_store, row_events, snapshot
from tables.history.row_events import Feeding
from tables.intake import dead_letters, unpublished
from tables.intake.dead_letters import RefusedMessage
from tables.intake.unpublished import Refused
from tables.parked import parked, parked_list
from tables.projections import changes, rows
from tables.projections.changes import Point, read_changes
from web.query import change_feed
from web.query.change_feed import Listener
from web.query.parked import parked_routes
from web.server.server import make_application

from tests.support.clients.topic_reader import read_records
from tests.support.data.numbers_projection import Numbered, make_projection
from tests.support.data.stored_numbers import apply, store


class Wide(msgspec.Struct):
    text: str


def wide_projection() -> Projection[Wide]:
    projection = Projection("numbers", state=Wide, key=lambda event: event.subject or "", description="…")

    @projection.on("numbered", Numbered)
    def numbered(_: Wide | None, event: Event[Numbered]) -> Wide | None:
        return Wide(str(event.data.number % 10) * 20_000) if event.data.number else None

    return projection


@pytest.fixture
def read_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every read has room for a single row."""
    for module in (changes, rows, event_store, row_events, snapshot, unpublished):
        monkeypatch.setattr(module, "MAX_READ_BYTES", 1)
    monkeypatch.setattr(parked, "MAX_BYTES", 1)
    monkeypatch.setattr(parked_list, "MAX_PAGE_BYTES", 1)


async def all_changes(connection: Connection, since: Point) -> tuple[list[str], int]:
    """The keys that changed, and the largest number of bytes that was read together."""
    keys: list[str] = []
    largest, point, is_all = 0, since, False
    while not is_all:
        found = await read_changes(connection, "numbers", Folding(wide_projection()), point, at_most=500)
        keys += [change.key for change in found.changes]
        largest = max(largest, sum(len(change.row.state) for change in found.changes if change.row is not None))
        assert found.point.follows(point)
        point, is_all = found.point, found.is_all
    return keys, largest


async def test_changes_of_wide_rows_are_read_in_parts(
    database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = (await changes.read_points(connection, ["numbers"]))["numbers"]
    numbers = [(f"s{n}", 0 if n % 7 == 3 else n) for n in range(1, 31)]
    await apply(Projector(wide_projection(), database), await store(connection, numbers))
    monkeypatch.setattr(rows, "MAX_READ_BYTES", 70_000)
    keys, largest = await all_changes(connection, start)
    assert keys == [subject for subject, _ in numbers]
    assert 40_000 < largest < 100_000


@pytest.mark.usefixtures("read_little")
async def test_changes_are_read_one_by_one_if_they_are_large(database: Database, connection: Connection) -> None:
    start = (await changes.read_points(connection, ["numbers"]))["numbers"]
    numbers = [(f"s{n % 5}", n) for n in range(1, 21)]
    await apply(Projector(wide_projection(), database), await store(connection, numbers))
    keys, _ = await all_changes(connection, start)
    assert set(keys) == {f"s{n}" for n in range(5)}


@pytest.mark.usefixtures("read_little")
async def test_changes_of_events_that_were_parked_are_read_one_by_one(
    database: Database, connection: Connection
) -> None:
    await apply(Projector(make_projection(), database), await store(connection, [(f"s{n}", -n) for n in range(1, 9)]))
    start = (await changes.read_points(connection, ["numbers"]))["numbers"]
    await Retrier([make_projection(refuses_negative=False)], database).retry("numbers", None)
    keys, _ = await all_changes(connection, start)
    assert sorted(keys) == [f"s{n}" for n in range(1, 9)]


async def test_changes_that_wait_for_a_slow_client_are_bounded_by_bytes(
    database: Database, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = (await changes.read_points(connection, ["numbers"]))["numbers"]
    await apply(Projector(wide_projection(), database), await store(connection, [(f"s{n}", n) for n in range(1, 11)]))
    found = await read_changes(connection, "numbers", Folding(wide_projection()), start, at_most=500)
    size = sum(len(change.row.state) for change in found.changes if change.row is not None)
    monkeypatch.setattr(change_feed, "MOST_WAITING_BYTES", 2 * size + 1)
    listener = Listener(start)
    for _ in range(2):
        listener.tell(found, size)
    assert not listener.is_behind
    listener.tell(found, size)
    assert listener.is_behind
    assert await listener.take(0) == []
    listener.catch_up()
    listener.tell(found, size)
    assert len(await listener.take(0)) == 10


@pytest.mark.usefixtures("read_little")
async def test_the_events_of_a_past_row_are_read_one_by_one(connection: Connection) -> None:
    await store(connection, [("a", n) for n in range(1, 6)] + [("b", 6)])
    for feeding in (Feeding(["a"], None, None), Feeding(None, ["numbered"], None), Feeding(None, None, None)):
        read: list[int] = []
        after = 0
        while events := await row_events.read_feeding(
            connection, "numbers", feeding, after=after, up_to=5, at_most=100
        ):
            assert len(events) == 1
            after = events[-1].event.position
            read.append(after)
        assert read == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("read_little")
async def test_a_catch_up_reads_events_one_by_one(database: Database, connection: Connection, pool: Pool) -> None:
    await store(connection, [("a", n) for n in range(1, 6)])
    await Projector(make_projection(), database).catch_up()
    state = await pool.fetchval("SELECT state FROM projections")
    assert json.loads(state) == {"numbers": [1, 2, 3, 4, 5]}


@pytest.mark.usefixtures("read_little")
async def test_a_lost_topic_is_filled_again_from_events_that_are_read_one_by_one(
    connection: Connection, kafka: str, topic: str
) -> None:
    await store(connection, [("a", n) for n in range(1, 6)])
    servers = kafka.removeprefix("kafka://")
    publisher = Publisher(KafkaAccess(servers), topic, partitions_if_new=4)
    try:
        await publisher.connect()
        await refill(connection, PacedPublisher(publisher))
    finally:
        await publisher.discard()
    assert len(await read_records(servers, topic, 5)) == 5


@pytest.mark.usefixtures("read_little")
async def test_verify_reads_wide_rows_one_by_one(database: Database, connection: Connection) -> None:
    numbers = [(f"s{n}", n) for n in range(1, 6)]
    await apply(Projector(make_projection(), database), await store(connection, numbers))
    findings = Findings()
    async with snapshot.snapshot(connection) as moment:
        await verify(moment, [make_projection()], only=None, kafka=None, findings=findings, say=lambda _: None)
    assert findings.differences == []
    assert findings.looked_at == {"events of the store": 5, "rows of numbers": 5}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    routes = parked_routes(database, ["numbers"], Retrier([make_projection()], database))
    async with TestClient(TestServer(make_application(routes, max_body_bytes=10_000))) as opened:
        yield opened


@pytest.mark.usefixtures("read_little")
async def test_a_page_of_parked_events_ends_early_and_the_next_continues(
    client: TestClient[web.Request, web.Application], database: Database, connection: Connection
) -> None:
    await apply(Projector(make_projection(), database), await store(connection, [(f"s{n}", -n) for n in range(1, 5)]))
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    pages = 0
    while pages == 0 or cursor:
        answer = await (await client.get("/api/v1/parked", params={"limit": "1000", **cursor})).json()
        pages += 1
        found += answer["items"]
        cursor = {"cursor": answer["next_cursor"]} if answer["next_cursor"] else {}
    assert [one["position"] for one in found] == [1, 2, 3, 4]
    assert pages == 4
    outcome = await Retrier([make_projection(refuses_negative=False)], database).retry("numbers", None)
    assert (outcome.applied, outcome.still_parked) == (4, 0)


@pytest.mark.usefixtures("read_little")
async def test_a_page_of_unpublished_events_ends_early_and_the_next_continues(connection: Connection) -> None:
    stored = await store(connection, [("a", n) for n in range(1, 5)])
    await unpublished.set_aside(connection, [Refused(one.position, one.partition, "refused", 1) for one in stored])
    read: list[int] = []
    more = True
    while more:
        page = await unpublished.listed(connection, after=read[-1] if read else 0, at_most=100)
        assert len(page.events) == 1
        read.append(page.events[0].position)
        more = page.more
    assert read == [1, 2, 3, 4]
    (first,) = await unpublished.with_events(connection, after=0, position=None, at_most=10)
    assert first.position == 1


async def test_many_large_dead_letters_are_stored_by_several_statements(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_STATEMENT_BYTES", 100_000)
    letters = [RefusedMessage(f"t/{n}", b"x" * 60_000, "c", "r", "{}") for n in range(5)]
    sizes: list[int] = []
    real = dead_letters._store_part

    async def store_part(connection: Any, messages: Any) -> bool:
        sizes.append(len(messages))
        return await real(connection, messages)

    monkeypatch.setattr(dead_letters, "_store_part", store_part)
    async with pool.acquire() as connection:
        await dead_letters.store(connection, letters)
    assert sizes == [1, 1, 1, 1, 1]
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 5
