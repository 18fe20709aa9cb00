"""Faust messages that are batches: what one fetch brought of one partition.

Faust spends about 100 µs on a message whatever is in it, so a message carries many records. Only the public
`getmany` of the driver's consumer is replaced; groups, rebalances and commits stay Faust's: its bookkeeping of
gaps commits the last record's offset + 1. See docs/adr/0003-batches-in-faust.md.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import faust
import msgspec
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from app import rfc3339
from app.event_types import NO_DATA
from app.rarely import Rarely
from tables.event_store import PastEvent

log = logging.getLogger(__name__)
rarely = Rarely(log)


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event as it comes from the topic; `data` still as JSON text."""

    position: int
    partition: int
    id: str
    source: str
    type: str
    subject: str | None
    time: str
    """RFC 3339 in UTC."""
    data: msgspec.Raw


class _Envelope(msgspec.Struct, frozen=True, gc=False):
    id: str
    source: str
    type: str
    sequence: str
    time: str
    subject: str | None = None
    data: msgspec.Raw = msgspec.Raw(NO_DATA)


POSITION_DIGITS = 20

_decoder = msgspec.json.Decoder(_Envelope)


class RecordBatch:
    """What one fetch brought of one partition; decoded once, for all agents."""

    __slots__ = ("_events", "_values", "applied_by", "fetch", "partition")

    def __init__(self, partition: int, values: list[bytes | None]) -> None:
        self.partition = partition
        self.fetch: list[RecordBatch] = [self]
        """The batches of the same fetch, this one among them."""
        self.applied_by: set[str] = set()
        """The projections that are done with it."""
        self._values = values
        self._events: list[Record] | None = None

    def events(self) -> list[Record]:
        """The events in order. What is no event of ours (no JSON, no position) is left out and logged."""
        if self._events is None:
            self._events = [event for value in self._values if (event := decode(value, self.partition))]
            self._values = []
        return self._events


def decode(value: bytes | None, partition: int) -> Record | None:
    """A record's value as an event; None, and a line in the log, for what the relay did not write."""
    try:
        envelope = _decoder.decode(value or b"")
        if len(envelope.sequence) != POSITION_DIGITS or not envelope.sequence.isdecimal():
            raise ValueError("the extension sequence is not a position")  # noqa: TRY301 - one place logs
        return Record(
            int(envelope.sequence),
            partition,
            envelope.id,
            envelope.source,
            envelope.type,
            envelope.subject,
            rfc3339.to_utc(envelope.time),
            envelope.data,
        )
    except ValueError as error:
        rarely.warning("A record of partition %s is no event of ours and is passed over: %s", partition, error)
        return None


def past_record(event: PastEvent) -> Record | None:
    """An event of the store as it came, or would have come, from the topic."""
    members = msgspec.json.decode(event.text, type=dict[str, msgspec.Raw])
    members["sequence"] = msgspec.Raw(b'"%020d"' % event.position)
    return decode(msgspec.json.encode(members), event.partition)


class BatchConsumer(driver.Consumer):
    """Yields one message for each partition of a fetch; its value is a RecordBatch."""

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - the driver's
        """Fetch, wait at most `timeout` seconds."""
        fetched, active = await self._wait_next_records(timeout)
        if fetched is None or self.should_stop:
            return
        generation = self.app.consumer_generation_id
        batches = {
            tp: RecordBatch(tp.partition, [record.value for record in records])
            for tp, records in fetched.items()
            if records and (active is None or tp in active)
        }
        fetch = list(batches.values())
        for tp, batch in batches.items():
            if not self.flow_active:
                break
            batch.fetch = fetch
            yield tp, _message(tp, fetched[tp][-1], batch, generation)


def _message(tp: TP, last: Any, batch: RecordBatch, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
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
