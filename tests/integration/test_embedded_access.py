"""Nobody reads or writes at the embedded servers without what only their owner can read."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from agents.kafka.access import KafkaAccess
from agents.kafka.topic import ensure_topic, find_topic
from app.embedded.kafka import login
from app.embedded.kafka.broker import answering_cluster, launch, server
from app.embedded.kafka.class_path import provide
from app.embedded.kafka.files import format_data, settings_of, write_settings
from app.embedded.processes import is_alive, wait_until_gone

from tests.support.servers.embedded_place import ROOT, Place, new_place
from tests.support.servers.fresh import free_port
from tests.support.servers.own_kafka import OPEN
from tests.support.waiting import until

SECONDS = 60.0
NOBODY = 65_534
PRIVATE = ("password", "client.properties", "server.properties")
INTRUDER = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from aiokafka import AIOKafkaProducer

folder, port = Path(sys.argv[1]), int(sys.argv[2])
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})

def tries():
    for file in ("kafka/password", "kafka/client.properties", "kafka/server.properties", "kafka/data"):
        yield file, lambda file=file: os.open(folder / file, os.O_RDONLY)
    yield "list", lambda: os.listdir(folder)
    yield "postgres", lambda: asyncio.run(asyncpg.connect(host=str(folder / "postgres"), user="headrace", timeout=5))
    yield "kafka", lambda: asyncio.run(write())

async def write():
    async with AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=3000) as producer:
        await asyncio.wait_for(producer.send_and_wait("events", b"{}"), 3)

for what, attempt in tries():
    try:
        attempt()
    except Exception as error:
        print(what, "refused", type(error).__name__)
    else:
        print(what, "OPEN")
"""


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with new_place() as made:
        yield made


def controller_port(place: Place) -> int:
    found = login._CONTROLLER_PORT.search(settings_of(place.folder / "kafka"))
    assert found is not None
    return int(found["port"])


async def is_let_in(port: int) -> bool:
    """Whether a client without a login gets an answer."""
    try:
        async with asyncio.timeout(SECONDS):
            connection = await create_conn("127.0.0.1", port)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (KafkaError, OSError):
        return False
    return True


async def test_only_who_reads_the_password_uses_the_embedded_kafka(place: Place) -> None:
    servers = place.servers()
    try:
        await servers.start_kafka()
        assert await ensure_topic(place.access, "events", partitions=2) == 2
        for port in (place.port, controller_port(place)):
            assert not await is_let_in(port)
        other = KafkaAccess(place.bootstrap, mechanism=login.MECHANISM, user=login.USER, password="x" * 64)
        with pytest.raises(KafkaError, match="refuses the user"):
            await find_topic(other, "events")
        for name in PRIVATE:
            assert stat.S_IMODE((place.folder / "kafka" / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((place.folder / "kafka").stat().st_mode) == 0o700
    finally:
        await servers.stop()


async def test_a_lost_password_is_replaced(place: Place) -> None:
    servers, others = place.servers(), place.servers()
    try:
        await servers.start_kafka()
        await ensure_topic(place.access, "events", partitions=2)
        (place.folder / "kafka" / "password").unlink()
        await others.start_kafka()
        assert (await find_topic(place.access, "events")).partitions == 2
    finally:
        await servers.stop()
        await others.stop()


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_folder_of_an_earlier_version_gets_a_password(place: Place, is_running: bool) -> None:
    folder = place.folder / "kafka"
    folder.mkdir(parents=True)
    class_path = await asyncio.to_thread(provide, place.folder / "jars")
    write_settings(folder, port=place.port, controller_port=free_port(), security=OPEN)
    await asyncio.to_thread(format_data, folder, class_path)
    launch(folder, class_path)

    async def answers() -> bool:
        return await answering_cluster(place.port) is not None

    await until(answers, SECONDS)
    await ensure_topic(KafkaAccess(place.bootstrap), "events", partitions=3)
    old = server(folder)
    if not is_running:
        assert old is not None
        old.terminate()
        assert await wait_until_gone([old], SECONDS)
    servers = place.servers()
    try:
        await servers.start_kafka()
        assert not is_alive(old)
        assert not await is_let_in(place.port)
        assert (await find_topic(place.access, "events")).partitions == 3
    finally:
        await servers.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
async def test_another_user_of_the_machine_reads_and_writes_nothing(place: Place, tmp_path: Path) -> None:
    servers = place.servers()
    try:
        await asyncio.gather(servers.start_postgres(), servers.start_kafka())
        await ensure_topic(place.access, "events", partitions=1)
        script = place.folder / "intruder.py"
        script.write_text(INTRUDER.replace("{nobody}", str(NOBODY)))
        script.chmod(0o644)
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(script), str(place.folder), str(place.port)],
            cwd=ROOT,
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        found = [line.split() for line in ended.stdout.splitlines()]
        assert len(found) == 7, ended.stderr
        assert [line for line in found if line[1] != "refused"] == []
        assert ["postgres", "refused", "PermissionError"] in found
    finally:
        await servers.stop()
