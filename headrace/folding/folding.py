"""The pure part of a projector: records and rows -> new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from headrace.events.data_decoder import DataDecoder
from headrace.events.topic_record import UNREADABLE, UNREADABLE_DATA, PastEvent, Record, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.failures import place_of, reason, traceback_of
from headrace.folding.parked_groups import Group
from headrace.folding.row_cache import CachedRow
from headrace.folding.rows import ParkedEvent, ReadRow
from headrace.folding.state_json import StateError, StateJson
from headrace.old_shapes import old_shapes_of
from headrace.projection import Event, Projection, Subscription

State = TypeVar("State")

BEHIND = "waits behind an earlier event of its key that is parked"
MAX_STATE_BYTES = 1_000_000


class Chosen(msgspec.Struct, frozen=True, gc=False):
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
    traceback: str | None = None

    @property
    def group(self) -> Group:
        """The group that it blocks, and in which it waits unless an earlier event blocks its partition key."""
        if self.key is None:
            return Group(self.partition_key, key_is_known=False)
        return Group(self.key)


class Folding(Generic[State]):
    """Decodes, folds and encodes for one projection. An event whose decoding, key or handler raises is parked.

    So is an event if its handler's result is not of the projection's state type. Whatever is raised is the event's
    failure, also what is no Exception: no cancellation can interrupt the code that calls these functions. An interrupt
    from the keyboard alone passes.
    """

    def __init__(self, projection: Projection[State], *, max_state_bytes: int = MAX_STATE_BYTES) -> None:
        self.max_state_bytes = max_state_bytes
        """Of a state that is written, as JSON: an event that makes its row larger is parked."""
        self._projection = projection
        self.states: StateJson[State] = StateJson(projection.state)
        self._data_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        # By data type and event type; data types without older shapes are not among them.
        self._shaped_decoders: dict[tuple[Any, str], DataDecoder] = {}

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
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a user's function may raise anything; the event is parked
                known, frames = self._key_without_data(record), traceback_of(error)
                unreadable.append(Unreadable(record.position, known, record.partition_key, reason(error), frames))
            else:
                chosen.append(Chosen(key, event, subscription, record.partition_key))
        return chosen, unreadable

    def fold(
        self, states: dict[str, State | None], chosen: Sequence[Chosen], blocked: BlockedGroups, attempts: int = 1
    ) -> tuple[dict[str, int], list[ParkedEvent]]:
        """Fold the events into `states`, in place; `attempts` is the number of this attempt, from 1.

        Returns the position of the last event of each changed key, and the events to park: those whose handler raised,
        and those in a blocked group. An event whose handler raises blocks its group. A handler that raised may have
        changed the state that it was given: `restore` it before the states are used.
        """
        check_result = self.states.check_result
        changed: dict[str, int] = {}
        waiting: list[ParkedEvent] = []
        for one in chosen:
            key, event, subscription = one.key, one.event, one.subscription
            group = blocked.group_of(event.position, key, one.partition_key)
            if group is not None:
                waiting.append(ParkedEvent(event.position, group, BEHIND, 0))
                continue
            try:
                state: State | None = subscription.handler(states.get(key), event)
                if state is not None:
                    check_result(state)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - as above
                blocked.block([Group(key)], event.position)
                frames = traceback_of(error) or place_of(subscription.handler)
                waiting.append(ParkedEvent(event.position, Group(key), reason(error), attempts, frames))
            else:
                states[key] = state
                changed[key] = event.position
        return changed, waiting

    def restore(
        self,
        states: dict[str, State | None],
        texts: Mapping[str, str | None],
        records: Sequence[Record],
        waiting: Sequence[ParkedEvent],
    ) -> set[str]:
        """Undo what failing handlers did to the states that they were given, in place; return the keys of these states.

        `texts` has the states before the records, `waiting` is what `fold` returned. The earlier events of the keys are
        folded again. Raises StateError if a handler raises that did not before.
        """
        keys = {one.group.key for one in waiting if one.attempts}
        if keys:
            left_out = {one.position for one in waiting}
            for key in keys:
                text = texts.get(key)
                states[key] = None if text is None else self.states.decode(text)
            again = [one for one in self.choose(records)[0] if one.key in keys and one.event.position not in left_out]
            _, failed = self.fold(states, again, BlockedGroups())
            if failed:
                raise StateError(f"a handler is not a pure function: when called again, {failed[0].error}")
        return keys

    def keys(self, events: Sequence[PastEvent]) -> dict[int, tuple[str, str | None]]:
        """The key of the row of each event, and its subject, by position; events without a handler are left out."""
        chosen, _ = self.choose(past_records(events))
        return {candidate.event.position: (candidate.key, candidate.event.subject) for candidate in chosen}

    def cached_row(self, row: ReadRow | None) -> CachedRow[State]:
        """A row from the database, decoded; None if it does not exist. Raises StateError."""
        if row is None:
            return CachedRow(None, 0, 0)
        return CachedRow(self.states.decode(row.state), row.position, row.version, len(row.state))

    def _data(self, record: Record, subscription: Subscription[State]) -> Any:
        if subscription.data is msgspec.Raw:
            return record.data
        if record.data is UNREADABLE_DATA:
            raise ValueError(UNREADABLE)
        decoder = self._data_decoders.get(subscription.data)
        if decoder is None:
            return self._shaped_data(record, subscription.data)
        return decoder.decode(record.data)

    def _shaped_data(self, record: Record, data: Any) -> Any:
        shaped = self._shaped_decoders.get((data, record.type))
        if shaped is None:
            if not old_shapes_of(data):
                decoder = self._data_decoders[data] = msgspec.json.Decoder(data)
                return decoder.decode(record.data)
            shaped = self._shaped_decoders[data, record.type] = DataDecoder(data, record.type)
        return shaped.decode(record.data, record.dataschema)

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
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001 - as above; then all events of its partition key wait
            return None


def _event(record: Record, data: Any) -> Event[Any]:
    return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)
