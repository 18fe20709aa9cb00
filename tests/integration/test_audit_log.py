"""`GET /api/v1/events` on the query port: the event store as an audit log."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.events import rfc3339
from tables.database import Database, Pool
from tables.history import audit_log
from tables.history.audit_log import Filter
from tables.intake import outbox
from tables.projections.pages import Place
from web.query.audit_log import AuditLog, read_request
from web.requests.paging import make_cursor
from web.server.server import make_application

from tests.support.clients.query_client import Client, raw, refused
from tests.support.data.events import event

PATH = "/api/v1/events"
TIMES = [f"2026-01-01T00:00:0{n}{fraction}Z" for n in range(3) for fraction in ("", ".5", ".999999", ".9999999")]
FILL = """
INSERT INTO event_store (position, id, source, event_type, subject, event_time, received_at, partition, event)
SELECT n, n::text, '/s' || n % 2000, CASE WHEN n % 10000 = 0 THEN 'rare' ELSE 'tested' END, 's' || n % 5000,
       timestamptz '2026-01-01Z' + n * interval '1 second', now(), 0, '{}'
FROM generate_series(1, 100000) AS n
"""


def serving(database: Database, **options: Any) -> TestClient[web.Request, web.Application]:
    return TestClient(TestServer(make_application(AuditLog(database, **options).routes(), max_body_bytes=1000)))


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving(database) as opened:
        yield opened


async def store(pool: Pool, *all_members: dict[str, Any]) -> None:
    async with pool.acquire() as connection:
        first = await connection.fetchval("SELECT last_position + 1 FROM relay_state")
        await outbox.accept(connection, [event(first + n, **members) for n, members in enumerate(all_members)])
        stored = await outbox.store_next(connection, [], at_most=10_000, partitions=4)
        await outbox.delete(connection, [one.seq for one in stored])


async def positions(client: Client, **parameters: str) -> list[int]:
    response = await client.get(PATH, params=parameters)
    assert response.status == 200, await response.text()
    return [item["position"] for item in (await response.json())["items"]]


async def test_an_item_is_the_envelope_as_stored_with_its_position_and_when_it_was_recorded(
    client: Client, pool: Pool
) -> None:
    digits = "123456789012345678901234567890.10"
    await store(pool, {"time": TIMES[0], "data": {"text": "é\n"}})
    text = f'{{"specversion": "1.0", "id": "x", "source": "/s", "type": "t", "data": {{"n": {digits}}}}}'
    async with pool.acquire() as connection:
        await connection.execute(
            "INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event)"
            " VALUES (2, 'x', '/s', 't', now(), now(), 0, $1::text::jsonb)",
            text,
        )
    response = await client.get(PATH)
    body = await response.text()
    assert digits in body
    first, second = json.loads(body)["items"]
    assert list(first) == ["position", "recorded_at", "event"]
    assert first["recorded_at"].endswith("Z")
    assert first["event"] == {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "tested",
        "subject": "s1",
        "time": TIMES[0],
        "data": {"text": "é\n"},
    }
    assert second["position"] == 2
    assert json.loads(body)["next_cursor"] is None


async def test_each_filter_lets_through_what_it_names(client: Client, pool: Pool) -> None:
    await store(
        pool,
        {"type": "a", "source": "/1", "subject": "x", "time": TIMES[0]},
        {"type": "b", "source": "/2", "subject": None, "time": TIMES[8]},
        {"type": "a", "source": "/2", "subject": "y/é ", "time": TIMES[4]},
    )
    assert await positions(client) == [1, 2, 3]
    assert await positions(client, type="a") == [1, 3]
    assert await positions(client, source="/2") == [2, 3]
    assert await positions(client, subject="y/é ") == [3]
    assert await positions(client, subject="") == []
    assert await positions(client, after="1") == [2, 3]
    assert await positions(client, type="a", source="/2", after="2") == [3]
    assert await positions(client, **{"from": TIMES[4]}) == [3, 2]
    assert await positions(client, to=TIMES[8]) == [1, 3]
    assert await positions(client, **{"from": "2026-01-01T01:00:01+01:00", "to": TIMES[8]}) == [3]
    assert await positions(client, **{"from": TIMES[8], "to": TIMES[0]}) == []


filters = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from("ab"),
        "source": st.sampled_from(["/1", "/2"]),
        "subject": st.sampled_from(["x", "y"]),
        "after": st.integers(0, 12).map(str),
        "from": st.sampled_from(TIMES),
        "to": st.sampled_from(TIMES),
    },
)
stored_events = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from("ab"),
            "source": st.sampled_from(["/1", "/2"]),
            "subject": st.sampled_from(["x", "y", None]),
            "time": st.sampled_from(TIMES),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stored_events, filters, st.integers(1, 5))
async def test_pages_together_are_the_filtered_events_in_order(
    pool: Pool, database: Database, events: list[dict[str, Any]], asked: dict[str, str], limit: int
) -> None:
    async with pool.acquire() as connection:
        await connection.execute("ALTER TABLE event_store DISABLE TRIGGER ALL")
        await connection.execute("GRANT TRUNCATE ON event_store TO CURRENT_USER")
        await connection.execute("TRUNCATE event_store")
        await connection.execute("UPDATE relay_state SET last_position = 0")
    await store(pool, *events)
    found: list[int] = []
    async with serving(database) as client:
        parameters = {**asked, "limit": str(limit)}
        while True:
            page = await (await client.get(PATH, params=parameters)).json()
            found += [item["position"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            assert len(page["items"]) == limit
            parameters["cursor"] = page["next_cursor"]
    passing = [(position, one) for position, one in enumerate(events, 1) if passes(position, one, asked)]
    if "from" in asked or "to" in asked:
        passing.sort(key=lambda pair: (cut(pair[1]["time"]), pair[0]))
    assert found == [position for position, _ in passing]


def cut(time: str) -> str:
    """To microseconds, as PostgreSQL keeps times."""
    return rfc3339.instant(rfc3339.to_microseconds(time))


def passes(position: int, one: dict[str, Any], asked: dict[str, str]) -> bool:
    return (
        all(one[name] == asked[name] for name in ("type", "source", "subject") if name in asked)
        and position > int(asked.get("after", 0))
        and ("from" not in asked or cut(one["time"]) >= cut(asked["from"]))
        and ("to" not in asked or cut(one["time"]) < cut(asked["to"]))
    )


async def test_a_reader_that_remembers_a_position_misses_nothing(client: Client, pool: Pool) -> None:
    await store(pool, {}, {})
    after = (await positions(client))[-1]
    await store(pool, {}, {})
    assert await positions(client, after=str(after)) == [3, 4]


async def test_a_page_of_large_events_ends_early_and_goes_on(
    client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MAX_PAGE_BYTES", 1_000)
    await store(pool, *[{"data": "x" * 900}] * 4, {"data": "x" * 3_000}, {})
    parameters: dict[str, str] = {}
    sizes = []
    while True:
        page = await (await client.get(PATH, params=parameters)).json()
        sizes.append(len(page["items"]))
        if page["next_cursor"] is None:
            break
        parameters = {"cursor": page["next_cursor"]}
    assert sizes == [1] * 6


@pytest.mark.parametrize(
    ("query", "parameter", "allowed"),
    [
        ("limit=0", "limit", "1 to 1000"),
        ("limit=1001", "limit", "1 to 1000"),
        ("after=-1", "after", "position"),
        ("after=%D9%A2", "after", "position"),
        ("after=1e3", "after", "position"),
        ("from=now", "from", "RFC 3339"),
        ("to=infinity", "to", "RFC 3339"),
        ("from=2026-01-01T00:00:00+01:00", "from", "%2B"),
        ("cursor=AAAA", "cursor", "next_cursor"),
        ("partition=1", "partition", "type, source, subject"),
        ("type=a&type=b", "type", "once"),
        ("subject=a%00b", None, "NUL"),
        ("source=%ff", None, "UTF-8"),
    ],
)
async def test_a_query_that_is_not_understood_is_told_what_is_allowed(
    client: Client, query: str, parameter: str | None, allowed: str
) -> None:
    members = await refused(await client.get(raw(f"{PATH}?{query}")), 400, "invalid_query")
    (error,) = members["errors"]
    assert error.get("parameter") == parameter
    assert allowed in error["detail"]


@pytest.mark.parametrize(
    ("query", "end"),
    [
        ({}, Place(None, "x")),
        ({}, Place(None, "9" * 30)),
        ({"from": TIMES[0]}, Place("soon", "1")),
        ({"from": TIMES[0]}, Place(None, "1")),
    ],
)
async def test_a_forged_cursor_that_postgresql_cannot_read_is_refused(
    client: Client, query: dict[str, str], end: Place
) -> None:
    cursor = make_cursor(read_request(urlencode(query)).bound_to, end)
    await refused(await client.get(PATH, params={**query, "cursor": cursor}), 400, "invalid_query")


async def test_a_cursor_of_another_query_is_refused(client: Client, pool: Pool) -> None:
    await store(pool, {}, {})
    cursor = (await (await client.get(PATH, params={"limit": "1"})).json())["next_cursor"]
    assert await positions(client, cursor=cursor) == [2]
    await refused(await client.get(PATH, params={"type": "tested", "cursor": cursor}), 400, "invalid_query")


async def test_a_query_that_takes_too_long_is_told_so(database: Database, pool: Pool) -> None:
    async with serving(database, seconds=0.2) as client, pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE event_store")
        await refused(await client.get(PATH), 503, "query_too_long")


async def test_head_and_other_methods(client: Client) -> None:
    assert (await client.head(PATH)).status == 200
    await refused(await client.post(PATH), 405, "method_not_allowed")


async def test_while_postgresql_is_away_it_is_503() -> None:
    async with serving(Database(pool_size=2, timeout_seconds=1)) as client:
        await refused(await client.get(PATH), 503, "database_away")


async def test_what_is_committed_while_pages_are_read_comes_at_their_end(client: Client, pool: Pool) -> None:
    await store(pool, {}, {}, {})
    page = await (await client.get(PATH, params={"limit": "2"})).json()
    await store(pool, {})
    assert await positions(client, cursor=page["next_cursor"]) == [3, 4]


async def test_with_many_events_each_filter_finds_its_index(pool: Pool) -> None:
    await pool.execute(FILL, timeout=120)
    await pool.execute("ANALYZE event_store")
    asked: list[tuple[dict[Filter, str], str]] = [
        ({"subject": "s7"}, "event_store_by_subject"),
        ({"type": "rare"}, "event_store_by_type"),
        ({"source": "/s7"}, "event_store_one_row_an_event"),
        ({"after": "99000"}, "event_store_pkey"),
        ({"from": "2026-01-02T03:00:00Z"}, "event_store_by_time"),
        ({"to": "2026-01-01T00:10:00Z"}, "event_store_by_time"),
        ({}, "event_store_pkey"),
    ]
    for filters, index in asked:
        statement, arguments = audit_log._statement(filters, None)
        plan = "\n".join(row[0] for row in await pool.fetch("EXPLAIN " + statement, 51, 8_000_000, *arguments))
        assert index in plan, (filters, plan)
        assert "Seq Scan" not in plan
