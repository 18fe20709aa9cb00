"""The ingestion port of a whole worker: what rests on the relay and the projections, and every content mode.

The rows of the table of outcomes are tested in tests/integration: test_ingestion.py, test_preferences_at_the_door.py,
test_binary_mode_at_the_door.py, test_pressure_at_the_door.py.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from web.requests.zstd import zstd

from tests.support.servers.system import BATCH, STRUCTURED, WAIT, System, envelope
from tests.support.waiting import until

SECONDS = 30.0

JSON = {"Content-Type": "application/json"}
PROJECTIONS = ("devices", "readings_hourly", "event_types")
Send = tuple[dict[str, str], Callable[[dict[str, Any]], bytes]]


def one(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def many(event: dict[str, Any]) -> bytes:
    return json.dumps([event]).encode()


def data_of(event: dict[str, Any]) -> bytes:
    return json.dumps(event["data"]).encode()


def attributes(event: dict[str, Any]) -> dict[str, str]:
    return {f"ce-{name}": quote(str(value)) for name, value in event.items() if name not in {"data", "datacontenttype"}}


MODES: dict[str, Send] = {
    "application/cloudevents+json": (STRUCTURED, one),
    "application/json with an object": (JSON, one),
    "application/cloudevents-batch+json": (BATCH, many),
    "application/json with an array": (JSON, many),
    "any other type with ce- headers": ({"Content-Type": "application/vnd.thing+json"}, data_of),
    "Content-Encoding gzip": ({**STRUCTURED, "Content-Encoding": "gzip"}, lambda event: gzip.compress(one(event))),
    "Content-Encoding zstd": ({**BATCH, "Content-Encoding": "zstd"}, lambda event: zstd.compress(many(event))),
}


@pytest.mark.parametrize("mode", MODES)
async def test_content_types_are_read_as_one_event_or_a_batch(system: System, mode: str) -> None:
    headers, body = MODES[mode]
    event = envelope(
        "/modes",
        subject="dev/1 ü %41",
        time="2026-01-31T12:00:00Z",
        datacontenttype="application/vnd.thing+json",
        data={"n": 1.5, "text": "é"},
    )
    headers |= attributes(event) if body is data_of else {}
    assert (await system.post(body(event), {**headers, **WAIT})).status == 201
    assert event in [item["event"] for item in await system.log(source="/modes")]


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/cloudevents+avro"])
async def test_anything_else_is_415(system: System, content_type: str) -> None:
    answer = await system.post(envelope("/modes"), {"Content-Type": content_type})
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


async def test_prefer_wait_holds_the_answer_until_every_projection_has_applied_the_event(system: System) -> None:
    for number in range(1, 6):
        reading = {"type": "reading.recorded", "subject": "waited-for", "time": "2026-01-31T12:00:00Z"}
        event = envelope("/waited-for", **reading, data={"metric": "n", "value": number})
        answer = await system.post(event, {**STRUCTURED, **WAIT})
        assert (answer.status, answer.json["status"]) == (201, "accepted")
        assert answer.headers["Preference-Applied"] == "wait"
        device = (await system.get("/api/v1/projections/devices/waited-for")).json
        hour = (await system.get("/api/v1/projections/readings_hourly/waited-for/n/2026-01-31T12")).json
        assert (device["state"]["readings"], hour["state"]["last"]) == (number, number)


async def test_prefer_wait_answers_202_when_the_time_is_up(system: System) -> None:
    answer = await system.post(envelope("/in-no-time"), {**STRUCTURED, "Prefer": "wait=0"})
    assert answer.status == 202
    assert "Preference-Applied" not in answer.headers


async def test_get_events_status_tells_an_events_story(system: System) -> None:
    """Received, stored (position), published (partition), applied, by projection; 404 if never seen."""
    event = envelope("/story/1 ü")
    answer = await system.post(event, {**STRUCTURED, **WAIT})
    assert (
        answer.headers["Location"] == f"/api/v1/events/status?source={quote(event['source'], safe='')}&id={event['id']}"
    )
    stories: list[Any] = []

    async def is_published() -> bool:
        """Projections may have it before the relay has its acknowledgement."""
        stories.append((await system.door(answer.headers["Location"])).json)
        return stories[-1]["published"] is not None

    await until(is_published, SECONDS)
    story = stories[-1]
    (logged,) = await system.log(source=event["source"])
    assert (story["id"], story["source"]) == (event["id"], event["source"])
    assert story["received"]["at"] <= story["stored"]["at"] == logged["recorded_at"]
    assert story["stored"]["position"] == logged["position"]
    assert story["published"]["partition"] in range(8)
    assert story["projections"] == dict.fromkeys(PROJECTIONS, "applied")
    never = await system.door("/api/v1/events/status?source=%2Fstory&id=never")
    assert (never.status, never.json["code"]) == (404, "event_not_found")


async def test_get_event_types_serves_the_schema_that_is_enforced(system: System) -> None:
    items = (await system.door("/api/v1/event-types")).json["items"]
    assert [item["type"] for item in items] == ["device.registered", "device.retired", "reading.recorded"]
    for item in items:
        assert (await system.door(f"/api/v1/event-types/{item['type']}")).json == item["schema"]
