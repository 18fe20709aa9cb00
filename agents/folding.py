"""From records and rows to new rows: the pure part of a projector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from agents.batches import Record
from app.projection import Event, Projection, Subscription
from tables.parked import ParkedEvent
from tables.projection_rows import Row

State = TypeVar("State")

BEHIND = "waits behind an earlier event of its key that is parked"

_encoder = msgspec.json.Encoder(decimal_format="number")


class Chosen(NamedTuple):
    """An event that the projection has a handler for, and the key of the row that it changes."""

    key: str
    event: Event[Any]
    subscription: Subscription[Any]


class Folding(Generic[State]):
    """Decodes, folds and encodes for one projection. An event whose decoding, key or handler raises is parked."""

    def __init__(self, projection: Projection[State]) -> None:
        self._projection = projection
        self._state_decoder = msgspec.json.Decoder(projection.state)
        self._data_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    def choose(
        self, records: Sequence[Record], *, unstorable: Exception | None = None
    ) -> tuple[list[Chosen], list[ParkedEvent]]:
        """The events that have a handler, and those to park because decoding or the key failed.

        With `unstorable` all that have a handler are to park, for that reason.
        """
        chosen: list[Chosen] = []
        waiting: list[ParkedEvent] = []
        for record in records:
            subscription = self._projection.subscription(record.type)
            if subscription is None:
                continue
            key = ""
            try:
                event = self._event(record, subscription)
                key = self._projection.key(event)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything: the event waits
                waiting.append(ParkedEvent(record.position, key, _reason(error)))
                continue
            if unstorable is not None:
                waiting.append(ParkedEvent(record.position, key, _reason(unstorable)))
            else:
                chosen.append(Chosen(key, event, subscription))
        return chosen, waiting

    def fold(
        self, known: Mapping[str, tuple[str, int]], chosen: Sequence[Chosen], blocked: AbstractSet[str]
    ) -> tuple[dict[str, Row], list[ParkedEvent]]:
        """The rows as they are after the events, and the events to park: they raised, or their key is blocked."""
        states: dict[str, State | None] = {key: self._state_decoder.decode(text) for key, (text, _) in known.items()}
        positions: dict[str, int] = {}
        waiting: list[ParkedEvent] = []
        stopped = set(blocked)
        for key, event, subscription in chosen:
            if key in stopped:
                waiting.append(ParkedEvent(event.position, key, BEHIND))
                continue
            try:
                states[key] = subscription.handler(states.get(key), event)
            except Exception as error:  # noqa: BLE001 - as above
                stopped.add(key)
                waiting.append(ParkedEvent(event.position, key, _reason(error)))
            else:
                positions[key] = event.position
        rows = {key: self._row(states[key], position, known.get(key)) for key, position in positions.items()}
        return rows, waiting

    @staticmethod
    def _row(state: State | None, position: int, before: tuple[str, int] | None) -> Row:
        text = None if state is None else _encoder.encode(state).decode()
        return Row(text, position, 1 if before is None else before[1] + 1)

    def _event(self, record: Record, subscription: Subscription[State]) -> Event[Any]:
        data: Any = record.data
        if subscription.data is not msgspec.Raw:
            decoder = self._data_decoders.get(subscription.data)
            if decoder is None:
                decoder = self._data_decoders[subscription.data] = msgspec.json.Decoder(subscription.data)
            data = decoder.decode(record.data)
        return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:2_000].replace("\0", "")
