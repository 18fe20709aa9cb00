"""The three projections once more, written from the contract alone, to compare with. Shares no code with the app."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

Place = tuple[str, str]
"""(projection, key)"""
Rows = dict[Place, dict[str, Any]]
FLEET = {"device.registered", "reading.recorded", "device.retired"}
MAX_METRICS = 1_000
COUNTERS = {"devices": "readings", "readings_hourly": "count", "event_types": "count"}
"""The member of each projection's state that counts events."""


def fold(events: Iterable[str]) -> Rows:
    """The rows of all projections after these events (JSON texts, in order of position)."""
    rows: Rows = {}
    for text in events:
        event = json.loads(text)
        for place in touched(event):
            fold_event(rows, place, event)
    return rows


def touched(event: dict[str, Any]) -> Iterator[Place]:
    """The rows that an event changes."""
    yield "event_types", event["type"]
    if event["type"] in FLEET:
        yield "devices", event["subject"]
    if event["type"] == "reading.recorded":
        yield "readings_hourly", f"{event['subject']}/{event['data']['metric']}/{_hour_of(event)}"


def fold_event(rows: Rows, place: Place, event: dict[str, Any]) -> None:
    """Fold an event into one of the rows that it changes."""
    {"event_types": _count_type, "devices": _device, "readings_hourly": _hour}[place[0]](rows, place, event)


def comparable(state: Any) -> Any:
    """Times as instants: which of two texts for one instant is kept does not count."""
    if isinstance(state, dict):
        return {name: comparable(value) for name, value in state.items()}
    if isinstance(state, str) and state.endswith("Z"):
        return instant(state)
    return state


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def utc(text: str) -> str:
    return instant(text).isoformat().replace("+00:00", "Z")


def _hour_of(event: dict[str, Any]) -> str:
    return utc(event["time"])[:13]


def _count_type(rows: Rows, place: Place, event: dict[str, Any]) -> None:
    time = utc(event["time"])
    row = rows.setdefault(place, {"count": 0, "first_time": time, "last_time": time})
    row["count"] += 1
    row["first_time"] = min(row["first_time"], time, key=instant)
    row["last_time"] = max(row["last_time"], time, key=instant)


def _device(rows: Rows, place: Place, event: dict[str, Any]) -> None:
    time, data = utc(event["time"]), event.get("data") or {}
    new = dict.fromkeys(("name", "model", "registered_at", "retired_at"))
    row = rows.setdefault(
        place,
        {"status": "unregistered", **new, "first_seen": time, "last_seen": time, "readings": 0, "latest": {}},
    )
    row["first_seen"] = min(row["first_seen"], time, key=instant)
    row["last_seen"] = max(row["last_seen"], time, key=instant)
    if event["type"] == "device.registered":
        row.update(status="active", name=data["name"], model=data.get("model"), registered_at=time)
    elif event["type"] == "device.retired":
        row.update(status="retired", retired_at=time)
    else:
        row["readings"] += 1
        known = row["latest"].get(data["metric"])
        if len(row["latest"]) < MAX_METRICS if known is None else instant(time) >= instant(known["time"]):
            row["latest"][data["metric"]] = {"value": data["value"], "unit": data.get("unit"), "time": time}


def _hour(rows: Rows, place: Place, event: dict[str, Any]) -> None:
    data, value = event["data"], event["data"]["value"]
    row = rows.setdefault(
        place,
        {
            "device": event["subject"],
            "metric": data["metric"],
            "hour": _hour_of(event),
            "count": 0,
            "sum": 0,
            "min": value,
            "max": value,
        },
    )
    row["count"] += 1
    row["sum"] += value
    row["min"], row["max"], row["last"] = min(row["min"], value), max(row["max"], value), value
