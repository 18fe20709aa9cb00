"""The textbook's relay: rows that nobody has locked, sent and acknowledged, deleted in the same transaction."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import asyncpg
import uvloop
from aiokafka import AIOKafkaProducer

NEXT = "SELECT id, key, payload FROM outbox ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED"
DELETE = "DELETE FROM outbox WHERE id = ANY ($1::bigint[])"
IDLE_SECONDS = 0.05


async def relay(connection: Any, producer: AIOKafkaProducer, topic: str) -> int:
    """One round; how many rows it moved."""
    async with connection.transaction():
        rows = await connection.fetch(NEXT)
        sent = [await producer.send(topic, row["payload"].encode(), key=row["key"].encode()) for row in rows]
        await asyncio.gather(*sent)
        await connection.execute(DELETE, [row["id"] for row in rows])
    return len(rows)


async def main() -> None:
    """Until it is ended."""
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["BOOTSTRAP_SERVERS"], acks="all", enable_idempotence=True)
    await producer.start()
    while True:
        if not await relay(connection, producer, os.environ["TOPIC"]):
            await asyncio.sleep(IDLE_SECONDS)


if __name__ == "__main__":
    uvloop.run(main())
