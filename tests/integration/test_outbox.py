"""`outbox` and `event_store`: accepting, storing, and what the database itself refuses."""

from __future__ import annotations

import json

import asyncpg
import pytest

from tables.database import Connection, Pool
from tables.intake import outbox

from tests.support.data.events import event


async def store_all(pool: Pool) -> list[outbox.StoredEvent]:
    """Store and delete everything that waits, as the relay does, without publishing."""
    everything: list[outbox.StoredEvent] = []
    published: list[int] = []
    async with pool.acquire() as connection:
        while stored := await outbox.store_next(connection, published, at_most=100, partitions=8):
            published = [row.seq for row in stored]
            everything += stored
    return everything


async def test_new_events_are_accepted(connection: Connection, pool: Pool) -> None:
    assert await outbox.accept(connection, [event(1), event(2)]) == {}
    rows = await pool.fetch("SELECT id, source, event_type, subject, event::text AS event FROM outbox ORDER BY seq")
    assert [(row["id"], row["source"], row["event_type"], row["subject"]) for row in rows] == [
        ("1", "/tests", "tested", "s1"),
        ("2", "/tests", "tested", "s2"),
    ]
    assert rows[0]["event"] == event(1).text


@pytest.mark.parametrize("stored", [False, True], ids=["in the outbox", "in the store"])
async def test_an_event_that_is_here_is_told_apart_by_its_content(
    connection: Connection, pool: Pool, stored: bool
) -> None:
    await outbox.accept(connection, [event(1), event(2)])
    if stored:
        await store_all(pool)
    known = await outbox.accept(connection, [event(3), event(2, data="other"), event(1)])
    assert known == {1: False, 2: True}
    assert await pool.fetchval("SELECT count(*) FROM outbox WHERE id = '3'") == 1
    assert await pool.fetchval("SELECT count(*) FROM outbox") == (1 if stored else 3)


@pytest.mark.parametrize("stored", [False, True], ids=["in the outbox", "in the store"])
async def test_a_time_that_the_sender_did_not_give_does_not_count(
    connection: Connection, pool: Pool, stored: bool
) -> None:
    await outbox.accept(connection, [event(1), event(2, time="2026-01-01T00:00:00Z")])
    if stored:
        await store_all(pool)
    later = "2026-11-23T00:00:00Z"
    assert await outbox.accept(connection, [event(1, received_at=later), event(2, received_at=later)]) == {
        0: True,
        1: True,
    }
    other = event(2, time="2026-01-01T00:00:01Z")
    assert await outbox.accept(connection, [other]) == {0: False}


async def test_the_same_content_in_another_spelling_is_the_same_event(connection: Connection, pool: Pool) -> None:
    await outbox.accept(connection, [event(1, data={"a": 1, "b": [1.0, "é"]})])
    spelled = event(1, data={"b": [1.0, "é"], "a": 1})
    assert spelled.text != event(1, data={"a": 1, "b": [1.0, "é"]}).text
    assert await outbox.accept(connection, [spelled]) == {0: True}


async def test_positions_are_1_2_3_in_the_order_of_acceptance(connection: Connection, pool: Pool) -> None:
    for number in range(250):
        await outbox.accept(connection, [event(number)])
        if number % 7 == 0:
            await outbox.accept(connection, [event(number)])  # burns a number of the sequence
    stored = await store_all(pool)
    assert [row.position for row in stored] == list(range(1, 251))
    rows = await pool.fetch("SELECT position, id, partition FROM event_store ORDER BY position")
    assert [(row["position"], row["id"]) for row in rows] == [(n + 1, str(n)) for n in range(250)]
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
    last = await pool.fetch("SELECT partition, last_position FROM topic_partitions")
    assert {row["partition"]: row["last_position"] for row in last} == {
        partition: max(row["position"] for row in rows if row["partition"] == partition)
        for partition in {row["partition"] for row in rows}
    }


async def test_a_round_of_large_events_is_cut_by_its_bytes(connection: Connection, pool: Pool) -> None:
    await outbox.accept(connection, [event(n, data="x" * 900_000) for n in range(25)])
    first = await outbox.store_next(connection, [], at_most=1_000, partitions=8)
    assert sum(len(row.text) for row in first) < outbox.MAX_ROUND_BYTES + 1_000_000
    assert [row.position for row in first] == list(range(1, len(first) + 1))
    assert len(first) < 25
    rest = await outbox.store_next(connection, [row.seq for row in first], at_most=1_000, partitions=8)
    assert [row.position for row in rest] == list(range(len(first) + 1, 26))


async def test_a_round_that_fails_leaves_no_gap(connection: Connection, pool: Pool) -> None:
    await outbox.accept(connection, [event(1)])
    transaction = connection.transaction()
    await transaction.start()
    assert len(await outbox.store_next(connection, [], at_most=10, partitions=8)) == 1
    await transaction.rollback()
    assert [row.position for row in await store_all(pool)] == [1]


async def test_what_is_stored_but_not_deleted_keeps_its_position(connection: Connection, pool: Pool) -> None:
    await outbox.accept(connection, [event(1), event(2)])
    stored = await outbox.store_next(connection, [], at_most=10, partitions=8)
    assert await outbox.stored_before(connection, at_most=10) == stored
    await outbox.delete(connection, [row.seq for row in stored])
    assert await outbox.stored_before(connection, at_most=10) == []


async def test_numbers_and_text_are_kept_as_they_were_sent(connection: Connection, pool: Pool) -> None:
    text = (
        '{"specversion":"1.0","id":"n","source":"/n","type":"t","time":"2026-01-01T00:00:00Z",'
        '"data":{"n":123456789012345678901234567890.10,"s":"\\u00e9\\ud83d\\ude00"}}'
    )
    from headrace.events.envelope import Limits, parse_event  # noqa: PLC0415 - the exact text is the point of this test

    await outbox.accept(connection, [parse_event(text.encode(), Limits(), "2026-01-01T00:00:00Z")])
    (stored,) = await store_all(pool)
    assert stored.text == text
    kept = await pool.fetchval("SELECT event->'data'->>'n' FROM event_store")
    assert kept == "123456789012345678901234567890.10"
    assert json.loads(await pool.fetchval("SELECT event::text FROM event_store")) == json.loads(text)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE event_store SET id = 'x'", "DELETE FROM event_store", "TRUNCATE event_store"],
)
async def test_the_database_refuses_to_change_the_event_store(
    connection: Connection, pool: Pool, database_dsn: str, statement: str
) -> None:
    await outbox.accept(connection, [event(1)])
    await store_all(pool)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    superuser = await asyncpg.connect(database_dsn, user="postgres")
    for role in ("origin", "replica"):
        await superuser.execute(f"SET session_replication_role = {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await superuser.execute(statement)
    await superuser.close()
    assert await pool.fetchval("SELECT count(*) FROM event_store") == 1


async def test_what_jsonb_cannot_hold_is_refused_on_its_way_in(connection: Connection, pool: Pool) -> None:
    with pytest.raises(asyncpg.DataError):
        await pool.execute(
            "INSERT INTO outbox (id, source, event_type, event_time, partition_key, key_hash, event)"
            " VALUES ('1', '/s', 't', now(), 'k', 0, $1)",
            '{"a": "\\u0000"}',
        )
