"""The projection `readings_hourly`: the readings of each device and metric, by the hour (UTC) of the event time."""

from __future__ import annotations

import math
from decimal import Context, Decimal

import msgspec

from agents.projections.device_events import MAX_DECIMALS, ReadingRecorded, device_of
from headrace.events.rfc3339 import to_utc
from headrace.projection import Event, FedBy, Field, Projection

HOUR_CHARACTERS = len("YYYY-MM-DDTHH")


# Holds a sum of values of 309 digits before the point and MAX_DECIMALS after it, however many there are.
_beyond_doubles = Context(prec=MAX_DECIMALS + 400)


class Hour(msgspec.Struct, frozen=True):
    """The readings of one device and metric in one hour; `last` is the last in order, regardless of its time."""

    device: str
    metric: str
    hour: str
    count: int
    sum: Decimal
    min: Decimal
    max: Decimal
    last: Decimal


def _key(event: Event[ReadingRecorded]) -> str:
    return f"{device_of(event)}/{event.data.metric}/{event.time[:HOUR_CHARACTERS]}"


def _fed_by(key: str) -> FedBy:
    """The devices and the hour that a key may name; several devices, because ids and metrics may contain slashes."""
    *parts, hour = key.split("/")
    try:
        begin = to_utc(f"{hour}:00:00Z")
    except ValueError:
        return FedBy(subjects=[])
    devices = ["/".join(parts[:end]) for end in range(1, len(parts))]
    return FedBy(subjects=devices, times=(begin, begin.replace(":00:00Z", ":59:59.999999Z")))


readings_hourly = Projection(
    "readings_hourly",
    state=Hour,
    key=_key,
    fed_by=_fed_by,
    subject="device",
    description="The readings of each device and metric in each hour (UTC): count, sum, min, max and last.",
    fields={
        "device": Field("text"),
        "metric": Field("text"),
        "hour": Field("text"),
        "count": Field("number"),
        "sum": Field("number"),
        "min": Field("number"),
        "max": Field("number"),
        "last": Field("number"),
    },
)


@readings_hourly.on("reading.recorded", ReadingRecorded)
def recorded(hour: Hour | None, event: Event[ReadingRecorded]) -> Hour:
    """Add a reading to its hour.

    Raises ValueError if slashes in ids give two devices the same key, because one row cannot hold both.
    """
    value = event.data.value
    device, metric = device_of(event), event.data.metric
    if hour is None:
        return Hour(device, metric, event.time[:HOUR_CHARACTERS], 1, _plus(Decimal(0), value), value, value, value)
    if (hour.device, hour.metric) != (device, metric):
        raise ValueError(
            f"row {_key(event)} belongs to device {hour.device!r} and metric {hour.metric!r}, and cannot also hold "
            f"device {device!r} and metric {metric!r}: choose names that differ in more than the position of a slash"
        )
    return Hour(
        device,
        metric,
        hour.hour,
        hour.count + 1,
        _plus(hour.sum, value),
        min(hour.min, value),
        max(hour.max, value),
        value,
    )


def _plus(total: Decimal, value: Decimal) -> Decimal:
    """Add the numbers as Python would after `json.loads`: as integers, or as doubles if either has a fraction.

    The result keeps its kind in jsonb: a double is written with a decimal point, because jsonb would turn 1e16 into
    the integer 10000000000000000. Decimal sums would round to 28 digits. A sum that no double can hold is exact.
    """
    texts = str(total), str(value)  # several times faster than as_tuple().exponent, and float makes them first
    if _is_integer(texts[0]) and _is_integer(texts[1]):
        return Decimal(int(total) + int(value))
    result = float(texts[0]) + float(texts[1])
    if not math.isfinite(result):
        return _beyond_doubles.add(total, value)
    exact = Decimal(repr(result))
    return Decimal(f"{exact:f}.0") if _is_integer(str(exact)) else exact


def _is_integer(text: str) -> bool:
    """Whether jsonb writes the Decimal without a fraction: 2 and 2E+5 are integers, 2.0 is a double."""
    return "E+" in text or not ("." in text or "E" in text)
