"""The textbook's consumer: FastStream, one upsert for each event."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import asyncpg
import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

UPSERT = """
INSERT INTO devices AS known (device, readings, first_seen, last_seen, latest)
VALUES ($1, 1, $2::text, $2::text, jsonb_build_object($3::text, $4::jsonb))
ON CONFLICT (device) DO UPDATE
SET readings = known.readings + 1,
    first_seen = least(known.first_seen, excluded.first_seen),
    last_seen = greatest(known.last_seen, excluded.last_seen),
    latest = CASE WHEN known.latest #>> ARRAY[$3::text, 'time'] > $2::text THEN known.latest
                  ELSE known.latest || excluded.latest END
"""
POOL_SIZE = 10

broker = KafkaBroker(os.environ.get("BOOTSTRAP_SERVERS", ""))
app = FastStream(broker)
pools: list[Any] = []


@app.on_startup
async def open_pool() -> None:
    pools.append(await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=POOL_SIZE))


@broker.subscriber(os.environ.get("TOPIC", "events"), group_id=os.environ.get("TOPIC"), auto_offset_reset="earliest")
async def consume(event: dict[str, Any]) -> None:
    data = event["data"]
    latest = {"value": data["value"], "unit": data.get("unit"), "time": event["time"]}
    await pools[0].execute(UPSERT, event["subject"], event["time"], data["metric"], json.dumps(latest))


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(app.run())
