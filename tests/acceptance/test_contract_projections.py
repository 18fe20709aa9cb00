"""The projections that come with it: their event types, keys and states, as a whole worker answers them.

A sentence of the contract each: tests/unit/test_devices.py, test_readings_hourly.py and test_event_types.py.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.servers.system import BATCH, STRUCTURED, WAIT, System, envelope

SOURCE = "/tests/fleet"


def at(clock: str) -> str:
    return f"2026-01-31T{clock}Z"


async def apply(system: System, *events: dict[str, Any]) -> None:
    answer = await system.post(list(events), {**BATCH, **WAIT})
    assert answer.status == 201, answer


async def state(system: System, projection: str, key: str) -> Any:
    answer = await system.get(f"/api/v1/projections/{projection}/{quote(key, safe='')}")
    assert answer.status == 200, answer
    assert answer.json["key"] == key
    return answer.json["state"]


def registered(device: str, time: str, **data: Any) -> dict[str, Any]:
    return envelope(SOURCE, type="device.registered", subject=device, time=time, data=data)


def reading(device: str, time: str, value: float, metric: str = "temperature", **more: Any) -> dict[str, Any]:
    data = {"metric": metric, "value": value, **more}
    return envelope(SOURCE, type="reading.recorded", subject=device, time=time, data=data)


def retired(device: str, time: str, **data: Any) -> dict[str, Any]:
    return envelope(SOURCE, type="device.retired", subject=device, time=time, data=data)


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        (registered("d", at("12:00:00"), name="Boiler", model="M1"), None),
        (registered("d", at("12:00:00"), name="Boiler"), None),
        (registered("d", at("12:00:00"), model="M1"), "/data/name"),
        (registered("d", at("12:00:00"), name=7), "/data/name"),
        (registered("d", at("12:00:00"), name="Boiler", model=7), "/data/model"),
        (reading("d", at("12:00:00"), 1.5, unit="°C"), None),
        (reading("d", at("12:00:00"), 1.5), None),
        (reading("d", at("12:00:00"), 1.5, unit=7), "/data/unit"),
        ({**reading("d", at("12:00:00"), 1), "data": {"metric": "t", "value": "1.5"}}, "/data/value"),
        ({**reading("d", at("12:00:00"), 1), "data": {"value": 1.5}}, "/data/metric"),
        (retired("d", at("12:00:00"), reason="worn out"), None),
        (retired("d", at("12:00:00")), None),
        (retired("d", at("12:00:00"), reason=7), "/data/reason"),
    ],
    ids=lambda value: json.dumps(value["data"]) if isinstance(value, dict) else str(value),
)
async def test_event_types_have_their_data(system: System, event: dict[str, Any], pointer: str | None) -> None:
    answer = await system.post({**event, "subject": "of-any-data"})
    if pointer is None:
        assert answer.status == 202
    else:
        assert (answer.status, [error["pointer"] for error in answer.json["errors"]]) == (422, [pointer])


@pytest.mark.parametrize(
    "event", [registered("d", at("12:00:00"), name="n"), reading("d", at("12:00:00"), 1), retired("d", at("12:00:00"))]
)
async def test_an_event_of_these_types_without_subject_is_refused(system: System, event: dict[str, Any]) -> None:
    answer = await system.post({name: value for name, value in event.items() if name != "subject"})
    assert (answer.status, [error["pointer"] for error in answer.json["errors"]]) == (422, ["/subject"])


async def test_devices(system: System) -> None:
    """The key is the device's id; readings never change the status; the last registration and retirement count."""
    device = "dev/1 ü"
    unknown = {"name": None, "model": None, "registered_at": None, "retired_at": None}
    await apply(system, reading(device, "2026-01-31T13:00:00.5+01:00", 21.5, unit="°C"))
    latest = {"temperature": {"value": 21.5, "unit": "°C", "time": at("12:00:00.5")}}
    seen = {"first_seen": at("12:00:00.5"), "last_seen": at("12:00:00.5")}
    assert await state(system, "devices", device) == {
        "status": "unregistered",
        **unknown,
        **seen,
        "readings": 1,
        "latest": latest,
    }
    await apply(
        system,
        registered(device, at("12:30:00"), name="Boiler", model="M1"),
        reading(device, at("12:00:00.50"), 22),  # of equal times the last in order
        reading(device, at("11:00:00"), 23),
        reading(device, at("11:00:00"), 40, metric="humidity"),
    )
    latest = {
        "temperature": {"value": 22, "unit": None, "time": at("12:00:00.50")},
        "humidity": {"value": 40, "unit": None, "time": at("11:00:00")},
    }
    active = {
        "status": "active",
        "name": "Boiler",
        "model": "M1",
        "registered_at": at("12:30:00"),
        "retired_at": None,
        "first_seen": at("11:00:00"),
        "last_seen": at("12:30:00"),
        "readings": 4,
        "latest": latest,
    }
    assert await state(system, "devices", device) == active
    await apply(system, retired(device, at("10:00:00")), reading(device, at("11:30:00"), 0, metric="humidity"))
    latest["humidity"] |= {"value": 0, "time": at("11:30:00")}
    was_retired = {
        **active,
        "status": "retired",
        "retired_at": at("10:00:00"),
        "first_seen": at("10:00:00"),
        "readings": 5,
    }
    assert await state(system, "devices", device) == was_retired
    await apply(system, registered(device, at("09:00:00"), name="Kettle"))
    assert await state(system, "devices", device) == {
        **was_retired,
        "status": "active",
        "name": "Kettle",
        "model": None,
        "registered_at": at("09:00:00"),
        "first_seen": at("09:00:00"),
    }


async def test_readings_hourly(system: System) -> None:
    """The key is {device}/{metric}/{YYYY-MM-DDTHH}, by the event's time in UTC; `last` is the last in order."""
    await apply(
        system,
        reading("dev-1", at("12:59:59.999"), 21.5),
        reading("dev-1", "2026-01-31T12:30:00+02:00", 99),  # the hour of ten
        reading("dev-1", at("12:00:00"), -3),
        reading("dev-1", at("12:30:00"), 4.25),
        reading("dev-1", at("12:30:00"), 1, metric="humidity"),
        reading("dev-2", at("12:30:00"), 2),
    )
    hour = {"device": "dev-1", "metric": "temperature", "hour": "2026-01-31T12"}
    assert await state(system, "readings_hourly", "dev-1/temperature/2026-01-31T12") == {
        **hour,
        "count": 3,
        "sum": 22.75,
        "min": -3,
        "max": 21.5,
        "last": 4.25,
    }
    at_ten = await state(system, "readings_hourly", "dev-1/temperature/2026-01-31T10")
    assert (at_ten["hour"], at_ten["count"], at_ten["last"]) == ("2026-01-31T10", 1, 99)


async def test_event_types(system: System) -> None:
    """The key is the event type, of every event, known or not."""
    times = [at("12:00:00"), "2026-01-31T12:30:00+01:00", at("12:00:00.5")]
    events = [envelope(SOURCE, type="door.opened é", time=time, data=[None]) for time in times]
    await apply(system, *events)
    assert await state(system, "event_types", "door.opened é") == {
        "count": 3,
        "first_time": at("11:30:00"),
        "last_time": at("12:00:00.5"),
    }
    await apply(system, retired("dev-9", at("12:00:00")))
    counted = (await state(system, "event_types", "device.retired"))["count"]
    await apply(system, retired("dev-9", at("12:00:00")))
    assert (await state(system, "event_types", "device.retired"))["count"] == counted + 1


async def test_an_event_of_an_unknown_type_is_stored_and_counted_and_nothing_else_minds_it(system: System) -> None:
    event = envelope(SOURCE, type="never.heard.of", subject="minded-by-nobody", data={"metric": "t", "value": 1})
    assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    assert [item["event"]["id"] for item in await system.log(type="never.heard.of")] == [event["id"]]
    assert (await state(system, "event_types", "never.heard.of"))["count"] == 1
    assert (await system.get("/api/v1/projections/devices/minded-by-nobody")).status == 404
    page = await system.get("/api/v1/projections/readings_hourly", {"device": "minded-by-nobody"})
    assert page.json["items"] == []
