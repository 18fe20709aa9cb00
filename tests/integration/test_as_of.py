"""`?as_of=position`: what a row was, folded from the event store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.projections.devices import devices
from agents.projections.event_types import event_types
from agents.projections.readings_hourly import readings_hourly
from agents.projector.projector import Projector
from headrace.projection import Projection
from tables.database import Database, Pool
from tables.history.row_events import OF_SUBJECTS, OF_TYPES
from tables.intake import outbox
from web.query import as_of
from web.query.projections import Projections
from web.server.server import make_application

from tests.support.clients.query_client import Client, path, refused
from tests.support.data.events import event
from tests.support.data.sums_projection import apply, serving_sums, store
from tests.support.doors.hot_server import HotServer

FLEET: list[Projection[Any]] = [devices, readings_hourly, event_types]
SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def serving(database: Database, projections: list[Projection[Any]]) -> Client:
    views = Projections(database, projections)
    return TestClient(HotServer(make_application(views.routes(), max_body_bytes=1000), [views.hot_path()]))


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving_sums(database) as opened:
        yield opened


async def state_at(client: Client, key: str, position: int, projection: str = "sums") -> Any:
    response = await client.get(str(path(key, projection)) + f"?as_of={position}")
    if response.status == 404:
        return None
    assert response.status == 200, await response.text()
    return (await response.json())["state"]


async def test_a_row_is_answered_as_it_was_at_each_position(client: Client, pool: Pool) -> None:
    await store(pool, ("a", 1), ("b", 5), ("a", 2), ("a", 0), ("a", 7))
    totals = [(await state_at(client, "a", position) or {}).get("total") for position in range(1, 6)]
    assert totals == [1, 1, 3, None, 7]


async def test_the_answer_has_the_shape_of_the_row_and_at_the_end_is_the_row(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("a", 1), ("a", 2))
    await apply(database)
    now = await (await client.get(path("a", "sums"))).json()
    response = await client.get("/api/v1/projections/sums/a?as_of=2")
    then = await response.json()
    assert list(then) == list(now)
    assert response.headers["Cache-Control"] == "no-cache"
    for varying in ("updated_at", "version"):
        del now[varying], then[varying]
    assert then == now


@SETTINGS
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 3)), min_size=1, max_size=12))
async def test_the_row_at_the_position_of_each_moment_is_the_row_of_that_moment(
    pool: Pool, database: Database, amounts: list[tuple[str, int]]
) -> None:
    async with serving_sums(database) as client:
        moments: list[tuple[int, dict[tuple[str, str], Any]]] = []
        for amount in amounts:
            (position,) = await store(pool, amount)
            await apply(database)
            found = await pool.fetch("SELECT projection, key, state::text AS state FROM projections")
            moments.append((position, {(row["projection"], row["key"]): json.loads(row["state"]) for row in found}))
        for position, rows in moments:
            for key in "abc":
                assert await state_at(client, key, position) == rows.get(("sums", key))
            assert await state_at(client, "tested", position, "counts") == rows[("counts", "tested")]


async def test_rows_of_the_fleet_equal_their_past_at_the_end(pool: Pool, database: Database) -> None:
    """With exact numbers, ids and metrics with slashes, and events without a subject."""
    async with pool.acquire() as connection:
        sent = [
            event(n, type=kind, subject=subject, time=time, data=data)
            for n, (kind, subject, time, data) in enumerate(
                [
                    ("device.registered", "d/1", "2026-01-01T00:59:59.9999999Z", {"name": "One", "model": None}),
                    ("reading.recorded", "d/1", "2026-01-01T00:59:59.9999999Z", {"metric": "t/x", "value": 10**29 + 1}),
                    ("reading.recorded", "d/1", "2026-01-01T01:00:00Z", {"metric": "t/x", "value": 2.5}),
                    ("reading.recorded", "d/1", "2026-01-01T00:10:00Z", {"metric": "t/x", "value": 1}),
                    ("reading.recorded", "d", "2026-01-01T00:10:00Z", {"metric": "1", "value": 1e16}),
                    ("device.retired", "d/1", "2026-01-01T03:00:00+01:00", {}),
                    ("something", None, "2026-01-01T03:00:00Z", None),
                ]
            )
        ]
        await outbox.accept(connection, sent)
        await outbox.store_next(connection, [], at_most=10_000, partitions=4)
    for projection in FLEET:
        await Projector(projection, database).catch_up()
    rows = await pool.fetch("SELECT projection, key, state::text AS state, position FROM projections")
    assert len(rows) == 9
    async with serving(database, FLEET) as client:
        for row in rows:
            response = await client.get(str(path(row["key"], row["projection"])) + f"?as_of={len(sent)}")
            text = await response.text()
            assert f'"state":{row["state"]}' in text, (row, text)
            assert json.loads(text)["position"] == row["position"]


async def test_parked_and_discarded_events_are_left_out(client: Client, pool: Pool, database: Database) -> None:
    await store(pool, ("a", 1), ("a", -1), ("a", 2), ("b", 1))
    for _ in range(2):  # before the projector has come to them, and after
        assert [await state_at(client, "a", position) for position in (1, 2, 3)] == [{"total": 1, "events": 1}] * 3
        await apply(database)
    await pool.execute(
        """WITH gone AS (DELETE FROM parked WHERE position = 2 RETURNING *)
        INSERT INTO discarded (projection, position, key, key_is_known, error, reason, discarded_by, parked_at)
        SELECT projection, position, key, key_is_known, error, 'wrong', 'a test', parked_at FROM gone"""
    )
    await pool.execute("DELETE FROM parked")
    assert await state_at(client, "a", 3) == {"total": 3, "events": 2}


@pytest.mark.parametrize("value", ["0", "-1", "5", "1.0", "01", "x", "", "%D9%A2", "9" * 30, "0000-00-00"])
async def test_a_position_that_is_none_is_refused(client: Client, pool: Pool, value: str) -> None:
    await store(pool, ("a", 1), ("a", 1))
    members = await refused(await client.get(f"/api/v1/projections/sums/a?as_of={value}"), 400, "invalid_query")
    assert members["errors"][0]["parameter"] == "as_of"
    if value == "5":
        assert "position 2" in members["errors"][0]["detail"]


@pytest.mark.parametrize("query", ["as_of=1&as_of=1", "as_of=1&x=1", "as_of=1&source=s&id=i", "&", "as_of"])
async def test_as_of_goes_alone(client: Client, pool: Pool, query: str) -> None:
    await store(pool, ("a", 1))
    await refused(await client.get(f"/api/v1/projections/sums/a?{query}"), 400, "invalid_query")


async def test_a_row_or_a_projection_that_was_not_there_is_not_found(client: Client, pool: Pool) -> None:
    await store(pool, ("a", 1))
    await refused(await client.get("/api/v1/projections/sums/b?as_of=1"), 404, "unknown_key")
    await refused(await client.get("/api/v1/projections/sums/%00?as_of=1"), 404, "unknown_key")
    await refused(await client.get("/api/v1/projections/nothing/b?as_of=1"), 404, "unknown_projection")


async def test_the_etag_of_a_past_row_is_that_of_its_content(client: Client, pool: Pool) -> None:
    await store(pool, ("a", 1), ("b", 1), ("a", 1))
    etags = [(await client.get(f"/api/v1/projections/sums/a?as_of={n}")).headers["ETag"] for n in (1, 2, 3)]
    assert etags[0] == etags[1] != etags[2]
    known = {"If-None-Match": etags[0]}
    assert (await client.get("/api/v1/projections/sums/a?as_of=2", headers=known)).status == 304
    assert (await client.get("/api/v1/projections/sums/a?as_of=3", headers=known)).status == 200


async def test_a_row_that_takes_too_long_is_told_so(
    client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store(pool, ("a", 1))
    monkeypatch.setattr(as_of, "EVENTS_AT_ONCE", 1)
    await store(pool, *[("a", 1)] * 500)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE discarded")
        await refused(await client.get("/api/v1/projections/sums/a?as_of=400"), 503, "as_of_too_long")
    assert (await state_at(client, "a", 400))["total"] == 400


async def test_more_looks_than_may_wait_are_503(client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(as_of, "MOST_WAITING", 3)
    await store(pool, ("a", 1))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE discarded")
        looks = [asyncio.create_task(client.get("/api/v1/projections/sums/a?as_of=1")) for _ in range(5)]
        done, _ = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
        response = done.pop().result()
        await refused(response, 503, "too_many_as_of")
        assert int(response.headers["Retry-After"]) > 0
    statuses = sorted([(await look).status for look in looks])
    assert statuses == [200, 200, 200, 503, 503]


async def test_with_many_events_a_row_is_found_along_an_index(pool: Pool) -> None:
    await pool.execute(
        """INSERT INTO event_store
        (position, id, source, event_type, subject, event_time, received_at, partition, event)
        SELECT n, n::text, '/s', CASE WHEN n % 1000 = 0 THEN 'rare' ELSE 'tested' END, 's' || n % 5000, now(), now(), 0,
               '{}' FROM generate_series(1, 100000) AS n"""
    )
    await pool.execute("ANALYZE event_store")
    for statement, values in ((OF_SUBJECTS, [["s7"], ["tested"]]), (OF_TYPES, [["rare"]])):
        plan = "\n".join(
            row[0]
            for row in await pool.fetch("EXPLAIN " + statement, "sums", 0, 90_000, 300, None, None, *values, 8_000_000)
        )
        assert "Seq Scan on event_store" not in plan, plan
        assert "event_store_by_" in plan, plan
