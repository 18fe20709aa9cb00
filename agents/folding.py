"""From records and rows to new rows: the pure part of a projector."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from agents.batches import Record
from app.projection import Event, Projection, Subscription
from tables.parked import ParkedEvent

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
                waiting.append(ParkedEvent(record.position, key.replace("\0", ""), _reason(unstorable)))
            else:
                chosen.append(Chosen(key, event, subscription))
        return chosen, waiting

    def decode_state(self, text: str) -> State:
        """A row's state from its JSON."""
        return self._state_decoder.decode(text)

    def fold(
        self, states: dict[str, State | None], chosen: Sequence[Chosen], blocked: AbstractSet[str] = frozenset()
    ) -> tuple[dict[str, int], list[ParkedEvent]]:
        """Fold the events into `states`, in place.

        Returns the position of the last event of each key that was changed, and the events to park: they raised, or
        their key is blocked.
        """
        changed: dict[str, int] = {}
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
                changed[key] = event.position
        return changed, waiting

    def _event(self, record: Record, subscription: Subscription[State]) -> Event[Any]:
        data: Any = record.data
        if subscription.data is not msgspec.Raw:
            decoder = self._data_decoders.get(subscription.data)
            if decoder is None:
                decoder = self._data_decoders[subscription.data] = msgspec.json.Decoder(subscription.data)
            data = decoder.decode(record.data)
        return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)


def encode_state(state: object) -> str:
    """A row's state as JSON; Decimals as numbers."""
    return _encoder.encode(state).decode()


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:2_000].replace("\0", "")
