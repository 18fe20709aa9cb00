"""A row that was repaired by hand, as docs/operations.md says, while an event handler remembers it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from agents.projections.event_types import event_types
from agents.projector.projector import Projector
from tables.database import Connection, Database
from tables.intake.outbox import StoredEvent

from tests.support.data.stored_numbers import apply, store

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
SECTION = OPERATIONS.partition("## Repairing a row\n")[2].partition("\n## ")[0]
(RECIPE,) = re.findall(r"^```sql\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


async def read(connection: Connection, count: int) -> list[StoredEvent]:
    """Store readings."""
    return await store(connection, [("a", number) for number in range(count)], type="reading.recorded")


async def row(connection: Connection) -> tuple[int, int]:
    """How many there are, as the row says, and the row's version."""
    found = await connection.fetchrow("SELECT state, version FROM projections WHERE key = 'reading.recorded'")
    assert found is not None
    return json.loads(found["state"])["count"], found["version"]


@pytest.mark.parametrize("events", [1, 3])
async def test_the_next_event_is_folded_onto_the_repaired_row(
    database: Database, connection: Connection, events: int
) -> None:
    projector = Projector(event_types, database)
    await apply(projector, await read(connection, 10))
    assert await row(connection) == (10, 1)
    assert await connection.execute(RECIPE) == "UPDATE 1"
    assert await row(connection) == (100, 2)
    await apply(projector, await read(connection, events))
    assert await row(connection) == (100 + events, 3)
    await apply(projector, await read(connection, 1))
    assert await row(connection) == (101 + events, 4)
