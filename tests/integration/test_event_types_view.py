"""`GET /api/v1/event-types`, as it is served."""

from __future__ import annotations

import json

import jsonschema
import msgspec

from headrace.events.known_types import DIALECT
from headrace.projection import Projection
from tables.database import Database

from tests.support.doors.open_door import open_door


class Opened(msgspec.Struct):
    by: str


doors: Projection[Opened] = Projection("doors", state=Opened, key=lambda event: event.id, description="")
doors.on("door/opened é", Opened)(lambda state, event: state)


async def test_event_types_have_a_schema_each_in_the_list_and_one_by_one(database: Database) -> None:
    async with open_door(database) as door:
        async with door.client.get("/api/v1/event-types") as response:
            assert (response.status, response.content_type) == (200, "application/json")
            items = (await response.json())["items"]
        assert [one["type"] for one in items] == ["device.registered", "device.retired", "reading.recorded"]
        for one in items:
            async with door.client.get(f"/api/v1/event-types/{one['type']}") as response:
                assert (response.status, response.content_type) == (200, "application/schema+json")
                schema = json.loads(await response.read())
            assert schema == one["schema"]
            assert schema["$schema"] == DIALECT
            jsonschema.Draft202012Validator.check_schema(schema)
        async with door.client.get("/api/v1/event-types/device.renamed") as response:
            assert (response.status, (await response.json())["code"]) == (404, "event_type_not_found")


async def test_a_type_may_have_any_name(database: Database) -> None:
    async with (
        open_door(database, projections=[doors]) as door,
        door.client.get("/api/v1/event-types/door%2Fopened%20%C3%A9") as response,
    ):
        assert response.status == 200
        assert (await response.json(content_type=None))["$defs"]["Opened"]["required"] == ["by"]
