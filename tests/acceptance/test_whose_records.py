"""Whatever is on the topic and however the database was moved: projections are the fold of the event store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from headrace.events.origin import ORIGIN, Installation, sign

from tests.acceptance.test_verify_command import verify
from tests.support.clients import foreign_producer
from tests.support.servers.fresh import free_port, new_database
from tests.support.servers.moved_database import become_another, copied, dropped, put_back
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope, running
from tests.support.servers.tcp_proxy import TcpProxy
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

SECONDS = 60.0
SOURCE = "/tests/whose"
STORED = "SELECT count(*) FROM event_store"
LAST = "SELECT last_position FROM relay_state"
COUNTED = "SELECT sum((state->>'count')::bigint) FROM projections WHERE projection = 'event_types'"


@pytest.fixture
def settings(database_dsn: str, kafka: str, topic: str) -> dict[str, str]:
    return {
        "DATABASE_URL": database_dsn,
        "BROKER_URL": kafka,
        "TOPIC": topic,
        "CONSUMER_GROUP": topic,
        "TOPIC_PARTITIONS": "2",
    }


@pytest.fixture
async def copies(database_dsn: str) -> AsyncIterator[list[str]]:
    made: list[str] = []
    yield made
    for copy in made:
        await dropped(copy)


@pytest.fixture
def other_dsn(postgres_dsn: str) -> Iterator[str]:
    with new_database(postgres_dsn) as dsn:
        yield dsn


@asynccontextmanager
async def system(folder: Path, settings: dict[str, str], **others: str) -> AsyncIterator[System]:
    async with running(folder, **{**settings, **others}) as worker:
        servers = settings["BROKER_URL"].removeprefix("kafka://")
        yield System(worker, settings["DATABASE_URL"], servers, settings["TOPIC"])


async def ask(dsn: str, query: str) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def post(at: System, count: int, *, source: str = SOURCE) -> None:
    """Each is answered when all projections have applied it."""
    for number in range(count):
        answer = await at.post(envelope(source, subject=f"s{number % 7}"), {**STRUCTURED, **WAIT})
        assert answer.status == 201, answer


async def is_the_fold(settings: dict[str, str], *kinds: str) -> None:
    """What verify finds is only this."""
    code, out, err = await asyncio.to_thread(verify, settings, "--json")
    report = json.loads(out)
    assert {one["kind"] for one in report["differences"]} == set(kinds), out + err
    assert code == (1 if kinds else 0)


def foreign(position: int, *, event_type: str = "phantom") -> bytes:
    members = {"type": event_type, "time": "2026-11-22T08:00:00Z", "subject": "s1", "sequence": f"{position:020d}"}
    return json.dumps(envelope("/strangers") | members).encode()


async def test_well_formed_records_of_others_change_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    stranger = Installation(b"stranger", b"x" * 32)
    async with system(tmp_path, settings, TOPIC_PARTITIONS="1") as at:
        await post(at, 5)
        last = await ask(at.dsn, LAST)
        values = [foreign(position) for position in (1, last, last + 1, last + 2, last + 1_000, 2**63 - 1)]
        ours = Installation(await ask(at.dsn, "SELECT id FROM installation"), b"y" * 32)
        epoch = await ask(at.dsn, "SELECT epoch FROM relay_state")
        for value in values:
            origins = [None, b"\1", *(sign(one, epoch, 0, last, value) for one in (stranger, ours))]
            headers: list[list[tuple[str, bytes | None]]] = [[], *([(ORIGIN, origin)] for origin in origins)]
            await foreign_producer.write(at.bootstrap_servers, at.topic, [(value, one) for one in headers])
        await post(at, 5)
        log = at.worker.log.read_text()
        assert f"installation {stranger.id.hex()} wrote it" in log
        metrics = (await at.get("/metrics")).body.decode()
        assert 'headrace_records_passed_over_total{reason="foreign"} 6.0' in metrics
        assert 'headrace_records_passed_over_total{reason="forged"} 6.0' in metrics
        assert 'headrace_records_passed_over_total{reason="unsigned"} 18.0' in metrics
    async with system(tmp_path, settings) as at:
        await post(at, 1)
    assert await ask(at.dsn, COUNTED) == 11
    assert await ask(at.dsn, STORED) == 11
    assert not await ask(at.dsn, "SELECT count(*) FROM projections WHERE key = 'phantom'")


async def test_two_installations_on_one_topic_and_group_lack_nothing_and_get_nothing_of_each_other(
    tmp_path: Path, settings: dict[str, str], other_dsn: str
) -> None:
    await become_another(other_dsn)
    others = {**settings, "DATABASE_URL": other_dsn}
    async with system(tmp_path, settings) as one, system(tmp_path, others) as two:
        await asyncio.gather(post(one, 8, source="/one"), post(two, 6, source="/two"))
        assert "CONSUMER_GROUP" in one.worker.log.read_text() + two.worker.log.read_text()
    for at, count in ((settings, 8), (others, 6)):
        await is_the_fold(at)
        assert await ask(at["DATABASE_URL"], COUNTED) == await ask(at["DATABASE_URL"], STORED) == count


async def test_an_empty_database_under_a_used_topic_gets_nothing_of_the_topic(
    tmp_path: Path, settings: dict[str, str], other_dsn: str
) -> None:
    await become_another(other_dsn)
    async with system(tmp_path, settings) as at:
        await post(at, 20)
    empty = {**settings, "DATABASE_URL": other_dsn}
    async with system(tmp_path, empty) as at:
        await post(at, 5)
    await is_the_fold(empty)
    assert await ask(other_dsn, COUNTED) == 5


async def test_a_restored_database_under_a_newer_topic_says_what_is_lost(
    tmp_path: Path, settings: dict[str, str], copies: list[str]
) -> None:
    dsn = settings["DATABASE_URL"]
    async with system(tmp_path, settings) as at:
        await post(at, 10)
    copies.append(await copied(dsn))
    async with system(tmp_path, settings) as at:
        await post(at, 20)
    await put_back(dsn, copies[0])
    await is_the_fold(settings, "topic_lost_tail")
    for first in (True, False):
        async with system(tmp_path, settings) as at:
            await post(at, 5)
            assert at.worker.log.read_text().count("The topic is ahead of the event store") == (2 if first else 0)
            verbose = (await at.door("/readyz?verbose")).json
            assert verbose["lost_events"][0]["after_position"] == 10
    await is_the_fold(settings, "topic_lost_tail")
    assert await ask(dsn, COUNTED) == await ask(dsn, STORED) == 20


async def test_a_database_that_steps_back_under_a_living_worker(
    tmp_path: Path, settings: dict[str, str], copies: list[str]
) -> None:
    dsn = settings["DATABASE_URL"]
    async with system(tmp_path, settings) as at:
        await post(at, 10)
    copies.append(await copied(dsn))
    host = urlsplit(dsn).query.split("host=")[1].split("&")[0]
    proxy = TcpProxy(free_port(), f"{host}/.s.PGSQL.5432")
    await proxy.start()
    worker = WorkerProcess(tmp_path, **settings)
    through = f"postgresql://{urlsplit(dsn).username}@127.0.0.1:{proxy.port}{urlsplit(dsn).path}"
    worker.set(DATABASE_URL=through)
    try:
        worker.start()
        await worker.ready()
        at = System(worker, dsn, settings["BROKER_URL"].removeprefix("kafka://"), settings["TOPIC"])
        await post(at, 20)
        proxy.refuse(refuse=True)
        proxy.reset()
        await put_back(dsn, copies[0])
        proxy.refuse(refuse=False)
        await until_ready(at)
        await post(at, 30)
        assert "The topic is ahead of the event store" in worker.log.read_text()
    finally:
        worker.kill()
        await proxy.stop()
    await is_the_fold(settings, "topic_lost_tail")
    assert await ask(dsn, COUNTED) == await ask(dsn, STORED) == 40


async def until_ready(at: System) -> None:
    async def is_ready() -> bool:
        return (await at.door("/readyz")).status == 200

    await until(is_ready, SECONDS)


async def test_a_copy_of_the_database_that_is_in_use_too_changes_nothing(
    tmp_path: Path, settings: dict[str, str], copies: list[str]
) -> None:
    async with system(tmp_path, settings) as at:
        await post(at, 5)
    copies.append(await copied(settings["DATABASE_URL"]))
    staging = {**settings, "DATABASE_URL": copies[0]}
    async with system(tmp_path, settings) as one, system(tmp_path, staging) as two:
        await asyncio.gather(post(one, 4, source="/one"), post(two, 3, source="/two"))
    for at_one, count in ((settings, 9), (staging, 8)):
        assert await ask(at_one["DATABASE_URL"], COUNTED) == await ask(at_one["DATABASE_URL"], STORED) == count


async def test_records_of_earlier_versions_are_read_from_the_store(tmp_path: Path, settings: dict[str, str]) -> None:
    """As during an upgrade: a relay of before is active, and events come without their origin."""
    async with system(tmp_path, settings) as at:
        await post(at, 3)
    async with system(tmp_path, settings, SERVICES="event_handler,query") as at:
        connection = await asyncpg.connect(settings["DATABASE_URL"])
        try:
            await _store_as_before(connection, at)
        finally:
            await connection.close()

        async def applied() -> bool:
            return bool(await ask(at.dsn, COUNTED) == 4)

        await until(applied, SECONDS)


async def _store_as_before(connection: Any, at: System) -> None:
    event = envelope(SOURCE, subject="s1", time="2026-11-22T08:00:00Z")
    await connection.execute(
        "WITH counter AS (UPDATE relay_state SET last_position = 4), partitions AS (UPDATE topic_partitions SET "
        "last_position = 4 WHERE partition = 0) INSERT INTO event_store "
        "(position, id, source, event_type, subject, event_time, received_at, partition, event) "
        "VALUES (4, $1, $2, 'tested', 's1', now(), now(), 0, $3)",
        event["id"],
        SOURCE,
        json.dumps(event),
    )
    value = json.dumps(event | {"sequence": f"{4:020d}"}).encode()
    await foreign_producer.write(at.bootstrap_servers, at.topic, [(value, [])])
