"""A reader of server-sent events, by the letter of the HTML standard."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, NamedTuple

from aiohttp import ClientResponse

from tests.support.clients.query_client import Client

SECONDS = 20.0


class Told(NamedTuple):
    """A dispatched event."""

    id: str
    kind: str
    data: Any


class EventStream:
    """`async with EventStream(client, address) as stream`; reconnect with another one and `last_id`."""

    def __init__(self, client: Client, address: str, last_id: str | None = None) -> None:
        self._client = client
        self._address = address
        self.last_id = last_id or ""
        self._response: ClientResponse

    async def __aenter__(self) -> EventStream:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        self._response = await self._client.get(self._address, headers=headers)
        assert self._response.status == 200, await self._response.text()
        assert self._response.headers["Content-Type"] == "text/event-stream"
        async with asyncio.timeout(SECONDS):
            await self._block()  # what the stream begins with: a point
        assert self.last_id
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()

    async def take(self, how_many: int = 1) -> list[Told]:
        """The next events; AssertionError when they do not come."""
        taken: list[Told] = []
        try:
            async with asyncio.timeout(SECONDS):
                while len(taken) < how_many:
                    if (told := await self._block()) is not None:
                        taken.append(told)
        except TimeoutError:
            raise AssertionError(f"{how_many} events were expected, and came: {taken}") from None
        return taken

    async def follow(self, rows: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
        """Apply events to `rows` until they are `states`."""
        try:
            async with asyncio.timeout(SECONDS):
                while rows != states:
                    if (told := await self._block()) is not None:
                        apply_to(rows, told)
        except TimeoutError:
            raise AssertionError(f"{states} was expected, and came: {rows}") from None
        return rows

    async def end(self) -> None:
        """Return when the server ends the stream."""
        async with asyncio.timeout(SECONDS):
            while await self._response.content.readline():
                pass

    async def comment(self) -> None:
        """Return at the next block that is no event."""
        async with asyncio.timeout(SECONDS):
            while await self._block() is not None:
                pass

    async def _block(self) -> Told | None:
        kind, data = "message", []
        while line := (await self._response.content.readline()).decode():
            text = line.rstrip("\n")
            if not text:
                break
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
        else:
            raise ConnectionError("the stream has ended")
        return Told(self.last_id, kind, json.loads("\n".join(data))) if data else None


def apply_to(rows: dict[str, Any], told: Told) -> None:
    """What a client does with an event."""
    assert told.kind in {"message", "deleted"}, told
    if told.kind == "deleted":
        rows.pop(told.data["key"], None)
    else:
        rows[told.data["key"]] = told.data["state"]
