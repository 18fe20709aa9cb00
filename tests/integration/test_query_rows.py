"""One row over HTTP: keys of every kind, ETags."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tables.database import Database, Pool

from tests.support.clients.query_client import DELETE, Client, path, raw, refused, serving, write


@pytest.fixture
async def client(database: Database) -> AsyncIterator[Client]:
    async with serving(database) as opened:
        yield opened


async def test_a_row_is_answered_with_its_state_as_it_is(client: Client, pool: Pool) -> None:
    digits = "123456789012345678901234567890"
    await write(pool, "dev-1", f'{{"weight": {digits}, "text": "é\\n"}}', position=12)
    response = await client.get(path("dev-1"))
    body = await response.read()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-cache"
    assert digits.encode() in body
    members = json.loads(body)
    assert list(members) == ["projection", "key", "position", "version", "updated_at", "state"]
    assert members["updated_at"].endswith("Z")
    del members["updated_at"]
    assert members == {
        "projection": "things",
        "key": "dev-1",
        "position": 12,
        "version": 1,
        "state": {"weight": int(digits), "text": "é\n"},
    }


async def test_the_row_whose_key_is_empty_is_read_by_the_path_with_a_slash_at_its_end(
    client: Client, pool: Pool
) -> None:
    await refused(await client.get("/api/v1/projections/things/"), 404, "unknown_key")
    await refused(await client.get("/api/v1/projections/nothing/"), 404, "unknown_projection")
    await write(pool, "", '{"color": "red"}')
    answer = await client.get("/api/v1/projections/things/")
    assert (await answer.json())["state"] == {"color": "red"}
    assert (await client.head("/api/v1/projections/things/")).headers["ETag"] == answer.headers["ETag"]
    known = {"If-None-Match": answer.headers["ETag"]}
    assert (await client.get("/api/v1/projections/things/", headers=known)).status == 304
    await write(pool, "a")
    page = await (await client.get("/api/v1/projections/things?key=")).json()
    assert [item["key"] for item in page["items"]] == [""]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("dev-1/temp/2026-01-01T00", "dev-1/temp/2026-01-01T00"),
        ("dev-1%2Ftemp%2f2026", "dev-1/temp/2026"),
        ("%25", "%"),
        ("%2525", "%25"),
        ("%252F", "%2F"),
        ("a%3Fb%23c%26d", "a?b#c&d"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%20b", "a b"),
        ("%C3%A9%F0%9F%98%80", "é😀"),
        ("line%0Abreak%0D%09", "line\nbreak\r\t"),
        ("%2F", "/"),
        ("/x", "/x"),
        ("x/", "x/"),
        ("a//b", "a//b"),
        ("%2E%2E%2Fx", "../x"),
        ("%2E%2E", ".."),
        ("%7Bkey%7D", "{key}"),
        ("%64ev", "dev"),
        ("100%", "100%"),
        ("%63hanges", "changes"),
        ("a/changes", "a/changes"),
        ("", ""),
    ],
)
async def test_a_key_is_decoded_once_whatever_its_characters(
    client: Client, pool: Pool, address: str, key: str
) -> None:
    await write(pool, key)
    response = await client.get(raw(f"/api/v1/projections/things/{address}"))
    assert response.status == 200, await response.text()
    assert (await response.json())["key"] == key


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("..")
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10))
async def test_a_percent_encoded_key_finds_its_row(client: Client, pool: Pool, key: str) -> None:
    await write(pool, key)
    response = await client.get(path(key))
    assert (await response.json())["key"] == key


async def test_a_key_that_is_not_there_and_a_projection_that_is_not_there_are_told_apart(client: Client) -> None:
    await refused(await client.get(path("nobody")), 404, "unknown_key")
    await refused(await client.get(path("a\0b")), 404, "unknown_key")
    for address in ("/api/v1/projections/nothing", "/api/v1/projections/nothing/key"):
        members = await refused(await client.get(address), 404, "unknown_projection")
        assert "things, bare" in members["detail"]


@pytest.mark.parametrize("address", ["%ff", "a%C3", "%ed%a0%80"])
async def test_a_key_that_is_not_utf8_is_refused(client: Client, address: str) -> None:
    await refused(await client.get(raw(f"/api/v1/projections/things/{address}")), 400, "invalid_utf8")


@pytest.mark.parametrize("address", ["/api/v1/projections/things/k?x=1", "/api/v1/projections?x=1"])
async def test_parameters_where_there_are_none_are_refused(client: Client, pool: Pool, address: str) -> None:
    await write(pool, "k")
    await refused(await client.get(address), 400, "invalid_query")


async def test_the_etag_changes_with_every_change_of_the_row_and_with_no_other(client: Client, pool: Pool) -> None:
    seen: list[str | None] = []
    for change in (
        lambda: write(pool, "k", '{"n": 1}', position=1),
        lambda: write(pool, "k", '{"n": 1}', position=1),
        lambda: write(pool, "k", '{"n": 2}', position=5),
        lambda: pool.execute(DELETE, "k"),
    ):
        await change()
        await write(pool, "other")
        etags = {(await client.get(path("k"))).headers.get("ETag") for _ in range(2)}
        seen += etags
    assert seen.pop() is None
    await write(pool, "k", '{"n": 1}', position=1)
    seen.append((await client.get(path("k"))).headers["ETag"])
    assert len(set(seen)) == 4
    assert all(etag is not None and etag.startswith('"') for etag in seen)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("{etag}", 304),
        ("W/{etag}", 304),
        ('"other", {etag}', 304),
        ('"a,b" ,W/"c",{etag}', 304),
        ("*", 304),
        ('"other"', 200),
        ("", 200),
        ("nonsense", 200),
    ],
)
async def test_a_client_that_has_the_row_as_it_is_gets_304(
    client: Client, pool: Pool, header: str, status: int
) -> None:
    await write(pool, "k")
    etag = (await client.get(path("k"))).headers["ETag"]
    response = await client.get(path("k"), headers={"If-None-Match": header.format(etag=etag)})
    assert response.status == status
    assert response.headers["ETag"] == etag
    assert response.headers["Cache-Control"] == "no-cache"
    assert bool(await response.read()) == (status == 200)


async def test_an_old_etag_gets_the_new_row_and_a_deleted_row_is_404(client: Client, pool: Pool) -> None:
    await write(pool, "k")
    etag = (await client.get(path("k"))).headers["ETag"]
    await write(pool, "k")
    assert (await client.get(path("k"), headers={"If-None-Match": etag})).status == 200
    await pool.execute(DELETE, "k")
    await refused(await client.get(path("k"), headers={"If-None-Match": "*"}), 404, "unknown_key")
