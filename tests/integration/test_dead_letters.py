"""Dead letters over HTTP and by command; what the table keeps and gives up."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tables.database import Connection, Database
from tables.intake import dead_letters
from tables.intake.dead_letters import MAX_PAYLOAD_BYTES, RefusedMessage
from web.query.dead_letters import dead_letter_routes
from web.server.problems import problems

from tests.support.servers.command_line import command

ROOT = Path(__file__).parents[2]


def letter(number: int, payload: bytes = b"hello") -> RefusedMessage:
    return RefusedMessage(f"devices/d{number}/events", payload, "malformed_json", ": is not JSON", '{"status":400}')


async def get(database: Database, query: str = "") -> tuple[int, dict[str, Any]]:
    application = web.Application(middlewares=[problems])
    application.add_routes(dead_letter_routes(database))
    async with TestClient(TestServer(application)) as client, client.get(f"/api/v1/dead-letters{query}") as answer:
        return answer.status, json.loads(await answer.text())


async def test_the_newest_come_first_page_by_page(database: Database, connection: Connection) -> None:
    await dead_letters.store(connection, [letter(number) for number in range(5)])
    status, page = await get(database, "?limit=3")
    assert (status, [one["topic"] for one in page["items"]]) == (200, [f"devices/d{n}/events" for n in (4, 3, 2)])
    first = page["items"][0]
    assert (base64.b64decode(first["payload"]), first["payload_bytes"], first["times"]) == (b"hello", 5, 1)
    assert first["problem"] == {"status": 400}
    _, rest = await get(database, f"?limit=3&cursor={page['next_cursor']}")
    assert [one["topic"] for one in rest["items"]] == ["devices/d1/events", "devices/d0/events"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?cursor=x", "?topic=a", "?limit=1&limit=2"])
async def test_a_query_that_is_wrong_is_a_problem(database: Database, query: str) -> None:
    status, answer = await get(database, query)
    assert (status, answer["code"]) == (400, "invalid_query")


async def test_a_large_payload_is_cut_and_the_oldest_letters_go(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_LETTERS", 3)
    for number in range(5):
        await dead_letters.store(connection, [letter(number, b"x" * (MAX_PAYLOAD_BYTES + number))])
    kept, _ = await dead_letters.newest(connection, at_most=10)
    assert [one.topic for one in kept] == [f"devices/d{n}/events" for n in (4, 3, 2)]
    assert {len(one.payload) for one in kept} == {MAX_PAYLOAD_BYTES}
    assert kept[0].payload_bytes == MAX_PAYLOAD_BYTES + 4


async def test_repeated_letters_do_not_count_against_the_others(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_LETTERS", 10)
    for number in range(5):
        await dead_letters.store(connection, [letter(number)])
    for _ in range(30):
        await dead_letters.store(connection, [letter(0), letter(0)])
    await dead_letters.store(connection, [letter(5), letter(0)])
    kept, _ = await dead_letters.newest(connection, at_most=100)
    assert sorted(one.topic for one in kept) == [f"devices/d{number}/events" for number in range(6)]
    assert {one.topic: one.times for one in kept}["devices/d0/events"] == 62
    await dead_letters.store(connection, [letter(number) for number in range(6, 12)])
    kept, _ = await dead_letters.newest(connection, at_most=100)
    assert [one.topic for one in kept] == [f"devices/d{number}/events" for number in range(11, 1, -1)]


async def test_the_command_lists_them(database_dsn: str, connection: Connection) -> None:
    await dead_letters.store(connection, [letter(1), letter(1)])
    settings = {"PATH": "/usr/bin:/bin", "DATABASE_URL": database_dsn, "PYTHONWARNINGS": "ignore"}
    listed = await asyncio.to_thread(command, "parked", "list", "--dead-letters", settings=settings)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.startswith("1: devices/d1/events, 5 bytes, received 2 times, last at ")
    assert "malformed_json: : is not JSON" in listed.stdout
