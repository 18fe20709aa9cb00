"""The drills of docs/restore.md: a database restored from an older copy, under the same topic, a new topic, and
another broker. The senders send everything again, as the page says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.test_verify_command import verify
from tests.support.servers.fresh import free_port, new_topic, server_folder
from tests.support.servers.moved_database import copied, dropped, put_back
from tests.support.servers.own_kafka import OwnKafka
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running

SOURCE = "/tests/drills"
COUNTED = "SELECT sum((state->>'count')::bigint) FROM projections WHERE projection = 'event_types'"
AHEAD = "The topic is ahead of the event store"


class Drill:
    """An installation whose database is older than its topic."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.settings = settings
        self.sent: list[dict[str, Any]] = []
        self._folder = folder
        self._copy = ""

    async def prepare(self) -> None:
        """Make a copy after some events, go on, and put the copy in the place of the database."""
        dsn = self.settings["DATABASE_URL"]
        await self.send(12)
        self._copy = await copied(dsn)
        await self.send(15)
        await put_back(dsn, self._copy)

    async def clean_up(self) -> None:
        if self._copy:
            await dropped(self._copy)

    async def send(self, count: int, *, everything_again: bool = False) -> str:
        """Start a worker, and send events until each is applied; return its log."""
        new = [envelope(SOURCE, subject=f"s{number % 9}") for number in range(count)]
        self.sent += new
        async with running(self._folder, **self.settings) as worker:
            at = System(worker, self.settings["DATABASE_URL"], "", self.settings["TOPIC"])
            for event in self.sent if everything_again else new:
                answer = await at.post(event, {**STRUCTURED, **WAIT})
                assert answer.status == 201, answer
            return worker.log.read_text()

    async def verified(self) -> dict[str, int]:
        """By kind, how often `verify` finds a difference."""
        code, out, err = await asyncio.to_thread(verify, self.settings, "--json")
        found = {one["kind"]: one["count"] for one in json.loads(out)["differences"]}
        assert code == (1 if found else 0), out + err
        return found

    async def counted(self) -> int:
        """The events that a projection has applied."""
        connection = await asyncpg.connect(self.settings["DATABASE_URL"])
        try:
            return int(await connection.fetchval(COUNTED))
        finally:
            await connection.close()


@pytest.fixture
async def drill(tmp_path: Path, database_dsn: str, kafka: str, topic: str) -> AsyncIterator[Drill]:
    settings = {"DATABASE_URL": database_dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    made = Drill(tmp_path, settings)
    await made.prepare()
    yield made
    await made.clean_up()


@pytest.fixture
async def other_broker() -> AsyncIterator[str]:
    with server_folder() as folder:
        broker = OwnKafka(folder, proxy_port=free_port())
        broker.proxy_port = broker.port
        await broker.start()
        yield broker.url
        await broker.stop()


async def test_under_the_same_topic(drill: Drill) -> None:
    assert AHEAD in await drill.send(3)
    assert await drill.verified() == {"topic_lost_tail": 15}
    await drill.send(0, everything_again=True)
    assert await drill.verified() == {}
    assert await drill.counted() == len(drill.sent) == 30


async def test_under_a_new_topic(drill: Drill) -> None:
    drill.settings |= {"TOPIC": (topic := new_topic()), "CONSUMER_GROUP": topic}
    assert AHEAD not in await drill.send(3, everything_again=True)
    assert await drill.verified() == {}
    assert await drill.counted() == len(drill.sent) == 30


async def test_with_another_broker(drill: Drill, other_broker: str) -> None:
    drill.settings |= {"BROKER_URL": other_broker}
    assert AHEAD not in await drill.send(3, everything_again=True)
    assert await drill.verified() == {}
    assert await drill.counted() == len(drill.sent) == 30
