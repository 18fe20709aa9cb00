"""Nothing that a client posts holds the event loop."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from headrace.events.envelope import Limits
from headrace.events.known_types import EventTypes
from headrace.projection import Event, Projection
from tables.database import Database
from tables.intake.group_commit import GroupCommit
from web.ingestion.door import Door
from web.requests.zstd import zstd
from web.server.health import Health
from web.server.server import HttpServer, make_application

from tests.support.loop_lag import MOST_LAG_SECONDS, LoopLag
from tests.support.servers.fresh import free_port

pytestmark = pytest.mark.alone

ATTEMPTS = 3
MB = 1024 * 1024
GZIP = {"Content-Encoding": "gzip"}
START = b'{"specversion":"1.0","id":"x","source":"s","type":"t","data":'
TWENTY_ERRORS = json.dumps({**{f"A{i}": 1 for i in range(20)}, "specversion": "1.0", "id": "", "source": ""}).encode()
KEYS = b"{" + b",".join(b'"k%d":1' % i for i in range(900)) + b',"bad":"' + b"x" * 900_000 + b'"}'


def array(element: bytes, times: int) -> bytes:
    return b"[" + b",".join([element] * times) + b"]"


INPUTS = {
    "empty arrays": array(b"[]", 2_700_000),
    "empty strings": array(b'""', 2_700_000),
    "5,000 empty arrays": array(b"[]", 5_000),
    "20 errors in each event": array(TWENTY_ERRORS, 5_000),
    "nested too deep, often": array(START + b"[" * 65 + b"]" * 65 + b"}", 5_000),
    "wide, and nested too deep": array(START + b"[" + b"[]," * 300_000 + b"[" * 65 + b"]" * 65 + b"]}", 8),
    "wide": array(START + b"[" + b'{"a":1e9},' * 90_000 + b"[]]}", 8),
    "only opened": b"[" * (8 * MB),
    "a name twice": array(START + b"[" + b"1," * 450_000 + b'1],"id":"y"}', 8),
    "escapes": array(START + b'"' + b"\\u00e9" * 160_000 + b'\\u0000"}', 8),
    "numbers": array(START + b"[" + b",".join([b"1e000009"] * 100_000) + b"]}", 8),
    "a member of the wrong type among many": START.replace(b'"t"', b'"counted"') + KEYS + b"}",
    "members of the wrong type": array(START.replace(b'"t"', b'"counted"') + b'{"a":1,"b":2,"c":""}}', 5_000),
}


class Counts(msgspec.Struct):
    total: int


COUNTS: Projection[Counts] = Projection("counts", state=Counts, key=lambda event: event.type, description="Numbers.")


@COUNTS.on("counted", dict[str, int])
def counted(known: Counts | None, _: Event[dict[str, int]]) -> Counts:
    return Counts(1 if known is None else known.total + 1)


@asynccontextmanager
async def opened_door(database: Database, limits: Limits) -> AsyncIterator[str]:
    """The address of a door."""
    group_commit = GroupCommit(database, max_queued_events=20_000, committed=lambda: None)
    opened = Door(group_commit, EventTypes([COUNTS]), limits)
    port = free_port()
    application = make_application(opened.routes(), 8 * MB)
    server = HttpServer(
        application, "127.0.0.1", port, Health(needs={}), service="INGESTION", hot_paths=[opened.hot_path()]
    )
    await server.on_start()
    yield f"http://127.0.0.1:{port}/api/v1/events"
    await server.drain()


@pytest.fixture
async def door(database: Database) -> AsyncIterator[str]:
    """A door with the limits of a worker."""
    async with opened_door(database, Limits()) as address:
        yield address


async def post(door: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body of the answer, which is not parsed: that would hold the same loop."""
    async with (
        aiohttp.ClientSession() as client,
        client.post(door, data=io.BytesIO(body), headers={"Content-Type": "application/json", **headers}) as response,
    ):
        return response.status, await response.read()


@pytest.mark.parametrize("name", INPUTS)
async def test_no_post_holds_the_loop(door: str, name: str) -> None:
    body = INPUTS[name]
    lags: list[LoopLag] = []
    for _ in range(ATTEMPTS):
        lag = LoopLag()
        status, _ = await post(door, body, {})
        assert status in {202, 207, 400, 413, 422}
        lags.append(lag.end())
        if lag.all < MOST_LAG_SECONDS:
            break
    assert min(lag.own for lag in lags) < MOST_LAG_SECONDS
    assert min(lag.all for lag in lags) < MOST_LAG_SECONDS


@pytest.mark.parametrize("name", ["empty arrays", "wide, and nested too deep", "numbers"])
async def test_a_few_bytes_that_become_many_do_not_hold_the_loop(door: str, name: str) -> None:
    lag = LoopLag()
    status, _ = await post(door, gzip.compress(INPUTS[name]), GZIP)
    assert status in {400, 413, 422}
    assert lag.end().own < MOST_LAG_SECONDS


async def test_what_only_a_bomb_is_packed_like_is_refused(door: str) -> None:
    status, answer = await post(door, zstd.compress(b"[]" * 2_000_000), {"Content-Encoding": "zstd"})
    assert (status, json.loads(answer)["code"]) == (413, "packed_too_well")


async def test_an_answer_to_many_wrong_events_stays_small(door: str) -> None:
    status, text = await post(door, INPUTS["20 errors in each event"], {})
    answer = json.loads(text)
    assert (status, answer["rejected"]) == (422, 5_000)
    first, last = answer["results"][0]["error"], answer["results"][-1]["error"]
    assert (last["status"], last["code"]) == (first["status"], first["code"])
    assert len(first["errors"]) == 20
    assert "errors" not in last
    assert len(text) < MB * 1.5


async def test_a_good_event_after_many_wrong_ones_is_kept(door: str) -> None:
    good = START.replace(b'"t"', b'"good"') + b"1}"
    _, text = await post(door, b"[" + b"[]," * 300 + good + b"]", {})
    answer = json.loads(text)
    assert (answer["accepted"], answer["rejected"]) == (1, 300)
    assert answer["results"][300]["status"] == "accepted"
    assert {one["error"]["code"] for one in answer["results"][:300]} == {"not_an_object"}


async def test_a_batch_of_twice_the_usual_limit_does_not_hold_the_loop(database: Database) -> None:
    lags: list[LoopLag] = []
    async with opened_door(database, Limits(batch_events=10_000)) as door:
        for attempt in range(ATTEMPTS):
            good = [START.replace(b'"x"', b'"%d-%d"' % (attempt, n)) + b"1}" for n in range(10_000)]
            body = b"[" + b",".join(good) + b"]"
            lags.append(LoopLag())
            status, answer = await post(door, body, {})
            lags[-1].end()
            assert (status, json.loads(answer)["accepted"]) == (202, len(good))
    assert min(lag.own for lag in lags) < MOST_LAG_SECONDS
