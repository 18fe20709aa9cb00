"""Faust messages that carry batches: the records of one fetch, from all partitions.

Faust spends about 100 µs on each message, whatever its size, so a message carries a whole fetch. `getmany` is replaced,
`ack` acknowledges the whole fetch, and the committed offset is each partition's last offset + 1. Groups, rebalances
and the times of commits remain Faust's. See docs/adr/0003-batches-in-faust.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage, Message

from agents.kafka.consumer_thread import ConsumerThread
from headrace.events.topic_record import HEADERS, Record, decode, followed
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

# A record has more if it names the event before it.
USUAL_HEADERS = len(HEADERS)

log = ActionLog(__name__)
throttled = ThrottledLog(log)


class RecordBatch:
    """The records of one fetch, by partition; decoded once, for all agents."""

    __slots__ = ("_events", "_holes", "_links", "_values", "follows")

    def __init__(
        self,
        values: Mapping[int, Sequence[bytes | None]],
        follows: Mapping[int, int] | None = None,
        *,
        links: Mapping[int, Mapping[int, int]] | None = None,
        holes: Iterable[int] = (),
    ) -> None:
        """`links`: by partition and place, the position of the event before a later record, where a record names it.

        `holes`: partitions whose offsets have holes, so that the topic may lack events between the records.
        """
        self.follows = follows or {}
        """By partition, the position of the event before the first event; absent if its record does not name it."""
        self._values = values
        self._links = links or {}
        self._holes = set(holes)
        self._events: list[Record] | None = None

    def events(self) -> list[Record]:
        """The events in order of position. Records without valid JSON or a position are skipped and logged."""
        if self._events is None:
            events: list[Record] = []
            for partition, values in self._values.items():
                decoded = [decode(value, partition) for value in values]
                if any(_lacks(decoded, place, before) for place, before in self._links.get(partition, {}).items()):
                    self._holes.add(partition)
                events += [event for event in decoded if event]
            events.sort(key=_position)
            self._events, self._values = events, {}
        return self._events

    def incomplete(self) -> dict[int, int]:
        """The last position of each partition that may lack events before its last record."""
        events = self.events()
        if not self._holes:
            return {}
        return {event.partition: event.position for event in events if event.partition in self._holes}


def _lacks(events: Sequence[Record | None], place: int, before: int) -> bool:
    """Whether the record before this place is not the event that should be there."""
    last = next((event for event in reversed(events[:place]) if event), None)
    return last is None or last.position < before


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
    links = {
        tp.partition: {
            place: before
            for place, record in enumerate(records)
            if len(record.headers) > USUAL_HEADERS and (before := followed(record.headers)) is not None
        }
        for tp, records in fetched.items()
    }
    return RecordBatch(
        {tp.partition: [record.value for record in records] for tp, records in fetched.items()},
        {partition: named.pop(0) for partition, named in links.items() if 0 in named},
        links=links,
        holes=[tp.partition for tp, records in fetched.items() if _has_holes(records)],
    )


def _has_holes(records: Sequence[Any]) -> bool:
    """Whether offsets are missing between the records, as after compaction."""
    span: int = records[-1].offset - records[0].offset
    return span >= len(records)


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


class AsIs(faust.Schema[Any, Any]):
    """A schema that passes keys and values through undecoded: a decoding error in Faust would lose the message."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value
