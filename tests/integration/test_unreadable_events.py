"""An event that PostgreSQL cannot write as text, from a version that accepted it: every reader gets past it."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace

from agents.kafka.access import KafkaAccess
from agents.parked.retrier import Retrier
from agents.projections.event_types import event_types
from agents.projector.projector import Projector
from agents.relay.late_publishing import publish_late
from agents.relay.paced_publishing import PacedPublisher
from agents.relay.publisher import Publisher
from agents.relay.topic_refill import refill
from agents.verify.findings import Findings
from agents.verify.verify import verify
from headrace.events.topic_record import decode, encode, followed
from headrace.folding.folding import Folding
from headrace.folding.parked_groups import Group
from tables.database import Connection, Database, Pool
from tables.history import row_events
from tables.history.row_events import Feeding
from tables.history.snapshot import snapshot
from tables.intake import outbox, unpublished
from tables.intake.outbox import StoredEvent
from tables.intake.unpublished import Refused
from tables.parked import parked_list
from tables.projections.changes import Point, read_changes
from web.query.audit_log import AuditLog
from web.server.server import make_application

from tests.support.clients.topic_reader import read_records
from tests.support.data.events import event
from tests.support.data.numbers_projection import make_projection, parked, rows

GIANT = 3
GROWING = "[" + ",".join(["1e131071"] * 9_000) + "]"
EVENTS = [("a", 1), ("b", 2), ("a", 3), ("a", 4), ("b", 5)]


@pytest.fixture
async def stored(connection: Connection) -> list[StoredEvent]:
    """Five events; the third is accepted as earlier versions did."""
    events = [
        event(place, type="numbered", subject=subject, data={"number": number})
        for place, (subject, number) in enumerate(EVENTS, 1)
    ]
    giant = events[GIANT - 1]
    text = giant.text.replace('"number": 3', f'"number": 3, "more": {GROWING}')
    assert len(text) > 80_000
    events[GIANT - 1] = replace(giant, text=text)
    await outbox.accept(connection, events)
    found = await outbox.store_next(connection, [], at_most=10, partitions=1)
    await outbox.delete(connection, [one.seq for one in found])
    return found


@pytest.mark.usefixtures("stored")
async def test_catch_up_parks_it_and_applies_the_others(database: Database, pool: Pool, connection: Connection) -> None:
    await Projector(make_projection(), database).catch_up()
    assert await rows(pool) == {"a": ([1], 1, 1), "b": ([2, 5], 5, 1)}
    first, behind = await parked(pool)
    assert first[:2] == (GIANT, "a")
    assert "too many digits" in first[2]
    assert behind[0] == 4
    shown = await parked_list.find(connection, "numbers", GIANT)
    assert shown is not None
    assert b'"id": "3"' in bytes(shown.event or b"")

    outcome = await Retrier([make_projection()], database).retry("numbers", Group("a"))
    assert (outcome.applied, outcome.still_parked, outcome.failures[0].position) == (0, 2, GIANT)
    discarded = await Retrier([make_projection()], database).discard("numbers", GIANT, reason="unreadable", by="tests")
    assert (discarded.applied, discarded.still_parked) == (1, 0)
    assert (await rows(pool))["a"][0] == [1, 4]


@pytest.mark.usefixtures("stored")
async def test_a_projection_that_needs_no_data_counts_it(database: Database, pool: Pool) -> None:
    await Projector(event_types, database).catch_up()
    assert await pool.fetchval("SELECT (state -> 'count')::integer FROM projections") == len(EVENTS)


@pytest.mark.usefixtures("stored")
async def test_the_audit_log_shows_it_without_its_data_and_the_pages_continue(database: Database) -> None:
    async with TestClient(TestServer(make_application(AuditLog(database).routes(), max_body_bytes=1000))) as client:
        items: list[dict[str, Any]] = []
        cursor = None
        while cursor is not None or not items:
            response = await client.get("/api/v1/events", params={"cursor": cursor} if cursor else {})
            assert response.status == 200, await response.text()
            page = await response.json()
            items += page["items"]
            cursor = page["next_cursor"]
    assert [item["position"] for item in items] == [1, 2, 3, 4, 5]
    assert [item["position"] for item in items if "error" in item] == [GIANT]
    assert items[GIANT - 1]["event"]["id"] == "3"
    assert "data" not in items[GIANT - 1]["event"]
    assert items[GIANT]["event"]["data"] == {"number": 4}


@pytest.mark.usefixtures("stored")
async def test_changes_and_past_states_are_read_beyond_it(database: Database, connection: Connection) -> None:
    await Projector(make_projection(), database).catch_up()
    folding = Folding(make_projection())
    point, keys = Point(0, 0, {}), list[str]()
    for _ in range(3):
        found = await read_changes(connection, "numbers", folding, point, at_most=100)
        keys += [change.key for change in found.changes]
        point = found.point
        if found.is_all:
            break
    assert set(keys) == {"a", "b"}
    assert found.is_all
    feeding = Feeding(["a", "b"], None, None)
    found_events = await row_events.read_feeding(connection, "event_types", feeding, after=0, up_to=5, at_most=10)
    assert [one.event.position for one in found_events] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("stored")
async def test_verify_reports_it_and_checks_the_others(database: Database, connection: Connection) -> None:
    await Projector(make_projection(), database).catch_up()
    await Projector(event_types, database).catch_up()
    findings = Findings()
    async with snapshot(connection) as moment:
        await verify(
            moment, [make_projection(), event_types], only=None, kafka=None, findings=findings, say=lambda _: None
        )
    assert {one.kind: one.count for one in findings.differences} == {"store_unreadable": 1}
    assert findings.looked_at["events of the store"] == len(EVENTS)


async def test_a_refill_leaves_it_out_and_publishes_the_others_as_compact_as_they_were_accepted(
    connection: Connection, stored: list[StoredEvent], kafka: str, topic: str
) -> None:
    servers = kafka.removeprefix("kafka://")
    publisher = Publisher(KafkaAccess(servers), topic, partitions_if_new=1)
    try:
        await publisher.connect()
        await refill(connection, PacedPublisher(publisher))
    finally:
        await publisher.discard()
    records = [
        (record, decoded)
        for record in await read_records(servers, topic, len(EVENTS) - 1)
        if (decoded := decode(record.value, 0)) is not None
    ]
    assert [decoded.position for _, decoded in records] == [1, 2, 4, 5]
    assert [followed(record.headers) for record, _ in records] == [0, None, GIANT, None]
    texts = {one.position: one.text for one in stored}
    for record, decoded in records:
        assert len(record.value) <= len(encode(texts[decoded.position], decoded.position))
        assert b'": ' not in record.value


async def test_a_late_publishing_leaves_it_out_and_publishes_the_others(
    connection: Connection, stored: list[StoredEvent], kafka: str, topic: str
) -> None:
    servers = kafka.removeprefix("kafka://")
    publisher = Publisher(KafkaAccess(servers), topic, partitions_if_new=1)
    await publisher.connect()
    await publisher.discard()
    await unpublished.set_aside(connection, [Refused(one.position, one.partition, "refused", 1) for one in stored])
    outcome = await publish_late(connection, KafkaAccess(servers), topic, position=None)
    assert outcome.published == len(EVENTS) - 1
    assert [refused.position for refused in outcome.refused] == [GIANT]
    (left,) = (await unpublished.listed(connection, at_most=10)).events
    assert left.position == GIANT
    assert "cannot write" in left.error
