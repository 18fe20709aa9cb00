"""Streams of changes as answers: heartbeats, ends, limits, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headrace.folding.folding import Folding
from tables.database import Database, Pool
from web.query import change_feed

from tests.support.clients.event_stream import EventStream
from tests.support.clients.query_client import Client, raw, refused
from tests.support.data.sums_projection import SUMS, apply, serving_sums, store
from tests.support.waiting import until

SUMS_CHANGES = "/api/v1/projections/sums/changes"
COUNTS_CHANGES = "/api/v1/projections/counts/changes"


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving_sums(database) as opened:
        yield opened


async def test_heartbeats_move_the_point_of_a_quiet_projection(pool: Pool, database: Database) -> None:
    async with serving_sums(database, heartbeat_seconds=0.1) as client, EventStream(client, SUMS_CHANGES) as stream:
        before = stream.last_id
        await store(pool, ("a", 1), event_type="something else")
        await apply(database)

        async def moved() -> bool:
            await stream.comment()
            return stream.last_id != before

        await until(moved, 20)
        async with EventStream(client, SUMS_CHANGES, stream.last_id) as again:
            await store(pool, ("b", 1))
            await apply(database)
            assert [one.data["key"] for one in await again.take()] == ["b"]


async def test_when_the_server_stops_streams_end_at_once(database: Database) -> None:
    client = serving_sums(database)
    await client.start_server()
    async with EventStream(client, SUMS_CHANGES) as stream:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(client.server.close(), stream.end())
        assert asyncio.get_running_loop().time() - started < 2
    await client.close()


async def test_nobody_looks_when_nobody_listens(database: Database, pool: Pool) -> None:
    feed = change_feed.ChangeFeed(database, {"sums": Folding(SUMS)}, most_listeners=1)
    listener = await feed.listen("sums")
    with pytest.raises(change_feed.TooManyListenersError):
        await feed.listen("sums")
    feed.leave("sums", listener)

    async def has_ended() -> bool:
        return feed._following is None

    await until(has_ended, 10)
    feed.leave("sums", await feed.listen("sums"))
    feed.close()


async def test_more_streams_than_allowed_are_503(database: Database) -> None:
    async with serving_sums(database, most_streams=1) as client, EventStream(client, SUMS_CHANGES):
        response = await client.get(COUNTS_CHANGES)
        await refused(response, 503, "too_many_streams")
        assert int(response.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "last_id", ["garbage", "1.2", "1.2.3.4", "9999999999999999999.1.1", "é".encode().decode("latin-1")]
)
async def test_what_was_never_an_id_of_the_stream_is_refused(client: Client, last_id: str) -> None:
    response = await client.get(SUMS_CHANGES, headers={"Last-Event-ID": last_id})
    await refused(response, 400, "invalid_last_event_id")


async def test_head_has_the_headers_and_ends(client: Client) -> None:
    response = await client.head(SUMS_CHANGES)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")


async def test_other_requests_for_changes_are_told_what_is_wrong(client: Client) -> None:
    await refused(await client.get("/api/v1/projections/nothing/changes"), 404, "unknown_projection")
    await refused(await client.get(SUMS_CHANGES + "?since=1"), 400, "invalid_query")


async def test_a_row_whose_key_is_changes_is_found_percent_encoded(
    client: Client, pool: Pool, database: Database
) -> None:
    await store(pool, ("changes", 1), ("a/changes", 2))
    await apply(database)
    for address in ("%63hanges", "change%73", "a/changes", "a%2Fchanges"):
        response = await client.get(raw(f"/api/v1/projections/sums/{address}"))
        assert response.status == 200, address
        assert response.headers["Content-Type"] == "application/json"


async def test_while_postgresql_is_away_a_new_stream_is_503() -> None:
    async with serving_sums(Database(pool_size=2, timeout_seconds=1)) as client:
        await refused(await client.get(SUMS_CHANGES), 503, "database_away")


async def test_a_client_that_goes_away_makes_room_for_another(database: Database) -> None:
    async with serving_sums(database, most_streams=1, heartbeat_seconds=0.05) as client:

        async def is_free() -> bool:
            response = await client.get(COUNTS_CHANGES)
            response.close()
            return response.status == 200

        for _ in range(3):
            await until(is_free, 20)
