"""Decodes the stored events of one type as the folds of all projections do, and counts what does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.events.data_decoder import DataDecoder
from headrace.events.known_types import NO_DATA
from headrace.events.topic_record import UNREADABLE, is_whole
from headrace.folding.failures import reason
from headrace.old_shapes import name_of, ways


class Example(msgspec.Struct):
    """An event that does not fit."""

    position: int
    error: str
    """With which it would be parked."""
    id: str = ""
    source: str = ""


class OldShapeCount(msgspec.Struct):
    """The events that have an older shape, and fit."""

    shape: str
    events: int


class TypeReport(msgspec.Struct):
    """The stored events of one type."""

    type: str
    events: int = 0
    newest: int = 0
    """Those that fit the newest shape of each projection."""
    old_shapes: list[OldShapeCount] = []
    """In the order in which they are tried."""
    misfits: int = 0
    """Those that a projection would park."""
    examples: list[Example] = []
    """The first of these."""


class _DataOfEvent(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw(NO_DATA)
    dataschema: Any = None


_data_of = msgspec.json.Decoder(_DataOfEvent).decode


class CheckedType:
    """Counts the events of one type."""

    def __init__(self, event_type: str, data_types: Sequence[Any], *, examples: int) -> None:
        shaped = {data: list(ways(data, event_type)) for data in data_types}
        plain = [data for data, found in shaped.items() if not found]
        # Data is decoded together with its envelope, which is faster, and again alone if that fails.
        self._whole = [_decoder_of_event(data).decode for data in plain]
        self._plain = [msgspec.json.Decoder(data).decode for data in plain]
        self._shaped = [DataDecoder(data, event_type) for data, found in shaped.items() if found]
        self._by_shape = {name_of(way.old.shape): 0 for found in shaped.values() for way in found}
        self._most_examples = examples
        self._report = TypeReport(event_type)

    def add(self, position: int, text: str) -> None:
        """An event of the type, as the store has it."""
        self._report.events += 1
        try:
            if not self._shaped:
                for decode in self._whole:
                    decode(text)
                return
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S110 - it is decoded again, for its error
            pass
        try:
            self._decode(text)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's conversion may raise anything, as in the fold
            self._add_misfit(position, error)

    def add_unread(self, position: int, error: Exception) -> None:
        """An event of the type that PostgreSQL cannot read."""
        self._report.events += 1
        self._add_misfit(position, error)

    def report(self) -> TypeReport:
        """The counts so far."""
        found = self._report
        found.old_shapes = [OldShapeCount(shape, events) for shape, events in self._by_shape.items()]
        found.newest = found.events - found.misfits - sum(self._by_shape.values())
        return found

    def _decode(self, text: str) -> None:
        if not is_whole(text):
            raise ValueError(UNREADABLE)
        event = _data_of(text)
        for decode in self._plain:
            decode(event.data)
        old = None
        for decoder in self._shaped:
            shape = decoder.shape(event.data, event.dataschema)
            decoder.decode_as(shape, event.data)
            if shape is not None:
                old = old or name_of(shape.way.old.shape)
        if old is not None:
            self._by_shape[old] += 1

    def _add_misfit(self, position: int, error: BaseException) -> None:
        self._report.misfits += 1
        if len(self._report.examples) < self._most_examples:
            self._report.examples.append(Example(position, reason(error)))


def _decoder_of_event(data: Any) -> msgspec.json.Decoder[Any]:
    """Decodes an event with data of this type."""
    return msgspec.json.Decoder(msgspec.defstruct("EventWithData", [("data", data)], gc=False))
