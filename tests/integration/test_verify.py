"""`verify` finds what was deleted, changed or doubled by hand, in each place; and nothing where nothing is wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic
from agents.parked.retrier import Retrier
from agents.projector.projector import Projector
from agents.verify.findings import Findings
from agents.verify.lost_tail import LostTail
from agents.verify.verify import verify
from headrace.events.topic_record import encode
from headrace.folding.parked_groups import Group
from tables.database import Connection, Database
from tables.history.snapshot import snapshot, still_waiting
from tables.intake import outbox
from tables.intake.outbox import StoredEvent

from tests.support.data.events import event
from tests.support.data.numbers_projection import make_projection
from tests.support.data.stored_numbers import PARTITIONS, apply, store

NUMBERS = [("a", 1), ("b", 2), ("a", -3), ("c", 4), ("a", 5), ("b", 0), ("b", 7), ("ü", 8), ("c", -9), ("d", 10)]
UNGUARDED = """
ALTER TABLE event_store DISABLE TRIGGER event_store_is_append_only;
GRANT UPDATE, DELETE ON event_store TO CURRENT_USER
"""
GUARDED = "ALTER TABLE event_store ENABLE ALWAYS TRIGGER event_store_is_append_only"
COPY = """
INSERT INTO event_store (position, id, source, event_type, subject, event_time, received_at, partition, event)
SELECT last_position + 1, {id}, source, event_type, subject, event_time, received_at, partition, event
FROM event_store, relay_state WHERE position = 4
"""
OUTBOX_DOUBLED = """
ALTER TABLE outbox DROP CONSTRAINT outbox_one_row_an_event;
INSERT INTO outbox (id, source, event_type, subject, event_time, partition_key, key_hash, event)
SELECT id, source, event_type, subject, event_time, partition_key, key_hash, event FROM outbox
"""


async def found(connection: Connection, kafka: tuple[KafkaAccess, str] | None = None) -> Findings:
    """What verify finds."""
    findings, tail = Findings(), LostTail()
    async with snapshot(connection) as moment:
        projections = [make_projection(), make_projection("others", refuses_negative=False)]
        await verify(moment, projections, only=None, kafka=kafka, findings=findings, say=lambda _: None, tail=tail)
    await tail.report(connection, findings)
    return findings


def kinds(findings: Findings) -> dict[str, int]:
    return {one.kind: one.count for one in findings.differences}


@pytest.fixture
async def stored(connection: Connection, database: Database) -> list[StoredEvent]:
    """Events in the store, applied by two projections; one of them has parked some, and one is discarded."""
    events = await store(connection, NUMBERS)
    await apply(Projector(make_projection(), database), events)
    await apply(Projector(make_projection("others", refuses_negative=False), database), events)
    await Retrier([make_projection()], database).discard("numbers", Group("c"), reason="wrong", by="tests")
    return events


@pytest.mark.usefixtures("stored")
async def test_what_is_right_agrees(connection: Connection) -> None:
    findings = await found(connection)
    assert kinds(findings) == {}
    assert findings.looked_at == {"events of the store": 10, "rows of numbers": 5, "rows of others": 5}


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM event_store WHERE position = 4", "store_gap"),
        ("DELETE FROM event_store WHERE position = 10", "store_gap"),
        ("UPDATE event_store SET subject = 'x' WHERE position = 4", "store_columns"),
        ("UPDATE event_store SET event_time = event_time + interval '1 s' WHERE position = 4", "store_columns"),
        ("UPDATE event_store SET event = jsonb_set(event, '{id}', '\"x\"') WHERE position = 4", "store_columns"),
        ("UPDATE event_store SET event = jsonb_set(event, '{data,number}', '5') WHERE position = 4", "row_differs"),
        ("UPDATE event_store SET event = event - 'type' WHERE position = 4", "store_unreadable"),
        ("UPDATE event_store SET partition = (partition + 1) % 4 WHERE position = 10", "partition_end"),
        (COPY.format(id="'x'"), "store_beyond"),
        (
            f"ALTER TABLE event_store DROP CONSTRAINT event_store_one_row_an_event; {COPY.format(id='id')}",
            "store_doubled",
        ),
        ("ALTER TABLE event_store DISABLE TRIGGER event_store_is_append_only", "store_guard"),
        ("UPDATE relay_state SET last_position = 11", "store_gap"),
        ("DELETE FROM projections WHERE key = 'a' AND projection = 'others'", "row_missing"),
        ("DELETE FROM projections WHERE projection = 'others'", "row_missing"),
        ("UPDATE projections SET state = '{\"numbers\": [1, 2]}' WHERE key = 'a'", "row_differs"),
        ("UPDATE projections SET state = state || '{\"more\": 1}' WHERE key = 'ü'", "row_differs"),
        ("UPDATE projections SET position = position - 1 WHERE key = 'a'", "row_position_differs"),
        (
            "INSERT INTO projections SELECT projection, key || '2', state, position, version FROM projections",
            "row_unexpected",
        ),
        ("UPDATE progress SET position = 0 WHERE projection = 'others'", "row_unexpected"),
        ("UPDATE progress SET position = 99", "progress_ahead"),
        ("DELETE FROM parked WHERE position = 3", "not_parked"),
        ("DELETE FROM parked WHERE position = 5", "overtaken"),
        ("DELETE FROM parked", "not_parked"),
        ("DELETE FROM discarded", "not_parked"),
        ("UPDATE parked SET position = 77 WHERE position = 5", "parked_unknown"),
        ("UPDATE progress SET position = 0 WHERE projection = 'numbers'", "parked_ahead"),
        (
            "INSERT INTO discarded SELECT projection, position, key, true, error, 'r', 'by', parked_at FROM parked",
            "parked_and_discarded",
        ),
    ],
)
async def test_a_change_by_hand_is_found(connection: Connection, statement: str, kind: str) -> None:
    await connection.execute(UNGUARDED)
    await connection.execute(statement)
    if kind != "store_guard":
        await connection.execute(GUARDED)
    differences = {one.kind: one for one in (await found(connection)).differences}
    assert kind in differences
    assert differences[kind].count >= 1


@pytest.mark.usefixtures("stored")
async def test_the_member_of_a_row_that_differs_is_named(connection: Connection) -> None:
    await connection.execute("UPDATE projections SET state = state || '{\"more\": 1}' WHERE key = 'ü'")
    (difference,) = (await found(connection)).differences
    assert difference.first.endswith(", row 'ü': /more is 1; in the fold absent")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE outbox SET id = 'x' WHERE seq = (SELECT min(seq) FROM outbox)", "outbox_columns"),
        ("UPDATE outbox SET key_hash = key_hash + 1", "outbox_columns"),
        ("UPDATE outbox SET event = (event::jsonb || '{\"data\": 1}')::json", "outbox_differs"),
        (
            OUTBOX_DOUBLED,
            "outbox_doubled",
        ),
    ],
)
async def test_a_change_of_the_outbox_is_found(connection: Connection, statement: str, kind: str) -> None:
    await outbox.accept(connection, [event(number) for number in range(1, 4)])
    await outbox.store_next(connection, [], at_most=2, partitions=PARTITIONS)
    assert kinds(await found(connection)) == {}
    await connection.execute(statement)
    assert kind in kinds(await found(connection))


async def publish(
    kafka: str, topic: str, events: Sequence[StoredEvent], *, extra: Sequence[tuple[int, bytes, bytes]] = ()
) -> tuple[KafkaAccess, str]:
    """Put events on the topic one after the other, and then other records: (partition, key, value)."""
    address = kafka.removeprefix("kafka://")
    await ensure_topic(KafkaAccess(address), topic, partitions=PARTITIONS)
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        records = [(one.partition, one.partition_key.encode(), encode(one.text, one.position)) for one in events]
        for partition, key, value in [*records, *extra]:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
    finally:
        await producer.stop()
    return KafkaAccess(address), topic


async def test_a_topic_that_has_everything_agrees(
    connection: Connection, stored: list[StoredEvent], kafka: str, topic: str
) -> None:
    again = [(one.partition, one.partition_key.encode(), encode(one.text, one.position)) for one in stored[3:]]
    at = await publish(kafka, topic, stored, extra=again)
    later = await store(connection, [("a", 11)])
    assert kinds(await found(connection, at)) == {"topic_missing": 1}
    at = await publish(kafka, topic, later)
    findings = await found(connection, at)
    assert kinds(findings) == {}
    assert findings.looked_at["records of the topic"] == 18


async def test_what_the_topic_lacks_changes_or_makes_up_is_found(
    connection: Connection, stored: list[StoredEvent], kafka: str, topic: str
) -> None:
    first, second, changed, *rest = stored
    lacking = rest.pop()
    extra = [
        (0, b"k", b"no event"),
        (0, b"k", b'{"id":"1","source":"/x","type":"t","time":"2026-01-01T00:00:00Z","sequence":"%020d"}' % 10**9),
        (changed.partition, b"a", encode(changed.text, changed.position).replace(b"-3", b"-4")),
        (first.partition, b"another key", encode(first.text, first.position)),
        ((second.partition + 1) % PARTITIONS, second.partition_key.encode(), encode(second.text, second.position)),
    ]
    at = await publish(kafka, topic, [*rest, first, second], extra=extra)
    findings = {one.kind: one for one in (await found(connection, at)).differences}
    assert set(findings) == {
        "topic_phantom",
        "topic_differs",
        "topic_partition",
        "topic_out_of_order",
        "topic_missing",
    }
    assert f"position {lacking.position}" in findings["topic_missing"].first
    assert findings["topic_missing"].count == 1
    assert findings["topic_phantom"].count == 2


async def test_a_row_of_the_outbox_that_is_stored_for_long_and_published_is_overdue(
    connection: Connection, kafka: str, topic: str
) -> None:
    await outbox.accept(connection, [event(number) for number in range(1, 5)])
    published, lacking, young = await outbox.store_next(connection, [], at_most=3, partitions=PARTITIONS)
    await connection.execute(UNGUARDED)
    await connection.execute(
        "UPDATE event_store SET recorded_at = recorded_at - interval '2 min' WHERE position = ANY ($1::bigint[])",
        [published.position, lacking.position],
    )
    await connection.execute(GUARDED)
    at = await publish(kafka, topic, [published, young])
    findings = Findings()
    async with snapshot(connection) as moment:
        overdue = await verify(moment, [], only=None, kafka=at, findings=findings, say=lambda _: None)
    assert kinds(findings) == {}
    assert overdue == [published.seq]
    assert await still_waiting(connection, overdue) == {published.seq}
    await outbox.delete(connection, [published.seq])
    assert await still_waiting(connection, overdue) == set()


async def test_a_topic_that_is_not_there_lacks_everything(
    connection: Connection, stored: list[StoredEvent], kafka: str, topic: str
) -> None:
    at = (KafkaAccess(kafka.removeprefix("kafka://")), topic)
    assert kinds(await found(connection, at)) == {"topic_missing": len(stored)}


async def test_the_fold_is_that_of_the_projector_while_events_are_applied(
    connection: Connection, database: Database
) -> None:
    chance = random.Random(1)
    numbers = [(chance.choice("abcdef"), chance.choice([0, 1, 2, 3, 4, -1])) for _ in range(300)]
    stored = await store(connection, numbers)

    async def applying(name: str, *, refuses_negative: bool) -> None:
        projector = Projector(make_projection(name, refuses_negative=refuses_negative), database)
        for start in range(0, len(stored), 7):
            await apply(projector, stored[start : start + 7])

    work = asyncio.gather(applying("numbers", refuses_negative=True), applying("others", refuses_negative=False))
    while not work.done():
        assert kinds(await found(connection)) == {}
    await work
    assert kinds(await found(connection)) == {}
