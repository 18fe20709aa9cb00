"""Decodes an event's data to its newest type, also data of an older shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from headrace.old_shapes import Way, class_of, name_of, ways


class ConversionError(Exception):
    """A conversion from an older shape raised, or returned something else than the newer type."""


class RecognisedShape(NamedTuple):
    """An older shape, as it is recognised."""

    way: Way
    member: str | None
    """The name of the probe's attribute that says whether the data has the member."""
    decoder: msgspec.json.Decoder[Any]


class DataDecoder:
    """For the data of one type of events. A type that has no older shapes needs none: msgspec's decoder is enough."""

    def __init__(self, data: Any, event_type: str) -> None:
        self._newest: msgspec.json.Decoder[Any] = msgspec.json.Decoder(data)
        found = list(ways(data, event_type))
        members = {name: f"m{place}" for place, name in enumerate({way.old.has: None for way in found if way.old.has})}
        self.shapes: Sequence[RecognisedShape] = [
            RecognisedShape(way, members.get(way.old.has or ""), msgspec.json.Decoder(way.old.shape)) for way in found
        ]
        self.asks_dataschema = any(way.old.dataschema is not None for way in found)
        """Whether the event's `dataschema` decides about its shape."""
        self._probe = _probe(members.items()) if members else None

    def shape(self, data: bytes | msgspec.Raw, dataschema: Any) -> RecognisedShape | None:
        """The older shape that the data has; None: it has the newest."""
        members = self._members(data)
        for shape in self.shapes:
            wanted = shape.way.old.dataschema
            if wanted is not None and wanted != dataschema:
                continue
            if shape.member is None or getattr(members, shape.member, None) is not None:
                return shape
        return None

    def decode(self, data: bytes | msgspec.Raw, dataschema: Any) -> Any:
        """The data as its newest type.

        Raises msgspec.ValidationError for data that does not fit its shape, ConversionError, and what the conversion
        and the types themselves raise.
        """
        return self.decode_as(self.shape(data, dataschema), data)

    def decode_as(self, shape: RecognisedShape | None, data: bytes | msgspec.Raw) -> Any:
        """The data, which has this shape, as its newest type. Raises as `decode`."""
        if shape is None:
            return self._newest.decode(data)
        old = shape.way.old.shape
        try:
            value = shape.decoder.decode(data)
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"as {name_of(old)}: {error}") from None
        for convert, newer in zip(shape.way.conversions, shape.way.newer, strict=True):
            value, old = _converted(convert, value, old, newer), newer
        return value

    def check(self, shape: RecognisedShape | None, data: bytes | msgspec.Raw) -> None:
        """Decode the data, which has this shape, without a conversion. Raises what decoding raises."""
        (self._newest if shape is None else shape.decoder).decode(data)

    def _members(self, data: bytes | msgspec.Raw) -> Any:
        if self._probe is None:
            return None
        try:
            return self._probe.decode(data)
        except msgspec.ValidationError:
            return None  # it is no object


def _probe(members: Iterable[tuple[str, str]]) -> msgspec.json.Decoder[Any]:
    """Decodes nothing of an object but some members, as raw JSON; None for a member that the object does not have."""
    names = {attribute: name for name, attribute in members}
    fields = [(attribute, msgspec.Raw, None) for attribute in names]
    return msgspec.json.Decoder(msgspec.defstruct("Members", fields, rename=names, frozen=True, gc=False))


def _converted(convert: Any, value: Any, old: Any, newer: Any) -> Any:
    named = f"{getattr(convert, '__qualname__', convert)}, from {name_of(old)} to {name_of(newer)}"
    try:
        result = convert(value)
    except Exception as error:
        # With the frames of the error: they say where in the conversion it was raised.
        raise ConversionError(f"{named}: {type(error).__name__}: {error}").with_traceback(
            error.__traceback__
        ) from error
    if not isinstance(result, class_of(newer)):
        raise ConversionError(f"{named}: it returned {type(result).__name__}")
    return result
