"""A client that waits for `100 Continue` is refused without it where its body is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tables.database import Database

from tests.support.clients.raw_http import Answer, Client
from tests.support.doors.open_door import OpenDoor, open_door

EVENT = b'{"specversion":"1.0","id":"1","source":"/s","type":"t"}'
TYPE = b"Content-Type: application/cloudevents+json\r\n"


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


@pytest.fixture
async def client(door: OpenDoor) -> AsyncIterator[Client]:
    opened = Client(*await asyncio.open_connection("127.0.0.1", door.port))
    yield opened
    opened.close()


def head(
    *more: bytes, method: bytes = b"POST", path: bytes = b"/api/v1/events", host: bytes = b"localhost", size: int = 0
) -> bytes:
    size = size or len(EVENT)
    return (
        method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n" % size + b"".join(more) + b"\r\n"
    )


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (head(b"Content-Type: text/plain\r\n"), 415),
        (head(TYPE, b"Content-Encoding: br\r\n"), 415),
        (head(TYPE, path=b"/nowhere"), 404),
        (head(TYPE, method=b"PUT"), 405),
        (head(TYPE, size=10**9), 413),
        (head(TYPE, host=b"evil.example"), 421),
        (head(TYPE, b"Origin: http://evil.example\r\n"), 403),
    ],
)
async def test_what_needs_no_body_is_refused_before_the_body_is_asked_for(
    client: Client, sent: bytes, status: int
) -> None:
    await client.send(sent)
    answer = Answer(await client.rest())  # the connection closes: nobody knows whether the body follows
    assert answer.status == status
    assert answer.problem()["status"] == status


async def test_a_body_that_is_read_is_asked_for_first(client: Client) -> None:
    for expected in (202, 200):
        await client.send(head(TYPE))
        assert await client.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(EVENT)
        assert (await client.answer()).status == expected
