"""Rows, pages, totals, the past and streams of changes, for keys that may read the rows of some subjects only."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from headrace.access.grant import EVERYTHING, Grant
from tables.database import Database

from tests.support.clients.event_stream import EventStream
from tests.support.clients.query_client import Client, path, raw, refused
from tests.support.data.tenants import (
    BY_NOTE,
    BY_SUBJECT,
    BY_TYPE,
    OURS,
    PROJECTIONS,
    THEIRS,
    apply,
    noted,
    serving_tenants,
    store,
)
from tests.support.doors.callers import may

OUR_SUBJECTS = may(subjects=OURS)
NAMES = [BY_SUBJECT.name, BY_NOTE.name]


async def fill(database: Database) -> None:
    """Two rows of ours and two of others in each projection, besides a row that resembles ours."""
    await store(
        database,
        noted("1", "n1", "one", subject=f"{OURS}1"),
        noted("2", "n2", "two", subject=f"{THEIRS}2"),
        noted("3", "n3", "three", subject=f"{OURS}3"),
        noted("4", "n4", "four", subject="/greenhouse/a"),
        noted("5", "n5", "five", subject=f"{OURS}5"),
    )
    await apply(database)


async def items(client: Client, projection: str, **parameters: str) -> tuple[list[str], Any]:
    response = await client.get(f"/api/v1/projections/{projection}", params=parameters)
    assert response.status == 200, await response.text()
    page = json.loads(await response.read())
    return [text for one in page["items"] for text in one["state"]["texts"]], page


@pytest.mark.parametrize("name", NAMES)
async def test_pages_and_totals_have_own_rows_only(database: Database, name: str) -> None:
    await fill(database)
    async with serving_tenants(database, OUR_SUBJECTS) as client:
        found, page = await items(client, name, total="true", limit="2", sort="owner")
        assert (found, page["total"]) == (["one", "three"], 3)
        found, page = await items(client, name, total="true", limit="2", sort="owner", cursor=page["next_cursor"])
        assert (found, page["next_cursor"]) == (["five"], None)
        assert (await items(client, name, owner=f"{THEIRS}2"))[0] == []
        assert (await items(client, name, **{"key[prefix]": ""}))[0] == ["one", "three", "five"]


@pytest.mark.parametrize("query", ["", "?as_of=2"])
async def test_another_s_row_is_403_where_its_key_is_its_subject(database: Database, query: str) -> None:
    await fill(database)
    async with serving_tenants(database, OUR_SUBJECTS) as client:
        answers = []
        for key in (f"{THEIRS}2", f"{THEIRS}unknown"):
            response = await client.get(raw(f"{path(key, BY_SUBJECT.name)}{query}"), headers={"If-None-Match": "*"})
            answers.append(await refused(response, 403, "not_yours"))
        assert answers[0] == answers[1]
        own = await client.get(raw(f"{path(f'{OURS}1', BY_SUBJECT.name)}{query}"))
        assert (await own.json())["state"]["texts"] == ["one"]


@pytest.mark.parametrize("query", ["", "?as_of=2", "?as_of=999", "?source=%2Ftests&id=2"])
async def test_another_s_row_does_not_exist_where_its_subject_is_a_field(database: Database, query: str) -> None:
    await fill(database)
    async with serving_tenants(database, OUR_SUBJECTS) as client:
        answers = []
        for key in ("n2", "n4", "unknown"):
            response = await client.get(raw(f"{path(key, BY_NOTE.name)}{query}"), headers={"If-None-Match": "*"})
            assert response.headers.get("ETag") is None
            answers.append((response.status, await response.read()))
        assert answers[0] == answers[1] == answers[2]
        assert answers[0][0] == (503 if "source" in query else 404)
        own = await client.get(path("n1", BY_NOTE.name))
        assert (await own.json())["state"]["texts"] == ["one"]
        past = await client.get(raw(f"{path('n1', BY_NOTE.name)}?as_of=1"))
        assert (await past.json())["state"]["texts"] == ["one"]


@pytest.mark.parametrize("route", ["", "/key", "/changes", "/key?as_of=1", "?total=true", "?source=a&id=1&wait=9"])
@pytest.mark.parametrize(
    ("grant", "projection"),
    [(OUR_SUBJECTS, BY_TYPE)]
    + [(grant, BY_SUBJECT) for grant in (may(sources=OURS), may(types="noted"), may(sources=OURS, subjects=OURS))],
)
async def test_rows_that_mix_what_is_limited_are_403(
    database: Database, grant: Grant, projection: Any, route: str
) -> None:
    async with serving_tenants(database, grant) as client:
        response = await client.get(raw(f"/api/v1/projections/{projection.name}{route}"))
        await refused(response, 403, "not_yours")
        listed = await (await client.get("/api/v1/projections")).json()
        assert projection.name not in [one["name"] for one in listed["items"]]


async def test_only_projections_with_readable_rows_are_listed(database: Database) -> None:
    async with serving_tenants(database, OUR_SUBJECTS) as client:
        listed = await (await client.get("/api/v1/projections")).json()
        assert [one["name"] for one in listed["items"]] == NAMES


async def test_a_grant_that_is_made_of_no_limits_reads_everything(database: Database) -> None:
    await fill(database)
    async with serving_tenants(database, Grant()) as client:
        assert len((await items(client, BY_TYPE.name))[0]) == 5
        listed = await (await client.get("/api/v1/projections")).json()
        assert [one["name"] for one in listed["items"]] == [one.name for one in PROJECTIONS]


@pytest.mark.parametrize("name", NAMES)
async def test_a_stream_has_own_changes_only_deleted_rows_too(database: Database, name: str) -> None:
    await fill(database)
    url = f"/api/v1/projections/{name}/changes"
    async with serving_tenants(database, OUR_SUBJECTS) as client, EventStream(client, url) as stream:
        await store(
            database,
            noted("6", "n2", "secret", subject=f"{THEIRS}2"),
            noted("7", "n2", "", subject=f"{THEIRS}2"),
            noted("8", "n3", "", subject=f"{OURS}3"),
            noted("9", "n1", "again", subject=f"{OURS}1"),
        )
        await apply(database)
        told = await stream.take(2)
        assert [(one.kind, one.data["key"]) for one in told] == [
            ("deleted", f"{OURS}3" if name == BY_SUBJECT.name else "n3"),
            ("message", f"{OURS}1" if name == BY_SUBJECT.name else "n1"),
        ]
        async with EventStream(client, url, told[0].id) as again:
            assert [one.data["key"] for one in await again.take()] == [told[1].data["key"]]


async def test_changes_of_others_do_not_silence_a_stream(database: Database) -> None:
    url = f"/api/v1/projections/{BY_SUBJECT.name}/changes"
    async with (
        serving_tenants(database, OUR_SUBJECTS, heartbeat_seconds=1.0) as client,
        EventStream(client, url) as stream,
    ):
        stop = asyncio.Event()

        async def others() -> None:
            number = 100
            while not stop.is_set():
                number += 1
                await store(database, noted(str(number), "n", "x", subject=f"{THEIRS}2"))
                await apply(database)

        writing = asyncio.create_task(others())
        try:
            async with asyncio.timeout(20):
                for _ in range(2):
                    await stream.comment()
        finally:
            stop.set()
            await writing


async def test_waiting_for_another_s_event_takes_as_long_as_for_none(database: Database) -> None:
    await fill(database)
    clock = asyncio.get_running_loop().time
    async with serving_tenants(database, OUR_SUBJECTS) as client:
        for event_id in ("2", "unknown"):
            started = clock()
            response = await client.get(raw(f"{path('n1', BY_NOTE.name)}?source=%2Ftests&id={event_id}&wait=1.5"))
            await refused(response, 503, "event_not_applied")
            assert clock() - started >= 1.4
    async with serving_tenants(database, EVERYTHING) as client:
        response = await client.get(raw(f"{path('n1', BY_NOTE.name)}?source=%2Ftests&id=2&wait=9"))
        assert response.status == 200
