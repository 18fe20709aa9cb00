"""The projection `devices`: the current state of each device, folded from its events in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from agents.projections.device_events import DeviceRegistered, DeviceRetired, ReadingRecorded, device_of
from headrace.events.rfc3339 import earlier, later
from headrace.projection import Event, FedBy, Field, Projection

MAX_METRICS = 1_000
"""Per device. A reading of a further metric is counted, and not added to `latest`. Not a setting: rows computed with
one limit would differ from the fold with another."""


class LatestReading(msgspec.Struct, frozen=True):
    """The reading of a metric with the latest time; among equal times, the last in order."""

    value: Decimal
    unit: str | None
    time: str


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device. All times are event times: RFC 3339 in UTC."""

    status: Literal["unregistered", "active", "retired"] = "unregistered"
    name: str | None = None
    model: str | None = None
    registered_at: str | None = None
    retired_at: str | None = None
    first_seen: str
    last_seen: str
    readings: int = 0
    latest: dict[str, LatestReading] = msgspec.field(default_factory=dict)


devices = Projection(
    "devices",
    state=Device,
    key=device_of,
    fed_by=lambda key: FedBy(subjects=[key]),
    subject="key",
    description="Each device: its registration, its status, and the latest reading of each metric.",
    fields={
        "status": Field("text"),
        "name": Field("text"),
        "model": Field("text"),
        "registered_at": Field("time"),
        "retired_at": Field("time"),
        "first_seen": Field("time"),
        "last_seen": Field("time"),
        "readings": Field("number"),
    },
)


@devices.on("device.registered", DeviceRegistered)
def registered(device: Device | None, event: Event[DeviceRegistered]) -> Device:
    """The last registration in order replaces earlier registrations and makes the device active."""
    return _seen(
        device,
        event.time,
        status="active",
        name=event.data.name,
        model=event.data.model,
        registered_at=event.time,
    )


@devices.on("reading.recorded", ReadingRecorded)
def recorded(device: Device | None, event: Event[ReadingRecorded]) -> Device:
    """Count the reading and keep the latest of each of the first MAX_METRICS metrics; the status never changes."""
    readings, latest = (0, {}) if device is None else (device.readings, device.latest)
    metric = event.data.metric
    known = latest.get(metric)
    is_newest = len(latest) < MAX_METRICS if known is None else later(event.time, known.time) == event.time
    if is_newest:
        latest = {**latest, metric: LatestReading(event.data.value, event.data.unit, event.time)}
    return _seen(device, event.time, readings=readings + 1, latest=latest)


@devices.on("device.retired", DeviceRetired)
def retired(device: Device | None, event: Event[DeviceRetired]) -> Device:
    """Retire the device. A later registration makes it active again and keeps `retired_at`."""
    return _seen(device, event.time, status="retired", retired_at=event.time)


def _seen(device: Device | None, time: str, **changes: Any) -> Device:
    if device is None:
        return Device(first_seen=time, last_seen=time, **changes)
    first, last = earlier(device.first_seen, time), later(device.last_seen, time)
    return replace(device, first_seen=first, last_seen=last, **changes)
