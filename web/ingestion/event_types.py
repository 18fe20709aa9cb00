"""`GET /api/v1/event-types`: the known event types, each with the JSON Schema of its `data`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from headrace.events.known_types import KnownType
from web.server.problems import Problem

PATH = "/api/v1/event-types"
SCHEMA_TYPE = "application/schema+json"


class EventTypesAnswer(msgspec.Struct):
    """The known event types, in order of their names."""

    items: list[KnownType]


class EventTypeViews:
    """Serves the known event types; the answers are encoded once, when the worker starts."""

    def __init__(self, known: Mapping[str, KnownType]) -> None:
        self._all = msgspec.json.encode(EventTypesAnswer(list(known.values())))
        self._schemas = {name: msgspec.json.encode(one.schema) for name, one in known.items()}

    def routes(self) -> list[web.RouteDef]:
        """The list, and the schema of each."""
        return [web.get(PATH, self.all), web.get(PATH + "/{type:(?s:.+)}", self.one)]

    async def all(self, _: web.Request) -> web.Response:
        """Every known type with its schema."""
        return web.Response(body=self._all, content_type="application/json")

    async def one(self, request: web.Request) -> web.Response:
        """The schema of one type, as a document that `dataschema` can refer to."""
        schema = self._schemas.get(request.match_info["type"])
        if schema is None:
            detail = f"No projection handles this type; {PATH} lists the known types."
            raise Problem(404, "event_type_not_found", "Event type not found", detail)
        return web.Response(body=schema, content_type=SCHEMA_TYPE)
