"""The pure part of a projector: records and rows -> new rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from headrace.events.topic_record import UNREADABLE_DATA, PastEvent, Record, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.parked_groups import Group
from headrace.folding.row_cache import CachedRow
from headrace.folding.rows import ParkedEvent, ReadRow
from headrace.folding.state_json import decode_state
from headrace.projection import Event, Projection, Subscription

State = TypeVar("State")

BEHIND = "waits behind an earlier event of its key that is parked"
MAX_REASON_CHARACTERS = 2_000
MAX_STATE_BYTES = 1_000_000


class Chosen(NamedTuple):
    """An event for which the projection has a handler, and the key of the row that it changes."""

    key: str
    event: Event[Any]
    subscription: Subscription[Any]
    partition_key: str


class Unreadable(NamedTuple):
    """An event that cannot be passed to its handler, with the key of its row if that can be computed."""

    position: int
    key: str | None
    partition_key: str
    error: str

    @property
    def group(self) -> Group:
        """The group that it blocks, and in which it waits unless an earlier event blocks its partition key."""
        if self.key is None:
            return Group(self.partition_key, key_is_known=False)
        return Group(self.key)


class Folding(Generic[State]):
    """Decodes, folds and encodes for one projection. An event whose decoding, key or handler raises is parked."""

    def __init__(self, projection: Projection[State], *, max_state_bytes: int = MAX_STATE_BYTES) -> None:
        self.max_state_bytes = max_state_bytes
        """Of a state that is written, as JSON: an event that makes its row larger is parked."""
        self._projection = projection
        self._state_decoder = msgspec.json.Decoder(projection.state)
        self._data_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    def choose(self, records: Sequence[Record]) -> tuple[list[Chosen], list[Unreadable]]:
        """Events that have a handler: those that can be read, and those whose data or key cannot be determined."""
        chosen: list[Chosen] = []
        unreadable: list[Unreadable] = []
        for record in records:
            subscription = self._projection.subscription(record.type)
            if subscription is None:
                continue
            try:
                event = _event(record, self._data(record, subscription))
                key = self._key(event)
            except Exception as error:  # noqa: BLE001 - a user's function may raise anything; the event is parked
                known = self._key_without_data(record)
                unreadable.append(Unreadable(record.position, known, record.partition_key, reason(error)))
            else:
                chosen.append(Chosen(key, event, subscription, record.partition_key))
        return chosen, unreadable

    def fold(
        self, states: dict[str, State | None], chosen: Sequence[Chosen], blocked: BlockedGroups, attempts: int = 1
    ) -> tuple[dict[str, int], list[ParkedEvent]]:
        """Fold the events into `states`, in place; `attempts` is the number of this attempt, from 1.

        Returns the position of the last event of each changed key, and the events to park: those whose handler raised,
        and those in a blocked group. An event whose handler raises blocks its group.
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
        """The key of the row of each event, by position; events without a handler are left out."""
        chosen, _ = self.choose(past_records(events))
        return {candidate.event.position: candidate.key for candidate in chosen}

    def cached_row(self, row: ReadRow | None) -> CachedRow[State]:
        """A row from the database, decoded; None if it does not exist. Raises StateError."""
        if row is None:
            return CachedRow(None, 0, 0)
        return CachedRow(decode_state(self._state_decoder, row.state), row.position, row.version)

    def _data(self, record: Record, subscription: Subscription[State]) -> Any:
        if subscription.data is msgspec.Raw:
            return record.data
        if record.data is UNREADABLE_DATA:
            raise ValueError("PostgreSQL cannot write the event as text: its numbers have too many digits")
        decoder = self._data_decoders.get(subscription.data)
        if decoder is None:
            decoder = self._data_decoders[subscription.data] = msgspec.json.Decoder(subscription.data)
        return decoder.decode(record.data)

    def _key(self, event: Event[Any]) -> str:
        """The key of an event's row. Raises ValueError for a key that PostgreSQL cannot store."""
        key = self._projection.key(event)
        if not isinstance(key, str) or "\0" in key or not (key.isascii() or key.encode()):
            raise ValueError(f"a key must be a string without NUL characters, not {key!r}")
        return key

    def _key_without_data(self, record: Record) -> str | None:
        """The key of an event whose data cannot be decoded; None if the key depends on the data."""
        try:
            return self._key(_event(record, record.data))
        except Exception:  # noqa: BLE001 - as above; then all events of its partition key wait
            return None


def reason(error: Exception) -> str:
    """The error text that is stored with a parked event: at most 2,000 characters, valid in PostgreSQL."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even the `__str__` of a user's exception may raise
        text = type(error).__name__
    return text[:MAX_REASON_CHARACTERS].replace("\0", "").encode(errors="replace").decode()


def _event(record: Record, data: Any) -> Event[Any]:
    return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)
