"""`Prefer: handling=strict` and `Prefer: wait=N`: rows of the contract's table of outcomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tables.database import Database, Pool
from tables.projections.applied_events import AppliedEvents

from tests.support.doors.open_door import OpenDoor, open_door
from tests.support.waiting import until

JSON = {"Content-Type": "application/json"}
STRICT = {**JSON, "Prefer": "handling=strict"}
LONG = {**JSON, "Prefer": "wait=30"}
STRICT_AND_LONG = {**JSON, "Prefer": "wait=30,handling=strict"}
SHORT = {**JSON, "Prefer": "wait=0"}
SECONDS = 20.0
# What relay and projector do, in the test's own words.
STORE = """
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)
SELECT row_number() OVER (ORDER BY seq), id, source, event_type, event_time, received_at, 0, event::jsonb FROM outbox
ON CONFLICT DO NOTHING
"""
HEAD = "UPDATE relay_state SET last_position = (SELECT max(position) FROM event_store)"
APPLY = """
INSERT INTO progress (projection, partition, position) SELECT 'devices', 0, max(position) FROM event_store
ON CONFLICT (projection, partition) DO UPDATE SET position = excluded.position
"""


def envelope(event_id: str = "1", **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": event_id, "source": "/tests", "type": "tested", "data": {"n": 1}, **members}


def body(*events: Any) -> bytes:
    return json.dumps(events).encode()


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


async def kept(pool: Pool) -> list[str]:
    return [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY seq")]


async def apply_all(pool: Pool) -> None:
    await pool.execute(STORE)
    await pool.execute(HEAD)
    await pool.execute(APPLY)


def somebody_waits(applied: AppliedEvents, events: int) -> Any:
    async def waits() -> bool:
        return applied.waiting_events == events

    return waits


@pytest.mark.parametrize(
    "refused",
    [{"specversion": "0.3"}, {"type": "reading.recorded", "subject": "d"}, {"id": "old", "data": "other"}],
    ids=["envelope", "schema", "conflict"],
)
async def test_handling_strict_and_any_event_refused_keeps_nothing(
    door: OpenDoor, pool: Pool, refused: dict[str, Any]
) -> None:
    await door.post(json.dumps(envelope("old")).encode(), JSON)
    batch = [envelope("1"), envelope("old"), {**envelope("2"), **refused}, envelope("3"), envelope("1")]
    status, answer, response = await door.post(body(*batch), STRICT)
    assert (status, response.headers["Preference-Applied"]) == (422, "handling=strict")
    assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (0, 0, 5)
    assert [one["error"]["code"] == "not_kept" for one in answer["results"]] == [True, True, False, True, True]
    assert [one["index"] for one in answer["results"]] == [0, 1, 2, 3, 4]
    assert await kept(pool) == ["old"]
    assert (await door.post(body(*batch), JSON))[0] == 207
    assert await kept(pool) == ["old", "1", "3"]


async def test_handling_strict_keeps_a_batch_that_is_good_as_a_whole(door: OpenDoor, pool: Pool) -> None:
    status, answer, response = await door.post(body(envelope("1"), envelope("2"), envelope("1")), STRICT)
    assert (status, response.headers["Preference-Applied"]) == (202, "handling=strict")
    assert [one["status"] for one in answer["results"]] == ["accepted", "accepted", "duplicate"]
    status, answer, _ = await door.post(body(envelope("1"), envelope("3")), STRICT)
    assert (status, answer["accepted"], answer["duplicates"]) == (202, 1, 1)
    assert await kept(pool) == ["1", "2", "3"]


async def test_handling_strict_does_not_touch_what_others_post_at_the_same_time(door: OpenDoor, pool: Pool) -> None:
    conflict = envelope("x", data=0)
    await door.post(json.dumps(envelope("x")).encode(), JSON)
    posts = [door.post(body(envelope(f"strict-{n}"), conflict), STRICT) for n in range(10)]
    posts += [door.post(body(envelope(f"plain-{n}"), conflict), JSON) for n in range(10)]
    statuses = [status for status, _, _ in await asyncio.gather(*posts)]
    assert statuses == [422] * 10 + [207] * 10
    assert sorted(await kept(pool)) == sorted(["x", *(f"plain-{n}" for n in range(10))])


async def test_handling_strict_finds_what_only_the_database_refuses(door: OpenDoor, pool: Pool) -> None:
    # An object of more members than jsonb can hold would be too large for the test: a CHECK of the test's own.
    await pool.execute("ALTER TABLE outbox ADD CONSTRAINT planted CHECK (id <> 'bad')")
    status, answer, _ = await door.post(body(*[envelope(one) for one in ("1", "2", "bad", "3")]), STRICT)
    assert status == 422
    assert [one["error"]["code"] for one in answer["results"]] == ["not_kept", "not_kept", "unstorable", "not_kept"]
    assert await kept(pool) == []


async def test_handling_lenient_and_unknown_preferences_change_nothing(door: OpenDoor, pool: Pool) -> None:
    headers = {**JSON, "Prefer": "handling=lenient, return=minimal"}
    status, _, response = await door.post(body(envelope("1"), {}), headers)
    assert status == 207
    assert "Preference-Applied" not in response.headers
    assert await kept(pool) == ["1"]


async def test_prefer_wait_answers_201_when_every_projection_has_applied_the_event(door: OpenDoor, pool: Pool) -> None:
    posting = asyncio.create_task(door.post(json.dumps(envelope()).encode(), LONG))
    await until(somebody_waits(door.applied, 1), SECONDS)
    assert await kept(pool) == ["1"]
    await pool.execute(STORE)
    await pool.execute(HEAD)
    assert not posting.done()
    await apply_all(pool)
    status, answer, response = await posting
    assert (status, answer["status"]) == (201, "accepted")
    assert response.headers["Preference-Applied"] == "wait"
    assert response.headers["Location"] == "/api/v1/events/status?source=%2Ftests&id=1"


async def test_prefer_wait_gives_the_ordinary_answer_when_the_time_is_up(door: OpenDoor) -> None:
    status, answer, response = await door.post(json.dumps(envelope()).encode(), SHORT)
    assert (status, answer["status"]) == (202, "accepted")
    assert "Preference-Applied" not in response.headers
    status, answer, response = await door.post(json.dumps(envelope()).encode(), SHORT)
    assert (status, answer["status"]) == (200, "duplicate")


async def test_prefer_wait_holds_for_a_duplicate_and_for_a_batch(door: OpenDoor, pool: Pool) -> None:
    await door.post(json.dumps(envelope("1")).encode(), JSON)
    posts = [
        asyncio.create_task(door.post(json.dumps(envelope("1")).encode(), LONG)),
        asyncio.create_task(
            door.post(body(envelope("2"), envelope("3")), {**JSON, "Prefer": "wait=30,handling=strict"})
        ),
        asyncio.create_task(door.post(body(envelope("4"), {}), LONG)),
    ]
    await until(somebody_waits(door.applied, 4), SECONDS)
    await apply_all(pool)
    answers = await asyncio.gather(*posts)
    assert [status for status, _, _ in answers] == [201, 201, 207]
    assert [response.headers["Preference-Applied"] for _, _, response in answers] == [
        "wait",
        "handling=strict, wait",
        "wait",
    ]
    assert answers[0][1]["status"] == "duplicate"


async def test_prefer_wait_does_not_hold_what_is_refused(door: OpenDoor) -> None:
    async with asyncio.timeout(SECONDS):
        assert (await door.post(b"{}", LONG))[0] == 400
        assert (await door.post(body({}, {}), LONG))[0] == 422
        assert (await door.post(body(), LONG))[0] == 202


async def test_a_client_that_goes_away_waits_no_longer(door: OpenDoor) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    event = json.dumps(envelope())
    head = "POST /api/v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nPrefer: wait=60\r\n"
    writer.write(f"{head}Content-Length: {len(event)}\r\n\r\n{event}".encode())
    await until(somebody_waits(door.applied, 1), SECONDS)
    writer.transport.abort()
    await until(somebody_waits(door.applied, 0), SECONDS)


async def test_a_worker_that_stops_answers_who_waits(door: OpenDoor) -> None:
    posting = asyncio.create_task(door.post(json.dumps(envelope()).encode(), LONG))
    await until(somebody_waits(door.applied, 1), SECONDS)
    async with asyncio.timeout(SECONDS):
        await door.server.drain()
        assert (await posting)[0] == 202
