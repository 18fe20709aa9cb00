from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaClient, AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.embedded.processes import is_alive, running_in
from app.embedded.servers import EmbeddedServers
from app.errors import StartError

from conftest import free_port

ROOT = Path(__file__).parents[2]
RECORDS = 500
TEMPORARY = Path(tempfile.gettempdir()).resolve()
SHARER = """
import asyncio, sys
from pathlib import Path
from app.embedded.servers import EmbeddedServers

async def main():
    servers = EmbeddedServers(Path(sys.argv[1]), kafka_port=int(sys.argv[2]))
    await asyncio.gather(servers.start_postgres(), servers.start_kafka())
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await servers.stop()
    print("stopped", flush=True)

asyncio.run(main())
"""


class Place:
    """A data folder with a port, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"

    def servers(self) -> EmbeddedServers:
        return EmbeddedServers(self.folder, kafka_port=self.port)

    @property
    def postmaster(self) -> psutil.Process:
        pid = int((self.folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        return next(process for process in running_in(self.folder / "postgres", "postgres") if process.pid == pid)

    @property
    def broker(self) -> psutil.Process:
        (process,) = running_in(self.folder / "kafka", "java")
        return process

    @property
    def running(self) -> list[psutil.Process]:
        return running_in(self.folder / "postgres", "postgres") + running_in(self.folder / "kafka", "java")

    def sharer(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SHARER, str(self.folder), str(self.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def place() -> Iterator[Place]:
    """A folder whose path has spaces and letters beyond ASCII; what still runs there is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="head räce ") as name:
        place = Place(Path(name).resolve() / "data")
        yield place
        for process in place.running:
            process.kill()
        psutil.wait_procs(place.running, timeout=10)


@pytest.fixture
async def servers(place: Place) -> AsyncIterator[EmbeddedServers]:
    handle = place.servers()
    yield handle
    await handle.stop()


async def start_both(servers: EmbeddedServers) -> str:
    dsn, _ = await asyncio.gather(servers.start_postgres(), servers.start_kafka())
    return dsn


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        found: object = await connection.fetchval(query)
    finally:
        await connection.close()
    return found


async def publish(bootstrap: str, count: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await asyncio.gather(*[await producer.send("kept", b"%d" % number) for number in range(count)])


async def published(bootstrap: str) -> list[int]:
    partition = TopicPartition("kept", 0)
    async with (
        asyncio.timeout(30),
        AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer,
    ):
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        return [int((await consumer.getone()).value) for _ in range(end)]


async def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 60)).strip()


async def test_both_start_and_what_they_were_told_outlives_a_stop(place: Place, servers: EmbeddedServers) -> None:
    # Two handles start at once, as two workers do: one server each all the same.
    other = place.servers()
    dsn, same_dsn = await asyncio.gather(start_both(servers), start_both(other))
    assert dsn == same_dsn
    assert await value(dsn, "SELECT current_user || ' ' || current_database()") == "headrace headrace"
    assert await value(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = 'headrace'") is False
    assert await value(dsn, "SHOW data_checksums") == await value(dsn, "SHOW synchronous_commit") == "on"
    await value(dsn, "CREATE TABLE kept AS SELECT 1 AS value")
    client = AIOKafkaClient(bootstrap_servers=place.bootstrap)
    await client.bootstrap()
    assert [(node.host, node.port) for node in client.cluster.brokers()] == [("127.0.0.1", place.port)]
    await client.close()
    await publish(place.bootstrap, RECORDS)

    assert {address.laddr.ip for address in place.broker.net_connections() if address.status == "LISTEN"} == {
        "127.0.0.1"
    }
    assert [each for each in place.postmaster.net_connections("inet") if each.status == "LISTEN"] == []
    for process in (place.postmaster, place.broker):
        assert os.getsid(process.pid) != os.getsid(0)
        assert process.ppid() != os.getpid()

    third = EmbeddedServers(place.folder, kafka_port=1234)
    with pytest.raises(StartError, match=rf"on port {place.port}, not on 1234: set EMBEDDED_KAFKA_PORT={place.port}"):
        await third.start_kafka()
    await third.stop()

    await servers.stop()
    assert await published(place.bootstrap) == list(range(RECORDS))
    started = time.monotonic()
    await other.stop()
    assert time.monotonic() - started < 6
    assert place.running == []
    await other.stop()

    started = time.monotonic()
    dsn = await start_both(servers)
    assert time.monotonic() - started < 10
    assert await value(dsn, "SELECT value FROM kept") == 1
    assert await published(place.bootstrap) == list(range(RECORDS))


async def test_servers_that_were_killed_recover(place: Place, servers: EmbeddedServers) -> None:
    dsn = await start_both(servers)
    await value(dsn, "CREATE TABLE kept AS SELECT 1 AS value")
    await publish(place.bootstrap, RECORDS)
    postmaster, broker = place.postmaster, place.broker
    postmaster.kill()
    broker.kill()
    assert await start_both(servers) == dsn
    assert place.postmaster != postmaster
    assert place.broker != broker
    assert await value(dsn, "SELECT value FROM kept") == 1
    assert await published(place.bootstrap) == list(range(RECORDS))


async def test_the_last_of_two_processes_stops_the_servers(place: Place, servers: EmbeddedServers) -> None:
    dsn = await start_both(servers)
    with place.sharer() as other:
        assert await said(other) == "started"
        await servers.stop()
        assert await value(dsn, "SELECT 1") == 1
        assert is_alive(place.broker)
        other.communicate("\n", timeout=30)
    assert place.running == []


async def test_servers_of_a_killed_worker_go_on_and_are_adopted(place: Place, servers: EmbeddedServers) -> None:
    with place.sharer() as worker:
        assert await said(worker) == "started"
        postmaster, broker = place.postmaster, place.broker
        worker.send_signal(signal.SIGKILL)
    assert is_alive(postmaster)
    assert is_alive(broker)
    await start_both(servers)
    assert (place.postmaster, place.broker) == (postmaster, broker)
    await servers.stop()
    assert place.running == []


async def test_a_start_that_is_given_up_leaves_nothing_behind(place: Place, servers: EmbeddedServers) -> None:
    start = asyncio.create_task(servers.start_kafka())
    while not ((place.folder / "kafka" / "log" / "start.log").exists() and running_in(place.folder / "kafka", "java")):
        assert not start.done()
        await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await servers.stop()
    assert place.running == []


async def test_a_port_in_use_is_named_with_who_uses_it_and_what_to_do(place: Place, servers: EmbeddedServers) -> None:
    with socket.create_server(("127.0.0.1", place.port)), pytest.raises(StartError) as refused:
        await servers.start_kafka()
    assert re.match(
        rf"^port {place.port} on 127\.0\.0\.1 is in use by .+ \(pid {os.getpid()}\), .*EMBEDDED_KAFKA_PORT",
        str(refused.value),
    )
    assert place.running == []


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    servers = EmbeddedServers(tmp_path / "file" / "data")
    for start in (servers.start_postgres, servers.start_kafka):
        with pytest.raises(StartError, match=r"file/data: Not a directory; .* DATA_DIR"):
            await start()
    await servers.stop()


async def test_a_stale_pid_file_with_the_pid_of_another_program_is_no_hindrance(
    place: Place, servers: EmbeddedServers
) -> None:
    await servers.start_postgres()
    pid_file = place.folder / "postgres" / "postmaster.pid"
    socket_lock = pid_file.with_name(".s.PGSQL.5432.lock")
    left = {path: path.read_text().splitlines() for path in (pid_file, socket_lock)}
    await servers.stop()
    for path, lines in left.items():
        path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert await value(await servers.start_postgres(), "SELECT 1") == 1


async def test_a_server_that_ends_while_it_starts_is_quoted(place: Place, servers: EmbeddedServers) -> None:
    await servers.start_postgres()
    await servers.stop()
    (place.folder / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(StartError, match=r"^PostgreSQL ended while it started: .*pg_control.*; its log is in .*/log$"):
        await servers.start_postgres()


async def test_a_deep_folder_gets_its_socket_elsewhere(place: Place) -> None:
    servers = EmbeddedServers(place.folder.joinpath(*["a rather deep folder"] * 6))
    try:
        dsn = await servers.start_postgres()
        assert await value(dsn, "SELECT 1") == 1
        (sockets,) = parse_qs(urlsplit(dsn).query)["host"]
        assert Path(sockets).parent == TEMPORARY
        assert os.lstat(sockets).st_mode & 0o077 == 0
    finally:
        await servers.stop()
    assert sockets not in map(str, TEMPORARY.iterdir())
