"""JSONTestSuite and the Big List of Naughty Strings: what is taken is stored as it was sent, the rest is 4xx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

from tables.database import Database, Pool
from tables.intake import outbox

from tests.support.clients.foreign_tools import SECONDS, node_folder
from tests.support.doors.open_door import OpenDoor, open_door
from tests.support.program import output_of

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BINARY = {"ce-specversion": "1.0", "ce-source": "/corpus", "ce-type": "tested", "Content-Type": "application/json"}
# What the grammar allows and jsonb cannot hold.
NOT_STORABLE = {"nul_character", "lone_surrogate", "number_out_of_range", "too_deep"}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


@pytest.fixture
async def corpora() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await output_of("node", node_folder() / "corpora.js", seconds=SECONDS))
    return found


def exact(text: str | bytes) -> Any:
    """JSON with every digit of its numbers; -0 is 0."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


async def stored(pool: Pool) -> dict[str, Any]:
    """Every event of the store by its id, after what is in the outbox was stored as the relay stores it."""
    async with pool.acquire() as connection:
        while await outbox.store_next(connection, await published(pool), at_most=1_000, partitions=8):
            pass
        rows = await connection.fetch("SELECT id, event::text FROM event_store")
    return {row["id"]: exact(row["event"]) for row in rows}


async def published(pool: Pool) -> list[int]:
    return [row["seq"] for row in await pool.fetch("SELECT seq FROM outbox JOIN event_store USING (source, id)")]


async def test_json_test_suite(door: OpenDoor, pool: Pool, corpora: dict[str, Any]) -> None:
    taken: dict[str, Any] = {}
    assert len(corpora["parsing"]) > 300
    for case in corpora["parsing"]:
        name, text = case["name"], case["input"].encode("utf-8", "surrogatepass")
        head = json.dumps({"specversion": "1.0", "id": f"s-{name}", "source": "/corpus", "type": "tested"}).encode()
        posts = {
            f"s-{name}": (head[:-1] + b',"data":' + text + b"}", STRUCTURED),
            f"b-{name}": (text, {**BINARY, "ce-id": f"b-{name}"}),
        }
        for event_id, (body, headers) in posts.items():
            if not body:
                continue  # in binary mode this is an event without data
            status, answer, _ = await door.post(body, headers)
            assert status == 202 or 400 <= status < 500, (event_id, status)
            if status == 202:
                assert not name.startswith("n_"), event_id
                taken[event_id] = exact(text)
            elif name.startswith("y_"):
                assert answer["code"] in NOT_STORABLE, (event_id, answer)
    kept = await stored(pool)
    assert kept.keys() == taken.keys()
    for event_id, data in taken.items():
        assert kept[event_id]["data"] == data, event_id


async def test_the_big_list_of_naughty_strings(door: OpenDoor, pool: Pool, corpora: dict[str, Any]) -> None:
    sent: dict[str, str] = {}
    assert len(corpora["naughty"]) > 400
    for number, text in enumerate(corpora["naughty"]):
        members = {"specversion": "1.0", "source": "/corpus", "type": "tested"}
        as_data = json.dumps({**members, "id": f"data-{number}", "data": text}).encode()
        as_id = json.dumps({**members, "id": f"id-{number} {text}"}, ensure_ascii=False).encode()
        header = {**BINARY, "ce-id": f"header-{number}", "ce-subject": quote(text, safe="")}
        posts = {
            f"data-{number}": (as_data, STRUCTURED),
            f"id-{number} {text}": (as_id, STRUCTURED),
            f"header-{number}": (b"", header),
        }
        for event_id, (body, headers) in posts.items():
            status, answer, _ = await door.post(body, headers)
            assert status == 202 or 400 <= status < 500, (event_id, status)
            if status == 202:
                assert answer["id"] == event_id
                sent[event_id] = text
            else:
                assert not event_id.startswith("data-"), event_id
    kept = await stored(pool)
    assert kept.keys() == sent.keys()
    for event_id, text in sent.items():
        event = kept[event_id]
        assert text in {event.get("data"), event.get("subject"), event_id.partition(" ")[2]}, event_id
