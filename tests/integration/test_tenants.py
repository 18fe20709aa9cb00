"""Over all routes of both ports: a key for `/greenhouse/a/` reads and changes nothing of another tenant.

SECRET is in everything of others that no request names: no answer may have it. OTHER is in their names, which requests
may repeat: an answer to a request without it may not have it, and what the answer to a request says must be the same
whether what it names exists or not.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiohttp import ClientResponse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.access.grant import Grant
from headrace.events.envelope import ParsedEvent
from tables.database import Database, Pool
from tables.intake import dead_letters, outbox
from tables.intake.dead_letters import RefusedMessage

from tests.support.clients.query_client import Client, raw
from tests.support.data.tenants import BAD, BY_NOTE, BY_SUBJECT, BY_TYPE, OURS, PROJECTIONS, apply, noted, store
from tests.support.doors.callers import may
from tests.support.doors.real_ports import ingestion_port, query_port

SECRET, OTHER, UNKNOWN = "5ecret", "0ther", "unkn0wn"
PROJECTIONS_PATH, PARKED_PATH = "/api/v1/projections", "/api/v1/parked"
NEAR_THE_BORDER = (
    *("/greenhouse/a", "/greenhouse/ab/", "/greenhouse/b/", "/greenhouse/A/", "/GREENHOUSE/a/", "/greenhouse/a%2F"),
    *("/greenhouse/%61/", "/greenhouse/_/", "/greenhouse/%/", "/greenhouse/\uff41/", "/greenhouse/a\u0301/"),
    *(" /greenhouse/a/", "/greenhouse//a/", "/greenhouse/b/../a/", "greenhouse/a/", "/greenhouse/a\\/", "*", "a/"),
)
OURS_TOO = ("", "x", "../b/", "..", "%2e%2e/b/", "%", "_", "\u00fc", "\U0001f331", "A", "/", "' OR true --")
names = st.text(st.sampled_from("aZ_%/.\u00fc'"), max_size=4)
theirs = st.lists(st.tuples(st.sampled_from(NEAR_THE_BORDER), names, st.booleans()), min_size=1, max_size=4)
ours = st.lists(st.tuples(st.sampled_from(OURS_TOO), names, st.booleans()), min_size=1, max_size=3)
numbers = itertools.count(1)

FOREIGN = """
SELECT 'outbox' AS place, row_to_json(o)::text AS row FROM outbox AS o WHERE {foreign}
UNION ALL SELECT 'event_store', row_to_json(o)::text FROM event_store AS o WHERE {foreign}
UNION ALL SELECT 'parked', row_to_json(p)::text
          FROM parked AS p JOIN event_store AS o USING (position) WHERE {foreign}
UNION ALL SELECT 'discarded', row_to_json(p)::text
          FROM discarded AS p JOIN event_store AS o USING (position) WHERE {foreign}
UNION ALL SELECT 'projections', row_to_json(p)::text FROM projections AS p WHERE strpos(p.key, $2) > 0
UNION ALL SELECT 'dead_letters', row_to_json(d)::text FROM dead_letters AS d
UNION ALL SELECT 'progress', row_to_json(r)::text FROM progress AS r
"""


class Asked(NamedTuple):
    """A request, and whether its answer names what was asked for."""

    port: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = {}


class Answered(NamedTuple):
    status: int
    text: str


class Tenants:
    """The ports for one caller, and the routes that were asked for."""

    def __init__(self, ports: Mapping[str, Client]) -> None:
        self.ports = ports
        self.visited: set[tuple[str, str]] = set()

    async def ask(self, asked: Asked) -> Answered:
        """The answer, after the check that nothing of others is in it."""
        client = self.ports[asked.port]
        body = None if asked.body is None else json.dumps(asked.body)
        headers = {"Content-Type": "application/json", **asked.headers} if body else asked.headers
        response = await client.request(asked.method, raw(asked.path), data=body, headers=headers)
        try:
            text = await _text(response)
        finally:
            response.close()
        everything = f"{response.headers}{text}"
        assert SECRET not in everything, asked
        if OTHER not in f"{asked.path}{body}{headers}":
            assert OTHER not in everything, asked
        self.note(client, asked)
        return Answered(response.status, text)

    def note(self, client: Client, asked: Asked) -> None:
        path = asked.path.partition("?")[0]
        for resource in client.server.app.router.resources():  # type: ignore[attr-defined]
            if resource._match(path) is not None:
                self.visited.add((asked.port, resource.canonical))
                return


async def _text(response: ClientResponse) -> str:
    if response.content_type != "text/event-stream":
        return (await response.read()).decode()
    found = b""
    try:
        async with asyncio.timeout(0.3):
            while chunk := await response.content.readany():
                found += chunk
    except TimeoutError:
        pass
    return found.decode()


def _event(name: str, tenant: str, number: int, *, is_bad: bool) -> ParsedEvent:
    secret = SECRET if tenant == OTHER else "ours"
    text = f"{BAD if is_bad else ''}{secret}"
    note = f"{tenant}-note-{name[-2:]}"
    members = {"source": name, "subject": name, "secret": secret, "partitionkey": name}
    return noted(f"{tenant}{number}", note, text, **members)


async def _fill(
    database: Database, pool: Pool, others: list[str], own: list[str], bad: list[bool]
) -> list[ParsedEvent]:
    """Store, apply and park events; leave some in the outbox; a group that both share; refused messages of both."""
    flags = itertools.cycle(bad)
    events = [_event(name, OTHER, next(numbers), is_bad=next(flags)) for name in others * 2]
    events += [_event(name, "own", next(numbers), is_bad=next(flags)) for name in own * 2]
    shared = f"shared-{next(numbers)}"
    for tenant, name in (("own", own[0]), (OTHER, others[0])):
        text = f"{BAD}{SECRET if tenant == OTHER else ''}"
        events.append(noted(f"{tenant}{next(numbers)}", shared, text, source=name, subject=name))
    await store(database, *events)
    await apply(database)
    waiting = [_event(name, OTHER, next(numbers), is_bad=False) for name in others]
    async with pool.acquire() as connection:
        await outbox.accept(connection, waiting)
        await dead_letters.store(
            connection,
            [
                RefusedMessage(f"devices/{OTHER}{next(numbers)}/events", SECRET.encode(), "x", SECRET, "{}"),
                RefusedMessage(OURS, SECRET.encode(), "x", SECRET, json.dumps({"detail": SECRET})),
            ],
        )
    return events + waiting


def _reads(name: str, event_id: str, note: str, position: int) -> Iterator[Asked]:
    """Requests that name something: the answer must not tell whether it exists."""
    key, of = quote(name, safe=""), f"source={quote(name, safe='')}&id={quote(event_id, safe='')}"
    yield Asked("ingestion", "GET", f"/api/v1/events/status?{of}")
    yield Asked("query", "GET", f"/api/v1/events?source={key}")
    yield Asked("query", "GET", f"/api/v1/events?subject={key}")
    for projection in PROJECTIONS:
        path = f"{PROJECTIONS_PATH}/{projection.name}"
        for row in (key.replace(".", "%2E"), quote(note, safe="").replace(".", "%2E")):
            yield Asked("query", "GET", f"{path}/{row}")
            yield Asked("query", "GET", f"{path}/{row}?as_of=1")
            yield Asked("query", "GET", f"{path}/{row}?{of}")
            yield Asked("query", "GET", f"{path}/{row}", headers={"If-None-Match": "*"})
        yield Asked("query", "GET", f"{path}?{of}&wait=0")
        for query in (f"key={key}&total=true", f"owner={key}", f"owner[prefix]={key}", f"key[prefix]={key}"):
            yield Asked("query", "GET", f"{path}?{query}")
        yield Asked("query", "GET", f"{PARKED_PATH}/{projection.name}/{position}")
        for group in ({"key": note}, {"key": name}, {"partition_key": name}):
            yield Asked("query", "POST", f"{PARKED_PATH}/{projection.name}/retry", group)
            yield Asked("query", "POST", f"{PARKED_PATH}/{projection.name}/discard", {**group, "reason": "x"})
        body = {"position": position, "reason": "x"}
        yield Asked("query", "POST", f"{PARKED_PATH}/{projection.name}/discard", body)
    yield Asked("query", "GET", f"{PARKED_PATH}?key={quote(note, safe='')}")


def _writes(name: str, event_id: str, own: str) -> Iterator[Asked]:
    event = {"specversion": "1.0", "type": "tested", "id": event_id, "source": name, "subject": name}
    mine = {**event, "source": own, "subject": own}
    yield Asked("ingestion", "POST", "/api/v1/events", event)
    yield Asked("ingestion", "POST", "/api/v1/events", event, {"Prefer": "wait=1"})
    yield Asked("ingestion", "POST", "/api/v1/events", [event, {**mine, "partitionkey": name}])
    yield Asked("ingestion", "POST", "/api/v1/events", [event, mine], {"Prefer": "handling=strict"})
    encoded = quote(name, safe="")
    attributes = {"ce-specversion": "1.0", "ce-type": "x", "ce-id": quote(event_id), "ce-source": encoded}
    yield Asked("ingestion", "POST", "/api/v1/events", {}, {**attributes, "ce-subject": encoded})


def _lists() -> Iterator[Asked]:
    """Requests that name nothing."""
    yield Asked("ingestion", "GET", "/api/v1/event-types")
    yield Asked("ingestion", "GET", "/api/v1/event-types/noted")
    for port in ("ingestion", "query"):
        for path in ("/livez", "/readyz?verbose", "/metrics", "/openapi.json", "/docs"):
            yield Asked(port, "GET", path)
    yield Asked("query", "GET", "/api/v1/events?limit=1000")
    yield Asked("query", "GET", "/api/v1/events?from=2000-01-01T00:00:00Z&limit=1000&type=noted")
    yield Asked("query", "GET", "/api/v1/dead-letters")
    yield Asked("query", "GET", "/api/v1/access-log")
    yield Asked("query", "GET", PARKED_PATH)
    yield Asked("query", "GET", PROJECTIONS_PATH)
    for projection in PROJECTIONS:
        path = f"{PROJECTIONS_PATH}/{projection.name}"
        for query in ("?limit=1", "?total=true&limit=1000", "?sort=-owner&limit=1000", "?key[gte]=&owner[ne]=x"):
            yield Asked("query", "GET", f"{path}{query}")
        yield Asked("query", "GET", f"{path}/{BY_TYPE.name}")
        yield Asked("query", "GET", f"{path}/")
        yield Asked("query", "GET", f"{path}/changes")
        yield Asked("query", "GET", f"{path}/changes", headers={"Last-Event-ID": "0.0.0"})
        yield Asked("query", "POST", f"{PARKED_PATH}/{projection.name}/retry", {"all": True})


async def _foreign(pool: Pool, grant: Grant) -> list[tuple[str, str]]:
    column = "o.source" if grant.sources else "coalesce(o.subject, '')"
    query = FOREIGN.format(foreign=f"NOT starts_with({column}, $1)")
    return sorted((row["place"], row["row"]) for row in await pool.fetch(query, OURS, OTHER))


async def _attack(tenants: Tenants, pool: Pool, events: list[ParsedEvent], own: str) -> None:
    rows = await pool.fetch("SELECT id, position FROM event_store")
    positions = {row["id"]: row["position"] for row in rows}
    for event in events:
        if not event.id.startswith(OTHER):
            continue
        note = json.loads(bytes(event.data or b"{}")).get("note", "")
        unknown_name = event.source + UNKNOWN
        asked = _reads(event.source, event.id, note, positions.get(event.id, 10**9))
        others = _reads(unknown_name, UNKNOWN, f"{OTHER}{UNKNOWN}", 10**9 + 1)
        for known, unknown in zip(
            itertools.chain(asked, _writes(event.source, event.id, own)),
            itertools.chain(others, _writes(unknown_name, UNKNOWN, own)),
            strict=True,
        ):
            found, expected = await tenants.ask(known), await tenants.ask(unknown)
            if "[prefix]" in known.path:
                continue  # own names may begin like that
            if known.port == "query" or known.method == "GET":
                assert found == expected, known
            else:
                assert found.status == expected.status, known
    for one in _lists():
        await tenants.ask(one)


@pytest.mark.parametrize("grant", [may(sources=OURS), may(subjects=OURS)], ids=["source", "subject"])
@settings(
    max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(theirs=theirs, ours=ours)
async def test_a_key_neither_reads_nor_changes_anything_of_another(
    database: Database, pool: Pool, grant: Grant, theirs: list[tuple[str, str, bool]], ours: list[tuple[str, str, bool]]
) -> None:
    others = [f"{border}{OTHER if border != '/greenhouse/a' else ''}{name}" for border, name, _ in theirs]
    own = [f"{OURS}{border}{name}" for border, name, _ in ours]
    assert not any(name.startswith(OURS) for name in others)
    events = await _fill(database, pool, others, own, [is_bad for *_, is_bad in [*theirs, *ours]])
    before = await _foreign(pool, grant)
    async with (
        ingestion_port(database, PROJECTIONS, grant) as ingestion,
        query_port(database, PROJECTIONS, grant) as query,
    ):
        tenants = Tenants({"ingestion": ingestion, "query": query})
        await _attack(tenants, pool, events, own[0])
        routes = {(port, route) for port, client in tenants.ports.items() for route in _routes(client)}
        assert routes <= tenants.visited, "these routes were not tried: add requests for them"
    assert await _foreign(pool, grant) == before


def _routes(client: Client) -> set[str]:
    return {one.canonical for one in client.server.app.router.resources()}  # type: ignore[attr-defined]


def test_the_requests_reach_every_projection() -> None:
    asked = {one.path for one in _reads("n", "i", "k", 1)}
    assert all(any(one.name in path for path in asked) for one in (BY_NOTE, BY_SUBJECT, BY_TYPE))
