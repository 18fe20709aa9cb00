"""Readings whose data had other shapes before, and the projection that sums them."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from headrace import Event, OldShape, Projection

COLDEST = -273.15
HOTTEST = 1e6


class FahrenheitReading(msgspec.Struct):
    """The oldest shape."""

    fahrenheit: float


class KelvinReading(msgspec.Struct):
    """What some devices send, which name it in `dataschema`."""

    kelvin: float


def from_fahrenheit(old: FahrenheitReading) -> CelsiusReading:
    return CelsiusReading((old.fahrenheit - 32) / 1.8)


class CelsiusReading(msgspec.Struct):
    """The shape before the newest."""

    old_shapes: ClassVar = (OldShape(FahrenheitReading, from_fahrenheit, has="fahrenheit"),)

    celsius: float


def from_celsius(old: CelsiusReading) -> Reading:
    if old.celsius < COLDEST:
        raise ValueError("too cold")
    return None if old.celsius > HOTTEST else Reading(old.celsius)  # type: ignore[return-value]  # it breaks its promise


def from_kelvin(old: KelvinReading) -> Reading:
    return Reading(old.kelvin + COLDEST)


class Reading(msgspec.Struct):
    """The newest shape."""

    old_shapes: ClassVar = (
        OldShape(CelsiusReading, from_celsius, has="celsius"),
        OldShape(KelvinReading, from_kelvin, dataschema="urn:kelvin"),
    )

    value: float


class FixedReading(msgspec.Struct):
    """The newest shape, with a conversion that never fails."""

    old_shapes: ClassVar = (
        OldShape(CelsiusReading, lambda old: FixedReading(max(old.celsius, COLDEST)), has="celsius"),
    )

    value: float


class Sum(msgspec.Struct):
    """The state of a row."""

    sum: float
    values: list[float]


def readings(name: str = "readings", event_type: str = "read") -> Projection[Sum]:
    projection = Projection(name, state=Sum, key=lambda event: event.subject or "", description="Readings of a device")

    @projection.on(event_type, Reading)
    def read(state: Sum | None, event: Event[Reading]) -> Sum:
        before = Sum(0.0, []) if state is None else state
        return Sum(before.sum + event.data.value, [*before.values, event.data.value])

    return projection
