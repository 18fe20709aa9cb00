"""From records and rows to new rows: the pure part of a projector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from headrace.events.topic_record import PastEvent, Record, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.parked_groups import Group
from headrace.folding.row_cache import CachedRow
from headrace.folding.rows import ParkedEvent, ReadRow
from headrace.folding.state_json import decode_state
from headrace.projection import Event, Projection, Subscription

State = TypeVar("State")

BEHIND = "waits behind an earlier event of its key that is parked"
MOST_REASON_CHARACTERS = 2_000


class Chosen(NamedTuple):
    """An event that the projection has a handler for, and the key of the row that it changes."""

    key: str
    event: Event[Any]
    subscription: Subscription[Any]
    partition_key: str


class Unreadable(NamedTuple):
    """An event that cannot be given to its handler; the key of its row where at least that can be computed."""

    position: int
    key: str | None
    partition_key: str
    error: str

    @property
    def group(self) -> Group:
        """What waits behind it, and where it waits unless an earlier one blocked it."""
        if self.key is None:
            return Group(self.partition_key, key_is_known=False)
        return Group(self.key)


class Folding(Generic[State]):
    """Decodes, folds and encodes for one projection. An event whose decoding, key or handler raises is parked."""

    def __init__(self, projection: Projection[State]) -> None:
        self._projection = projection
        self._state_decoder = msgspec.json.Decoder(projection.state)
        self._data_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    def choose(self, records: Sequence[Record]) -> tuple[list[Chosen], list[Unreadable]]:
        """The events that have a handler, and those of them that cannot be decoded, or whose key cannot be computed."""
        chosen: list[Chosen] = []
        unreadable: list[Unreadable] = []
        for record in records:
            subscription = self._projection.subscription(record.type)
            if subscription is None:
                continue
            try:
                event = _event(record, self._data(record, subscription))
                key = self._key(event)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything: the event waits
                known = self._key_without_data(record)
                unreadable.append(Unreadable(record.position, known, record.partition_key, reason(error)))
            else:
                chosen.append(Chosen(key, event, subscription, record.partition_key))
        return chosen, unreadable

    def fold(
        self, states: dict[str, State | None], chosen: Sequence[Chosen], blocked: BlockedGroups, attempts: int = 1
    ) -> tuple[dict[str, int], list[ParkedEvent]]:
        """Fold the events into `states`, in place.

        Returns the position of the last event of each key that was changed, and the events to park: they raised, at
        the so many'th of `attempts`, or they are stopped. Those that raise stop what comes after them.
        """
        changed: dict[str, int] = {}
        waiting: list[ParkedEvent] = []
        for key, event, subscription, partition_key in chosen:
            group = blocked.group_of(event.position, key, partition_key)
            if group is not None:
                waiting.append(ParkedEvent(event.position, group, BEHIND, 0))
                continue
            try:
                states[key] = subscription.handler(states.get(key), event)
            except Exception as error:  # noqa: BLE001 - as above
                blocked.block([Group(key)], event.position)
                waiting.append(ParkedEvent(event.position, Group(key), reason(error), attempts))
            else:
                changed[key] = event.position
        return changed, waiting

    def keys(self, events: Sequence[PastEvent]) -> dict[int, str]:
        """The key of the row of each event, by position; without events that the projection has no handler for."""
        chosen, _ = self.choose(past_records(events))
        return {candidate.event.position: candidate.key for candidate in chosen}

    def cached_row(self, row: ReadRow | None) -> CachedRow[State]:
        """A row as it was read, None for none. Raises StateError."""
        if row is None:
            return CachedRow(None, 0, 0)
        return CachedRow(decode_state(self._state_decoder, row.state), row.position, row.version)

    def _data(self, record: Record, subscription: Subscription[State]) -> Any:
        if subscription.data is msgspec.Raw:
            return record.data
        decoder = self._data_decoders.get(subscription.data)
        if decoder is None:
            decoder = self._data_decoders[subscription.data] = msgspec.json.Decoder(subscription.data)
        return decoder.decode(record.data)

    def _key(self, event: Event[Any]) -> str:
        """Raises ValueError for a key that PostgreSQL could not even look for."""
        key = self._projection.key(event)
        if not isinstance(key, str) or "\0" in key or not (key.isascii() or key.encode()):
            raise ValueError(f"a key must be a text without NUL characters, not {key!r}")
        return key

    def _key_without_data(self, record: Record) -> str | None:
        """The key of an event that cannot be decoded, where the key does not depend on its data."""
        try:
            return self._key(_event(record, record.data))
        except Exception:  # noqa: BLE001 - as above; then all of its partition key waits
            return None


def reason(error: Exception) -> str:
    """What went wrong, as it is kept with a parked event."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - a user's exception may fail even at this
        text = type(error).__name__
    return text[:MOST_REASON_CHARACTERS].replace("\0", "").encode(errors="replace").decode()


def _event(record: Record, data: Any) -> Event[Any]:
    return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)
