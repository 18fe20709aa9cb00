"""Every route of every port, with each kind of key: who is let in, and what the others are told."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from headrace.access import key_text
from headrace.access.scopes import ALL_SCOPES, Scope
from tables.access import keys
from tables.database import Database
from web.access.route_scopes import OPEN, ROUTE_SCOPES, WITH_PARAMETER, Need, Route

from tests.support.doors.gated_ports import GatedPorts, Port, gated_ports

REFUSED = (401, 403)
VERBOSE: dict[Route, Need] = {
    (method, f"{path}?{name}"): need for ((method, path), name), need in WITH_PARAMETER.items()
}
PORTS: tuple[Port, ...] = ("ingestion", "query", "health")


@pytest.fixture
async def ports(database: Database) -> AsyncIterator[GatedPorts]:
    async with gated_ports(database) as opened:
        yield opened


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


def routes(ports: GatedPorts, port: Port) -> list[tuple[str, str, Need]]:
    """Each route with its need, and a path that it matches."""
    found = []
    served = {(route.method, route.resource) for route in ports.servers[port].application.router.routes()}
    for method, resource in served:
        assert resource is not None
        as_get = "GET" if method == "HEAD" else method
        needs = {path: need for (each, path), need in {**ROUTE_SCOPES, **VERBOSE}.items() if each == as_get}
        for path, need in needs.items():
            if path.partition("?")[0] == resource.canonical:
                found.append((method, re.sub(r"{position}", "1", re.sub(r"{(?!position)\w+}", "devices", path)), need))
    return sorted(found)


async def ended_keys(ports: GatedPorts) -> dict[str, str]:
    """What is no valid key, each in its way."""
    expired, revoked = await ports.key("expired", list(ALL_SCOPES)), await ports.key("revoked", list(ALL_SCOPES))
    async with ports.database.acquire() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = created_at WHERE name = 'expired'")
        await keys.revoke(connection, "revoked")
    live = await ports.key("live", list(ALL_SCOPES))
    wrong = live[:16] + key_text.make().key[16:-6]
    return {
        "expired": expired,
        "revoked": revoked,
        "malformed": live[:-1] + ("a" if live[-1] != "a" else "b"),
        "unknown": key_text.make().key,
        "wrong secret": wrong + key_text._checksum(wrong),
    }


@pytest.mark.parametrize("port", PORTS)
async def test_no_route_lets_in_who_has_no_valid_key(ports: GatedPorts, port: Port) -> None:
    ended = await ended_keys(ports)
    let_in, checked = [], 0
    for method, path, need in routes(ports, port):
        for why, key in ended.items() | {("none", "")}:
            status = await ports.status(port, method, path, *([bearer(key)] if key else []))
            checked += 1
            if (status == 401) != bool(need):
                let_in.append((method, path, why, status))
    assert let_in == []
    assert checked > 20


@pytest.mark.parametrize("port", PORTS)
async def test_each_route_lets_in_the_scopes_that_it_needs_and_no_other(ports: GatedPorts, port: Port) -> None:
    of_scope = {scope: await ports.key(scope, [scope]) for scope in Scope}
    wrong = []
    for method, path, need in routes(ports, port):
        for scope, key in of_scope.items():
            status = await ports.status(port, method, path, bearer(key))
            if (status == 403) != (bool(need) and scope not in need) or status == 401:
                wrong.append((method, path, scope, status))
    assert wrong == []


@pytest.mark.parametrize("port", PORTS)
async def test_the_open_routes_are_those_of_health(ports: GatedPorts, port: Port) -> None:
    assert {path for _, path, need in routes(ports, port) if need == OPEN} == {"/livez", "/readyz"}


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/livez"), ("OPTIONS", "/api/v1/events")])
async def test_who_has_no_key_is_not_told_which_paths_exist(
    ports: GatedPorts, port: Port, method: str, path: str
) -> None:
    key = await ports.key("reader", ["read"])
    assert await ports.status(port, method, path) == 401
    assert await ports.status(port, method, path, bearer(key)) in {404, 405}


async def test_every_refusal_for_want_of_a_key_is_the_same(ports: GatedPorts) -> None:
    ended = await ended_keys(ports)
    answers = set()
    for headers in [[], [("Authorization", "Basic eDp5")], *([bearer(key)] for key in ended.values())]:
        headers.append(("X-Request-Id", "same"))
        async with ports.client.get(ports.addresses["query"] + "/api/v1/projections", headers=headers) as answer:
            shown = {name: value for name, value in answer.headers.items() if name != "Date"}
            answers.add((answer.status, await answer.text(), str(shown)))
    ((status, body, shown_headers),) = answers
    assert status == 401
    assert '"unauthorized"' in body
    assert "'WWW-Authenticate': 'Bearer'" in shown_headers


async def test_a_missing_scope_is_named(ports: GatedPorts) -> None:
    key = await ports.key("writer", ["write"])
    async with ports.client.get(ports.addresses["query"] + "/metrics", headers=[bearer(key)]) as answer:
        problem = await answer.json(content_type=None)
    assert (problem["code"], problem["status"]) == ("scope_missing", 403)
    assert "admin, metrics" in problem["detail"]


async def test_a_key_is_accepted_in_one_header_and_nowhere_else(ports: GatedPorts) -> None:
    key = await ports.key("reader", ["read"])
    path = "/api/v1/projections"

    async def status(*headers: tuple[str, str], query: str = "") -> int:
        return await ports.status("query", "GET", path + query, *headers)

    assert await status(bearer(key)) == 200
    assert await status(("authorization", f"bearer {key}")) == 200
    for headers in (
        [("Authorization", key)],
        [("Authorization", f"Basic {key}")],
        [("Authorization", f"Token {key}")],
        [("Authorization", f"Bearer  {key}")],
        [("Authorization", f"Bearer {key}, Bearer {key}")],
        [("X-Api-Key", key)],
        [("Cookie", f"key={key}")],
        [bearer(key), bearer(key)],
        [bearer(key), ("Authorization", "Basic eDp5")],
    ):
        assert await status(*headers) == 401, headers
    assert await status(query=f"?access_token={key}") == 401
    assert await status(bearer(key), query=f"?access_token={key}") == 401


async def test_a_body_is_not_asked_for_before_the_key_is_known(ports: GatedPorts) -> None:
    for path in ("/api/v1/events", "/nowhere"):
        async with ports.client.post(
            ports.addresses["ingestion"] + path, data=b"x" * 100_000, expect100=True
        ) as answer:
            assert answer.status == 401
            assert answer.headers["Connection"] == "close"


async def test_a_body_that_is_too_large_says_nothing_to_who_has_no_key(ports: GatedPorts) -> None:
    key = await ports.key("writer", ["write"])
    large = ("Content-Length", str(10**9))
    assert await ports.status("ingestion", "POST", "/api/v1/events", large, ("Expect", "100-continue")) == 401
    headers = (large, ("Expect", "100-continue"), bearer(key))
    assert await ports.status("ingestion", "POST", "/api/v1/events", *headers) == 413


async def test_while_postgresql_is_away_a_known_key_passes_and_others_get_503(ports: GatedPorts) -> None:
    known, unknown = await ports.key("known", ["read"]), await ports.key("unknown", ["read"])
    assert await ports.status("query", "GET", "/docs", bearer(known)) == 200
    ports.database.close()
    assert await ports.status("query", "GET", "/docs", bearer(known)) == 200
    assert await ports.status("query", "GET", "/docs", bearer(unknown)) == 503
    assert await ports.status("query", "GET", "/docs") == 401


async def test_documentation_can_be_opened(database: Database) -> None:
    async with gated_ports(database, AUTH_OPEN_DOCS="on") as ports:
        for path in ("/docs", "/openapi.json"):
            assert await ports.status("query", "GET", path) == 200
            assert await ports.status("ingestion", "GET", path) == 200
        assert await ports.status("query", "GET", "/api/v1/projections") == 401


async def test_refusals_are_counted_by_cause(ports: GatedPorts) -> None:
    ended = await ended_keys(ports)
    for key in ended.values():
        await ports.status("query", "GET", "/api/v1/projections", bearer(key))
    await ports.status("query", "GET", "/api/v1/projections")
    await ports.status("query", "GET", f"/api/v1/projections?key={ended['unknown']}")
    metrics = await ports.key("prometheus", ["metrics"])
    await ports.status("query", "GET", "/api/v1/projections", bearer(metrics))
    async with ports.client.get(ports.addresses["health"] + "/metrics", headers=[bearer(metrics)]) as answer:
        counted = dict(re.findall(r'headrace_requests_refused_total{cause="(\w+)"} (\d+)', await answer.text()))
    assert counted == {
        "missing": "1",
        "malformed": "1",
        "in_url": "1",
        "unknown": "2",
        "expired": "1",
        "revoked": "1",
        "scope": "1",
    }
