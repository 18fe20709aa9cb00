"""The `data` of device events; `subject` is the device id.

Ingestion refuses data that does not fit, so handlers never receive it. Unknown members are allowed. A text of 255
characters has at most 1,020 bytes, so together with an id of at most 255 bytes it fits into an index key.
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
MAX_DECIMALS = 1_100
"""Digits after the decimal point. No double has more than 1,074, and every digit is stored in each row."""
SHORT = 300
"""So many characters without an exponent are within both limits."""
WrittenNumber = Annotated[
    msgspec.Raw,
    msgspec.Meta(extra_json_schema={"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max}),
]

# As numbers, because bytes `in` bytes cost ten times as much.
_SMALL_E, _LARGE_E = b"eE"
_number = msgspec.json.Decoder(Decimal)
_kinds = {b'"': "str", b"t": "bool", b"f": "bool", b"n": "null", b"{": "object", b"[": "array"}


class DeviceRegistered(msgspec.Struct, frozen=True):
    """A device was registered, or registered again."""

    needs_subject: ClassVar[bool] = True

    name: RequiredText
    model: OptionalText = None


class ReadingRecorded(msgspec.Struct, frozen=True):
    """A device recorded a reading of a metric."""

    needs_subject: ClassVar[bool] = True

    metric: RequiredText
    # Raw text, because msgspec decodes even the string "21" to a Decimal.
    written: WrittenNumber = msgspec.field(name="value")
    unit: OptionalText = None

    def __post_init__(self) -> None:
        written = bytes(self.written)
        kind = _kinds.get(written[:1])
        if kind is not None:
            raise ValueError(f"Expected `number`, got `{kind}` - at `$.value`")
        if len(written) > SHORT or _SMALL_E in written or _LARGE_E in written:
            self._check_range()

    def _check_range(self) -> None:
        if not -LARGEST <= self.value <= LARGEST:
            raise ValueError("Expected `number` that a double can hold (up to 1.797e308 either way) - at `$.value`")
        if _decimals(self.value) > MAX_DECIMALS:
            raise ValueError(f"Expected `number` of at most {MAX_DECIMALS} digits after the point - at `$.value`")

    @property
    def value(self) -> Decimal:
        """The number with every digit that was sent; -0 is 0, as in jsonb.

        Only compare it or convert it to int or float: Decimal arithmetic rounds to 28 digits.
        """
        number = _number.decode(self.written)
        return number or number.copy_abs()


class DeviceRetired(msgspec.Struct, frozen=True):
    """A device was taken out of service."""

    needs_subject: ClassVar[bool] = True

    reason: OptionalText = None


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent


def device_of(event: Event[Any]) -> str:
    """The id of the event's device. Raises ValueError if there is none; ingestion refuses such events."""
    if not event.subject:
        raise ValueError(f"the event at position {event.position} has no subject: {event.type} needs a device id")
    return event.subject
