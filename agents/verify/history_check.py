"""Decodes all stored events with the data types of the projections, as the folds do, and counts what does not fit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agents.verify.findings import Say
from headrace.events.data_decoder import DataDecoder
from headrace.events.known_types import NO_DATA
from headrace.events.topic_record import UNREADABLE, is_whole
from headrace.folding.failures import reason
from headrace.old_shapes import name_of, ways
from headrace.projection import Projection
from tables.adaptive_size import AdaptiveSize
from tables.database import TIMED_OUT, Connection
from tables.history import stored_data
from tables.history.stored_data import StoredData

EVENTS_AT_ONCE = 5_000
PROGRESS_SECONDS = 5.0


class Example(msgspec.Struct):
    """An event that does not fit."""

    position: int
    id: str
    source: str
    error: str
    """What its handler would not receive it for."""


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


class HistoryReport(msgspec.Struct):
    """What the event store has, up to a position."""

    upto: int
    events: int = 0
    """Those that were read."""
    other: int = 0
    """Those of types that no projection decodes."""
    seconds: float = 0.0
    types: list[TypeReport] = []

    @property
    def misfits(self) -> int:
        """Events that do not fit."""
        return sum(one.misfits for one in self.types)


class _Envelope(msgspec.Struct, gc=False):
    data: msgspec.Raw = msgspec.Raw(NO_DATA)
    dataschema: Any = None


class _Name(msgspec.Struct):
    id: str
    source: str


_envelope = msgspec.json.Decoder(_Envelope).decode
_name = msgspec.json.Decoder(_Name).decode


class CheckedType:
    """Counts the events of one type."""

    def __init__(self, event_type: str, data_types: Sequence[Any], *, examples: int) -> None:
        shaped = {data: list(ways(data, event_type)) for data in data_types}
        self._plain = [msgspec.json.Decoder(data).decode for data, found in shaped.items() if not found]
        self._shaped = [DataDecoder(data, event_type) for data, found in shaped.items() if found]
        self._by_shape = {name_of(way.old.shape): 0 for found in shaped.values() for way in found}
        self._most_examples = examples
        self._report = TypeReport(event_type)

    def add(self, position: int, text: str) -> None:
        """An event of the type, as the store has it."""
        self._report.events += 1
        try:
            if not is_whole(text):
                raise ValueError(UNREADABLE)  # noqa: TRY301 - counted in one place, below
            envelope = _envelope(text)
            for decode in self._plain:
                decode(envelope.data)
            if self._shaped:
                self._add_shaped(envelope)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a user's conversion may raise anything, as in the fold
            self._report.misfits += 1
            if len(self._report.examples) < self._most_examples:
                name = _name(text)
                self._report.examples.append(Example(position, name.id, name.source, reason(error)))

    def report(self) -> TypeReport:
        """The counts so far."""
        found = self._report
        found.old_shapes = [OldShapeCount(shape, events) for shape, events in self._by_shape.items()]
        found.newest = found.events - found.misfits - sum(self._by_shape.values())
        return found

    def _add_shaped(self, envelope: _Envelope) -> None:
        old = None
        for decoder in self._shaped:
            shape = decoder.shape(envelope.data, envelope.dataschema)
            decoder.decode_as(shape, envelope.data)
            if shape is not None:
                old = old or name_of(shape.way.old.shape)
        if old is not None:
            self._by_shape[old] += 1


def checked_types(projections: Sequence[Projection[Any]], *, examples: int) -> dict[str, CheckedType]:
    """By event type, what checks its events; events that a projection does not decode are not among them."""
    data_types: dict[str, dict[Any, None]] = {}
    for projection in projections:
        for event_type, subscription in projection.by_type.items():
            if subscription.data is not msgspec.Raw:
                data_types.setdefault(event_type, {})[subscription.data] = None
    return {name: CheckedType(name, list(found), examples=examples) for name, found in sorted(data_types.items())}


async def check_history(
    connection: Connection, checked: Mapping[str, CheckedType], say: Say, *, only: str | None = None
) -> HistoryReport:
    """Read the store up to its newest event, and check each; only those of one type, if it is given.

    Calls `say` with the progress every PROGRESS_SECONDS. Raises database errors.
    """
    await stored_data.limit_statements(connection)
    report = HistoryReport(await stored_data.last_position(connection))
    pages = _Pages(connection, [only] if only is not None else list(checked), report.upto, only=only is not None)
    started = last_report = time.monotonic()
    # The server prepares the next page meanwhile.
    following = asyncio.create_task(pages.read(0))
    try:
        while rows := await following:
            position = rows[-1][0]
            following = asyncio.create_task(pages.read(position))
            await asyncio.sleep(0)
            report.events += len(rows)
            report.other += _add(rows, checked)
            if time.monotonic() - last_report > PROGRESS_SECONDS:
                last_report = time.monotonic()
                say(
                    f"event store: {position} of {report.upto}, {report.events / (last_report - started):,.0f} events/s"
                )
    finally:
        following.cancel()
    report.seconds = time.monotonic() - started
    report.types = [one.report() for name, one in checked.items() if only in {None, name}]
    return report


def _add(rows: Sequence[StoredData], checked: Mapping[str, CheckedType]) -> int:
    """Check the events; return how many nothing checks."""
    others = 0
    for position, event_type, text in rows:
        if text is None:
            others += 1
        else:
            checked[event_type].add(position, text)
    return others


class _Pages:
    def __init__(self, connection: Connection, types: Sequence[str], upto: int, *, only: bool) -> None:
        self._connection = connection
        self._types = types
        self._upto = upto
        self._only = only
        self._size = AdaptiveSize(EVENTS_AT_ONCE)

    async def read(self, after: int) -> Sequence[StoredData]:
        """The page after a position; a smaller page if the server does not read as many in time."""
        while True:
            events = self._size.events
            try:
                found = await stored_data.read(
                    self._connection,
                    self._types,
                    after=after,
                    upto=self._upto,
                    at_most=events,
                    only_types=self._only,
                )
            except TIMED_OUT:
                if events == 1:
                    raise
                self._size.note_time_out(events)
            else:
                self._size.note_done()
                return found
