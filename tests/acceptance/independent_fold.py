"""The three projections once more, written from the contract alone, to compare with. Shares no code with the app."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

Rows = dict[tuple[str, str], dict[str, Any]]
FLEET = {"device.registered", "reading.recorded", "device.retired"}


def fold(events: Iterable[str]) -> Rows:
    """The rows of all projections after these events (JSON texts, in order of position)."""
    rows: Rows = {}
    for text in events:
        event = json.loads(text)
        _count_type(rows, event)
        if event["type"] in FLEET:
            _device(rows, event)
        if event["type"] == "reading.recorded":
            _hour(rows, event)
    return rows


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


def _count_type(rows: Rows, event: dict[str, Any]) -> None:
    time = utc(event["time"])
    row = rows.setdefault(("event_types", event["type"]), {"count": 0, "first_time": time, "last_time": time})
    row["count"] += 1
    row["first_time"] = min(row["first_time"], time, key=instant)
    row["last_time"] = max(row["last_time"], time, key=instant)


def _device(rows: Rows, event: dict[str, Any]) -> None:
    time, data = utc(event["time"]), event.get("data") or {}
    new = dict.fromkeys(("name", "model", "registered_at", "retired_at"))
    row = rows.setdefault(
        ("devices", event["subject"]),
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
        if known is None or instant(time) >= instant(known["time"]):
            row["latest"][data["metric"]] = {"value": data["value"], "unit": data.get("unit"), "time": time}


def _hour(rows: Rows, event: dict[str, Any]) -> None:
    data, value, hour = event["data"], event["data"]["value"], utc(event["time"])[:13]
    key = ("readings_hourly", f"{event['subject']}/{data['metric']}/{hour}")
    row = rows.setdefault(
        key,
        {
            "device": event["subject"],
            "metric": data["metric"],
            "hour": hour,
            "count": 0,
            "sum": 0,
            "min": value,
            "max": value,
        },
    )
    row["count"] += 1
    row["sum"] += value
    row["min"], row["max"], row["last"] = min(row["min"], value), max(row["max"], value), value
