"""What the events of a fleet of devices carry as `data`; `subject` is the device's id.

The door refuses data that does not fit, so a handler never meets it. Members that are not listed are let through.
A text of 255 characters is at most 1,020 bytes: with an id of at most 255 bytes it fits into a key of the index.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Annotated, Any, ClassVar

import msgspec

from headrace.projection import Event

RequiredText = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
OptionalText = Annotated[str, msgspec.Meta(max_length=255)] | None

LARGEST = Decimal(sys.float_info.max)
WrittenNumber = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max}),
]

_number = msgspec.json.Decoder(Decimal)
_kinds = {b'"': "str", b"t": "bool", b"f": "bool", b"n": "null", b"{": "object", b"[": "array"}


class DeviceRegistered(msgspec.Struct, frozen=True):
    """A device was made known, or made known anew."""

    needs_subject: ClassVar[bool] = True

    name: RequiredText
    model: OptionalText = None


class ReadingRecorded(msgspec.Struct, frozen=True):
    """A device measured something."""

    needs_subject: ClassVar[bool] = True

    metric: RequiredText
    # As text: decoded to Decimal, msgspec would take the string "21" for a number.
    written: WrittenNumber = msgspec.field(name="value")
    unit: OptionalText = None

    def __post_init__(self) -> None:
        kind = _kinds.get(bytes(self.written)[:1])
        if kind is not None:
            raise ValueError(f"Expected `number`, got `{kind}` - at `$.value`")
        if not -LARGEST <= self.value <= LARGEST:
            raise ValueError("Expected `number` that a double can hold (up to 1.797e308 either way) - at `$.value`")

    @property
    def value(self) -> Decimal:
        """The number with every digit that was sent; -0 is 0, as in jsonb.

        Only compare it, or make it an int or a float: arithmetic on Decimals rounds to 28 digits.
        """
        number = _number.decode(self.written)
        return number or number.copy_abs()


class DeviceRetired(msgspec.Struct, frozen=True):
    """A device was taken out of service."""

    needs_subject: ClassVar[bool] = True

    reason: OptionalText = None


def device_of(event: Event[Any]) -> str:
    """The id of the event's device. Raises ValueError where there is none; the door refuses such an event."""
    if not event.subject:
        raise ValueError(f"the event at position {event.position} has no subject: a {event.type} needs a device's id")
    return event.subject
