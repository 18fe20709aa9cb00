"""Faust messages that are batches: what one fetch brought of all partitions.

Faust spends about 100 µs on a message whatever is in it, so a message carries a whole fetch. Of the driver's consumer
`getmany` is replaced, `ack` does the whole fetch, and what is committed is each partition's last offset + 1; groups,
rebalances and the times of commits stay Faust's. See docs/adr/0003-batches-in-faust.md.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage, Message

from agents.kafka.consumer_thread import ConsumerThread
from headrace.events.topic_record import Record, decode, followed
from headrace.process.throttled_log import ThrottledLog

log = logging.getLogger(__name__)
throttled = ThrottledLog(log)


class RecordBatch:
    """What one fetch brought, by partition; decoded once, for all agents."""

    __slots__ = ("_events", "_values", "follows")

    def __init__(self, values: Mapping[int, Sequence[bytes | None]], follows: Mapping[int, int] | None = None) -> None:
        self.follows = follows or {}
        """By partition, the position of the event before the first one; left out where the topic does not tell."""
        self._values = values
        self._events: list[Record] | None = None

    def events(self) -> list[Record]:
        """The events in order of position. What is no event of ours (no JSON, no position) is left out and logged."""
        if self._events is None:
            events = (decode(value, partition) for partition, values in self._values.items() for value in values)
            self._events = sorted((event for event in events if event), key=_position)
            self._values = {}
        return self._events


def _position(event: Record) -> int:
    return event.position


class FetchMessage(ConsumerMessage):
    """The message of one partition of a fetch, whose value is the RecordBatch of all of them."""

    __slots__ = ("others",)
    others: Sequence[ConsumerMessage]
    """The last messages of the other partitions: acknowledged with this one, delivered to nobody."""


class BatchConsumer(driver.Consumer):
    """Yields one message for a fetch."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - the driver's
        """Fetch, wait at most `timeout` seconds."""
        try:
            fetched, active = await self._wait_next_records(timeout)
        except KafkaError as error:
            throttled.warning("The event handler cannot read from Kafka now: %r", error)
            await self.sleep(timeout)
            return
        if fetched is None or self.should_stop:
            return
        fetched = {tp: records for tp, records in fetched.items() if records and (active is None or tp in active)}
        if not fetched or not self.flow_active:
            return
        generation = self.app.consumer_generation_id
        batch = RecordBatch(
            {tp.partition: [record.value for record in records] for tp, records in fetched.items()},
            {
                tp.partition: before
                for tp, (first, *_) in fetched.items()
                if (before := followed(first.headers)) is not None
            },
        )
        first, *others = (_message(tp, records[-1], batch, generation) for tp, records in fetched.items())
        first.others = others
        for message in (first, *others):
            if message.offset < (self._read_offset[message.tp] or 0):
                self._begin_anew(message.tp)
        for other in others:
            self._read_offset[other.tp] = other.offset
        yield first.tp, first

    def _begin_anew(self, tp: TP) -> None:
        """The partition was made anew: its offsets begin at 0 again, and Faust would drop what it has read before."""
        self._read_offset[tp] = self._committed_offset[tp] = None
        for bookkeeping in (self._acked, self._acked_index):
            bookkeeping.pop(tp, None)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Faust keeps the offsets between two messages in a tree; nothing looks for them here."""

    def _new_offset(self, tp: TP) -> int | None:
        """One past the last offset that was acknowledged: each agent takes the fetches in order, so none before it
        waits. Faust would first look whether all between them are acknowledged or known as gaps."""
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
        """A full buffer holds the next fetch up as it is; Faust would sleep a second when all partitions are full."""

    def on_buffer_drop(self, tp: TP) -> None:
        """See on_buffer_full."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust looks for a message of every partition here."""


def _message(tp: TP, last: Any, batch: RecordBatch, generation: int) -> FetchMessage:
    return FetchMessage(
        last.topic,
        last.partition,
        last.offset,
        last.timestamp / 1000,
        last.timestamp_type,
        last.headers,
        None,
        cast("bytes", batch),  # handed on as it is
        None,
        -1,
        -1,
        tp,
        generation_id=generation,
    )


class BatchTransport(driver.Transport):
    """The aiokafka transport with the consumer above."""

    Consumer = BatchConsumer


class AsIs(faust.Schema[Any, Any]):
    """Hands keys and values over undecoded: a decoding error in Faust would lose the message."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:
        return message.value
