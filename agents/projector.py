"""The body of a projection's agent: a batch is one transaction, which also moves the progress.

Guarantee: each event is applied to the projection exactly once and in the order of its partition, however often it
is delivered; nothing but a cancellation leaves `apply`, because Faust acknowledges an event whose handler raised.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from agents.batches import Record, RecordBatch
from app.projection import Event, Projection, Subscription
from app.rarely import Rarely
from app.waiting import backoff_seconds
from tables import projection_rows
from tables.database import AnyConnection, Database
from tables.projection_rows import Row

State = TypeVar("State")


log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Projector(Generic[State]):
    """Applies batches of events to one projection."""

    def __init__(self, projection: Projection[State], database: Database) -> None:
        self._projection = projection
        self._database = database
        self._state_decoder = msgspec.json.Decoder(projection.state)
        self._data_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._started: set[int] = set()
        self._rarely = Rarely(log)

    async def apply(self, batch: RecordBatch) -> None:
        """Apply a batch; returns only when that is committed."""
        for wait in backoff_seconds():
            try:
                async with self._database.acquire() as connection:
                    await self.apply_once(connection, batch.partition, batch.events())
            except Exception as error:  # noqa: BLE001 - whatever it is: an exception that leaves would lose the batch
                self._rarely.warning(
                    f"Projection {self._projection.name} waits at a batch of partition %s: %r", batch.partition, error
                )
                await asyncio.sleep(wait)
            else:
                return

    async def apply_once(self, connection: AnyConnection, partition: int, events: Sequence[Record]) -> None:
        """Apply what is new of these events, in one transaction; raises what goes wrong, and then nothing is done."""
        name = self._projection.name
        if partition not in self._started:
            await projection_rows.start_progress(connection, name, partition)
            self._started.add(partition)
        async with connection.transaction():
            progress = await projection_rows.lock_progress(connection, name, partition)
            new = _after(progress, events)
            if not new:
                return
            chosen = self._chosen(new)
            if chosen:
                keys = sorted({key for key, _, _ in chosen})
                known = await projection_rows.lock_rows(connection, name, keys)
                await projection_rows.write_rows(connection, name, self._fold(known, chosen))
            await projection_rows.move_progress(connection, name, partition, new[-1].position)

    def _chosen(self, records: Sequence[Record]) -> list[tuple[str, Event[Any], Subscription[State]]]:
        chosen = []
        for record in records:
            subscription = self._projection.subscription(record.type)
            if subscription is not None:
                event = self._event(record, subscription)
                chosen.append((self._projection.key(event), event, subscription))
        return chosen

    def _event(self, record: Record, subscription: Subscription[State]) -> Event[Any]:
        data: Any = record.data
        if subscription.data is not msgspec.Raw:
            decoder = self._data_decoders.get(subscription.data)
            if decoder is None:
                decoder = self._data_decoders[subscription.data] = msgspec.json.Decoder(subscription.data)
            data = decoder.decode(record.data)
        return Event(record.position, record.id, record.source, record.type, record.subject, record.time, data)

    def _fold(
        self,
        known: dict[str, tuple[str, int]],
        chosen: Sequence[tuple[str, Event[Any], Subscription[State]]],
    ) -> dict[str, Row]:
        states: dict[str, State | None] = {key: self._state_decoder.decode(text) for key, (text, _) in known.items()}
        positions: dict[str, int] = {}
        for key, event, subscription in chosen:
            states[key] = subscription.handler(states.get(key), event)
            positions[key] = event.position
        return {
            key: Row(
                None if (state := states[key]) is None else _encoder.encode(state).decode(),
                position,
                (known[key][1] if key in known else 0) + 1,
            )
            for key, position in positions.items()
        }


def agent_of(projector: Projector[Any]) -> Callable[[Any], Awaitable[None]]:
    """The body of a Faust agent: applies each batch, and acknowledges it only then."""

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            await projector.apply(event.value)
            await stream.ack(event)

    return agent


def _after(progress: int, records: Sequence[Record]) -> list[Record]:
    """What is beyond the progress, each position once: a round that was published again repeats itself."""
    new = []
    for record in records:
        if record.position > progress:
            progress = record.position
            new.append(record)
    return new
