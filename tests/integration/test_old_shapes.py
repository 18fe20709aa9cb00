"""Data of older shapes is converted wherever an event is folded; what is stored stays as it was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from agents.parked.retrier import Retrier
from agents.projector.projector import Projector
from agents.verify.findings import Findings
from agents.verify.verify import verify
from headrace.folding.parked_groups import Group
from headrace.projection import Subscription
from tables.database import Connection, Database, Pool
from tables.history.snapshot import snapshot
from tables.intake import outbox
from tables.intake.outbox import StoredEvent
from web.query.projections import Projections
from web.server.server import make_application

from tests.support.clients.query_client import Client
from tests.support.data.events import event
from tests.support.data.readings import FixedReading, readings
from tests.support.data.stored_numbers import PARTITIONS, apply
from tests.support.doors.hot_server import HotServer
from tests.support.doors.open_door import open_door

SENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a", {"fahrenheit": 212}, {}),
    ("a", {"celsius": 21.5}, {}),
    ("b", {"value": 3}, {}),
    ("a", {"kelvin": 283.15}, {"dataschema": "urn:kelvin"}),
    ("b", {"celsius": -4}, {"dataschema": "urn:any"}),
    ("a", {"value": 7}, {}),
]
SUMS = {"a": [100.0, 21.5, 10.0, 7.0], "b": [3.0, -4.0]}


async def store(connection: Connection, sent: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> list[StoredEvent]:
    """Store events as they were sent, as the relay does."""
    first = await connection.fetchval("SELECT last_position FROM relay_state") + 1
    events = [
        event(place, type="read", subject=subject, data=data, **attributes)
        for place, (subject, data, attributes) in enumerate(sent, first)
    ]
    await outbox.accept(connection, events)
    stored: list[StoredEvent] = []
    while found := await outbox.store_next(connection, [], at_most=10_000, partitions=PARTITIONS):
        await outbox.delete(connection, [one.seq for one in found])
        stored += found
    return stored


async def values(pool: Pool, projection: str = "readings") -> dict[str, list[Any]]:
    rows = await pool.fetch("SELECT key, state->'values' AS found FROM projections WHERE projection = $1", projection)
    return {row["key"]: [pytest.approx(value) for value in json.loads(row["found"])] for row in rows}


async def differences(connection: Connection, *names: str) -> dict[str, str]:
    findings = Findings()
    async with snapshot(connection) as moment:
        found = [readings(name) for name in names]
        await verify(moment, found, only=None, kafka=None, findings=findings, say=lambda _: None)
    return {one.kind: one.first for one in findings.differences}


def serving(database: Database) -> Client:
    views = Projections(database, [readings()])
    return TestClient(HotServer(make_application(views.routes(), max_body_bytes=1000), [views.hot_path()]))


async def test_live_catch_up_as_of_and_verify_convert_alike(
    database: Database, connection: Connection, pool: Pool
) -> None:
    stored = await store(connection, SENT)
    await apply(Projector(readings("live"), database), stored)
    await Projector(readings(), database).catch_up()
    assert await values(pool, "live") == SUMS
    assert await values(pool) == SUMS
    assert await differences(connection, "live", "readings") == {}
    async with serving(database) as client:
        for key, expected in SUMS.items():
            response = await client.get(f"/api/v1/projections/readings/{key}?as_of={len(SENT)}")
            assert (await response.json())["state"]["values"] == [pytest.approx(value) for value in expected]
        first = await client.get("/api/v1/projections/readings/a?as_of=1")
        assert (await first.json())["state"]["values"] == [pytest.approx(100.0)]


async def test_what_is_stored_stays_as_it_was_sent(database: Database, connection: Connection) -> None:
    await apply(Projector(readings(), database), await store(connection, SENT))
    kept = await connection.fetch("SELECT event->'data' AS data FROM event_store ORDER BY position")
    assert [json.loads(row["data"]) for row in kept] == [data for _, data, _ in SENT]


async def test_a_conversion_that_raises_parks_its_event_which_a_retry_converts(
    database: Database, connection: Connection, pool: Pool
) -> None:
    """So does one that returns something else; later events of the key wait behind it, other keys continue."""
    sent: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("a", {"celsius": -300}, {}),
        ("a", {"value": 1}, {}),
        ("b", {"celsius": 1e9}, {}),
        ("c", {"celsius": 5}, {}),
    ]
    await apply(Projector(readings(), database), await store(connection, sent))
    assert await values(pool) == {"c": [5.0]}
    found = await pool.fetch("SELECT position, key, error, traceback FROM parked ORDER BY position")
    assert [(row["position"], row["key"], row["error"]) for row in found] == [
        (1, "a", "ConversionError: from_celsius, from CelsiusReading to Reading: ValueError: too cold"),
        (2, "a", "waits behind an earlier event of its key that is parked"),
        (3, "b", "ConversionError: from_celsius, from CelsiusReading to Reading: it returned NoneType"),
    ]
    assert found[0]["traceback"].endswith("in from_celsius")
    assert await differences(connection, "readings") == {}

    fixed = readings()
    handler = fixed.by_type["read"].handler
    fixed.by_type["read"] = Subscription(FixedReading, handler)
    outcome = await Retrier([fixed], database).retry("readings", Group("a"))
    assert (outcome.applied, outcome.still_parked) == (2, 0)
    assert (await values(pool))["a"] == [-273.15, 1.0]


@pytest.mark.parametrize("accept", [False, True])
async def test_the_door_accepts_older_shapes_where_the_setting_says_so(
    database: Database, pool: Pool, *, accept: bool
) -> None:
    body = json.loads(event(1, type="read", data={"celsius": 21}).text)
    headers = {"Content-Type": "application/cloudevents+json"}
    async with open_door(database, projections=[readings()], accept_old_shapes=accept) as door:
        status, answer, _ = await door.post(json.dumps(body).encode(), headers)
        if accept:
            assert (status, answer["status"]) == (202, "accepted")
            assert json.loads(await pool.fetchval("SELECT event FROM outbox"))["data"] == {"celsius": 21}
        else:
            assert (status, answer["errors"][0]["pointer"]) == (422, "/data/value")
            assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
        newest = {**body, "id": "2", "data": {"value": 21}}
        assert (await door.post(json.dumps(newest).encode(), headers))[0] == 202


async def test_event_types_list_the_older_shapes(database: Database) -> None:
    async with (
        open_door(database, projections=[readings()]) as door,
        door.client.get("/api/v1/event-types") as response,
    ):
        (known,) = (await response.json())["items"]
    assert [(one.get("has"), one.get("dataschema")) for one in known["old_shapes"]] == [
        ("fahrenheit", None),
        ("celsius", None),
        (None, "urn:kelvin"),
    ]
    assert [one["schema"]["$defs"].popitem()[1]["required"] for one in known["old_shapes"]] == [
        ["fahrenheit"],
        ["celsius"],
        ["kelvin"],
    ]
