"""Faust messages that carry batches: the records of one fetch, from all partitions.

Faust spends about 100 µs on each message, whatever its size, so a message carries a whole fetch. `getmany` is replaced,
`ack` acknowledges the whole fetch, and the committed offset is each partition's last offset + 1. Groups, rebalances
and the times of commits remain Faust's. See docs/adr/0003-batches-in-faust.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage, Message

from agents.kafka.access import KafkaAccess
from agents.kafka.consumer_thread import ConsumerThread
from headrace.events.genuine_records import Genuine, PassedOver, Reason, judge
from headrace.events.origin import MAX_POSITION, UNKNOWN, Timeline
from headrace.events.topic_record import Record, decode
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

log = ActionLog(__name__)
throttled = ThrottledLog(log)

Headers = Sequence[tuple[str, bytes | None]]


class CheckedBatch(NamedTuple):
    """The events of a fetch that are genuine, and what must be read from the event store before them."""

    events: list[Record]
    """In order of position."""
    follows: dict[int, int]
    """By partition, the position of the event before the first event; absent if its record does not name it."""
    lacking: dict[int, int]
    """By partition, the position before which events may be missing between or beside the records."""
    passed_over: dict[int, list[PassedOver]]
    """By partition, the records that are not applied."""

    def reasons(self) -> Counter[Reason]:
        """How many records are not applied, by reason."""
        return Counter(one.reason for found in self.passed_over.values() for one in found)

    def unknown_epochs(self, timeline: Timeline) -> set[int]:
        """The epochs of signed records that the database does not have, or did not have when it was asked."""
        return {
            one.origin.epoch
            for found in self.passed_over.values()
            for one in found
            if one.reason is Reason.ABANDONED and one.origin and one.origin.epoch not in timeline.ends
        }


class RecordBatch:
    """The records of one fetch, by partition; checked once, for all agents."""

    __slots__ = ("_checked", "_checked_for", "_headers", "_values", "follows", "is_reported")

    def __init__(
        self,
        values: Mapping[int, Sequence[bytes | None]],
        follows: Mapping[int, int] | None = None,
        headers: Mapping[int, Sequence[Headers]] | None = None,
    ) -> None:
        """`follows` is for `unchecked` alone: genuine records name the event before them."""
        self.follows = follows or {}
        self.is_reported = False
        """Whether what is passed over was counted and logged."""
        self._values = values
        self._headers = headers or {}
        self._checked: CheckedBatch | None = None
        self._checked_for: tuple[Timeline | None, int | None] = None, None

    def unchecked(self) -> CheckedBatch:
        """All events, whoever wrote them: for events that do not come from a topic."""
        if self._checked is None:
            events = [
                event
                for partition, values in self._values.items()
                for event in (decode(value, partition) for value in values)
                if event
            ]
            self._checked = CheckedBatch(sorted(events, key=_position), dict(self.follows), {}, {})
        return self._checked

    def checked(self, timeline: Timeline, up_to: int | None = None) -> CheckedBatch:
        """The events that are genuine by this timeline; none beyond `up_to`, if it is given."""
        known, known_up_to = self._checked_for
        if self._checked is None or known is not timeline or known_up_to != up_to:
            self._checked = self._check(timeline, up_to)
            self._checked_for = timeline, up_to
        return self._checked

    def _check(self, timeline: Timeline, up_to: int | None) -> CheckedBatch:
        batch = CheckedBatch([], {}, {}, {})
        for partition, values in self._values.items():
            genuine: list[Genuine] = []
            passed_over: list[PassedOver] = []
            last, is_in_order = UNKNOWN, True
            for value, headers in zip(values, self._headers.get(partition, ()), strict=True):
                found = judge(timeline, partition, value, headers)
                if isinstance(found, PassedOver):
                    passed_over.append(found)
                    continue
                position = found[0].position
                if up_to is not None and position > up_to:
                    passed_over.append(PassedOver(Reason.AHEAD, position))
                    continue
                is_in_order = is_in_order and position > last
                last = position
                genuine.append(found)
            if not is_in_order:
                genuine.sort(key=_position_of_genuine)
            if passed_over:
                batch.passed_over[partition] = passed_over
            _add(batch, partition, genuine, passed_over)
        batch.events.sort(key=_position)
        return batch


def _add(batch: CheckedBatch, partition: int, genuine: list[Genuine], passed_over: Sequence[PassedOver]) -> None:
    """Add the events of a partition, and note where one is missing before another."""
    hints = (one.position for one in passed_over if one.reason is Reason.UNSIGNED)
    lacking = max((min(position, MAX_POSITION - 1) + 1 for position in hints), default=0)
    last = UNKNOWN
    for record, follows in genuine:
        position = record.position
        if not UNKNOWN < follows <= last and position > last != UNKNOWN:
            lacking = max(lacking, position)
        last = position
    batch.events.extend([record for record, _ in genuine])
    if genuine and genuine[0][1] != UNKNOWN:
        batch.follows[partition] = genuine[0][1]
    if lacking:
        batch.lacking[partition] = lacking


def _position_of_genuine(event: Genuine) -> int:
    return event[0].position


def _position(event: Record) -> int:
    return event.position


class FetchMessage(ConsumerMessage):
    """The message of the first partition of a fetch; its value is the RecordBatch of all partitions."""

    __slots__ = ("others",)
    others: Sequence[ConsumerMessage]
    """The last messages of the other partitions: acknowledged with this message, never delivered."""


class BatchConsumer(driver.Consumer):
    """A consumer whose `getmany` yields a single message for each fetch."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - the driver's
        """Fetch records, waiting at most `timeout` seconds; yield nothing if there are none or Kafka is unavailable."""
        try:
            fetched, active = await self._wait_next_records(timeout)
        except KafkaError as error:
            throttled.warning(LogAction.KAFKA_FETCH_FAILED, "Fetch from Kafka failed; will retry: {error}", error=error)
            await self.sleep(timeout)
            return
        if fetched is None or self.should_stop:
            return
        fetched = {tp: records for tp, records in fetched.items() if records and (active is None or tp in active)}
        if not fetched or not self.flow_active:
            return
        generation = self.app.consumer_generation_id
        batch = batch_of(fetched)
        first, *others = (_message(tp, records[-1], batch, generation) for tp, records in fetched.items())
        first.others = others
        for message in (first, *others):
            if message.offset < (self._read_offset[message.tp] or 0):
                self._reset_offsets(message.tp)
        for other in others:
            self._read_offset[other.tp] = other.offset
        yield first.tp, first

    def _reset_offsets(self, tp: TP) -> None:
        """Forget the offsets of a partition that was recreated: Faust would drop records with offsets it has seen."""
        self._read_offset[tp] = self._committed_offset[tp] = None
        for bookkeeping in (self._acked, self._acked_index):
            bookkeeping.pop(tp, None)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: Faust stores the offsets between two messages in a tree that is not used here."""

    def _new_offset(self, tp: TP) -> int | None:
        """The last acknowledged offset + 1, or None. Agents process fetches in order, so no earlier offset is pending.

        Faust's own method would check that every offset in between is acknowledged or known as a gap.
        """
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        self._acked_index[tp].difference_update(acked)
        acked.clear()
        return last + 1

    def ack(self, message: Message) -> bool:
        """Acknowledge the whole fetch."""
        if isinstance(message, FetchMessage):
            for other in message.others:
                super().ack(other)
        return super().ack(message)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: a full buffer already delays the next fetch. Faust would also sleep for a second."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, because `on_buffer_full` paused nothing."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust would check for messages in each partition, but only one partition delivers them."""


def batch_of(fetched: Mapping[TP, Sequence[Any]]) -> RecordBatch:
    """The batch of the records of a fetch, none of which is empty."""
    return RecordBatch(
        {tp.partition: [record.value for record in records] for tp, records in fetched.items()},
        headers={tp.partition: [record.headers for record in records] for tp, records in fetched.items()},
    )


def _message(tp: TP, last: Any, batch: RecordBatch, generation: int) -> FetchMessage:
    return FetchMessage(
        last.topic,
        last.partition,
        last.offset,
        last.timestamp / 1000,
        last.timestamp_type,
        last.headers,
        None,
        cast("bytes", batch),  # passed through unchanged
        None,
        -1,
        -1,
        tp,
        generation_id=generation,
    )


class BatchTransport(driver.Transport):
    """The aiokafka transport, with BatchConsumer as its consumer."""

    Consumer = BatchConsumer

    def __init__(self, *arguments: Any, kafka: KafkaAccess) -> None:
        super().__init__(*arguments)
        self.kafka = kafka


class AsIs(faust.Schema[Any, Any]):
    """A schema that passes keys and values through undecoded: a decoding error in Faust would lose the message."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value
