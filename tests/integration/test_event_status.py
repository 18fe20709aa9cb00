"""`GET /api/v1/events/status`: received, stored, published, applied or parked, by projection; 404 if never seen."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from agents.projections.devices import devices
from agents.projections.event_types import event_types
from tables.database import Database, Pool
from tables.intake import outbox

from tests.support.doors.open_door import OpenDoor, open_door

JSON = {"Content-Type": "application/json"}
APPLY = "INSERT INTO progress (projection, partition, position) VALUES ($1, $2, 1)"

PARK = """
INSERT INTO parked (projection, position, key, key_is_known, error, attempts, tried_at)
VALUES ($1, 1, 'tested', true, 'planted', 1, now())
"""


async def story(door: OpenDoor, event_id: str = "1") -> tuple[int, dict[str, Any]]:
    async with door.client.get(f"/api/v1/events/status?source=%2Ftests&id={quote(event_id)}") as response:
        return response.status, await response.json(content_type=None)


async def test_an_event_s_story_from_received_to_applied_and_parked(database: Database, pool: Pool) -> None:
    async with open_door(database, projections=[devices, event_types]) as door:
        assert (await story(door))[0] == 404
        event = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "tested", "subject": "s"}
        await door.post(json.dumps(event).encode(), JSON)
        status, told = await story(door)
        assert (status, told["id"], told["source"]) == (200, "1", "/tests")
        assert told["received"]["at"].endswith("Z")
        assert (told["stored"], told["published"]) == (None, None)
        assert told["projections"] == {"devices": "waiting", "event_types": "waiting"}

        async with pool.acquire() as connection:
            (stored,) = await outbox.store_next(connection, [], at_most=10, partitions=8)
        _, told = await story(door)
        assert told["stored"]["position"] == 1
        assert told["published"] is None

        await pool.execute("DELETE FROM outbox WHERE seq = $1", stored.seq)
        await pool.execute(APPLY, "devices", stored.partition)
        _, told = await story(door)
        assert told["published"] == {"partition": stored.partition}
        assert told["projections"] == {"devices": "applied", "event_types": "waiting"}

        await pool.execute(APPLY, "event_types", stored.partition)
        await pool.execute(PARK, "event_types")
        _, told = await story(door)
        assert told["projections"] == {"devices": "applied", "event_types": "parked"}


async def test_an_event_that_was_never_seen(database: Database) -> None:
    async with open_door(database) as door:
        for strange in ("2", "\0", "a b/ü"):
            status, told = await story(door, strange)
            assert (status, told["code"]) == (404, "event_not_found")
