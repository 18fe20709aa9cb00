"""`Content-Encoding: gzip` and `zstd` are accepted: events that come packed, on a real server."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest

from tables.database import Database, Pool
from web.requests.zstd import zstd

from tests.support.doors.open_door import MAX_BODY_BYTES, OpenDoor, open_door

EVENT = json.dumps({"specversion": "1.0", "id": "1", "source": "/tests", "type": "tested", "data": 1.50}).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstd.compress, "x-gzip": gzip.compress}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


@pytest.mark.parametrize("coding", PACK)
async def test_gzip_and_zstd_are_accepted(door: OpenDoor, pool: Pool, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding.upper()}
    assert (await door.post(PACK[coding](EVENT), headers))[0] == 202
    assert '"data": 1.5' in await pool.fetchval("SELECT event::text FROM outbox")
    binary = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/s", "ce-type": "t", "Content-Type": "a/b"}
    assert (await door.post(PACK[coding](b"x"), {**binary, "Content-Encoding": coding}))[0] == 202
    assert await pool.fetchval("SELECT event->>'data_base64' FROM outbox WHERE id = '2'") == "eA=="


@pytest.mark.parametrize("coding", PACK)
async def test_what_is_too_large_unpacked_or_not_packed_at_all(door: OpenDoor, pool: Pool, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    status, answer, _ = await door.post(PACK[coding](b" " * 20 * MAX_BODY_BYTES), headers)
    assert (status, answer["code"]) == (413, "too_large")
    for wrong in (EVENT, PACK[coding](EVENT)[:-3], b""):
        status, answer, _ = await door.post(wrong, headers)
        assert (status, answer["code"]) == (400, "unreadable_body")
    assert await pool.fetchval("SELECT count(*) FROM outbox") == 0


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "zstd, gzip", "nonsense"])
async def test_another_coding_is_told_which_there_are(door: OpenDoor, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    status, answer, response = await door.post(EVENT, headers)
    assert (status, answer["code"]) == (415, "unsupported_encoding")
    assert response.headers["Accept-Encoding"] == "gzip, zstd"
