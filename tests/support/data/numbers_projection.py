"""A projection that keeps the numbers of a key in order; it refuses negative ones, and 0 removes the row."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from agents.kafka.fetch_batches import RecordBatch
from headrace.projection import Event, Projection
from tables.database import Pool


class Numbered(msgspec.Struct):
    number: int


class Numbers(msgspec.Struct):
    numbers: list[int]


def make_projection(name: str = "numbers", *, refuses_negative: bool = True) -> Projection[Numbers]:
    projection = Projection(
        name, state=Numbers, key=lambda event: event.subject or "", description="The numbers of a key"
    )

    @projection.on("numbered", Numbered)
    def numbered(state: Numbers | None, event: Event[Numbered]) -> Numbers | None:
        if event.data.number < 0 and refuses_negative:
            raise ValueError("negative")
        if event.data.number == 0:
            return None
        return Numbers([*(state.numbers if state else []), event.data.number])

    return projection


def record(position: int, number: Any, subject: str = "a", event_type: str = "numbered") -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(position),
            "source": "/tests",
            "type": event_type,
            "subject": subject,
            "time": "2026-01-01T00:00:00Z",
            "sequence": f"{position:020d}",
            "data": {"number": number},
        }
    ).encode()


def batch(*values: bytes | None, partition: int = 0) -> RecordBatch:
    return RecordBatch({partition: list(values)})


async def rows(pool: Pool, name: str = "numbers") -> dict[str, tuple[list[int], int, int]]:
    found = await pool.fetch(
        "SELECT key, state->'numbers' AS n, position, version FROM projections WHERE projection = $1", name
    )
    return {row["key"]: (json.loads(row["n"]), row["position"], row["version"]) for row in found}


async def progress(pool: Pool, partition: int = 0) -> int:
    position: int = await pool.fetchval("SELECT position FROM progress WHERE partition = $1", partition)
    return position


async def parked(pool: Pool) -> list[tuple[int, str, str]]:
    found = await pool.fetch("SELECT position, key, error FROM parked ORDER BY position")
    return [(row["position"], row["key"], row["error"]) for row in found]
