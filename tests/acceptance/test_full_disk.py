"""PostgreSQL on a disk that fills up: nobody writes until it has room, and what was accepted is there."""

from __future__ import annotations

import base64
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from app.embedded.servers import EmbeddedServers

from tests.support.servers.fresh import free_port, server_folder
from tests.support.servers.worker_process import WorkerProcess
from tests.support.waiting import until

DISK_MEGABYTES = 500
MOST_POSTS = 1_000


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of its own, in memory."""
    with server_folder() as folder:
        disk = folder / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=755", "tmpfs", str(disk)]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a file system")
        try:
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path, *, leave_megabytes: int) -> Path:
    """Leave little room."""
    ballast = disk / "ballast"
    space = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave_megabytes * 1024 * 1024)
    return ballast


def panics(disk: Path) -> list[str]:
    logs = disk.rglob("log/*.log")
    return [line for log in logs for line in log.read_text(errors="replace").splitlines() if "PANIC" in line]


class Poster:
    """Posts events of 300 kB that do not compress, and remembers what was accepted."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._next = 0
        self.accepted: set[str] = set()
        self.answers: Counter[tuple[int, str]] = Counter()

    async def post(self, address: str) -> tuple[int, str]:
        self._next += 1
        event_id = str(self._next)
        noise = base64.b64encode(random.Random(self._next).randbytes(225_000)).decode()
        event = {"specversion": "1.0", "id": event_id, "source": "/tests", "type": "tested", "data": noise}
        async with self._session.post(f"{address}/api/v1/events", json=event) as response:
            answer = await response.json()
            if response.status == 202:
                self.accepted.add(event_id)
            else:
                assert int(response.headers["Retry-After"]) > 0
            outcome = response.status, answer.get("code", "")
        self.answers[outcome] += 1
        return outcome

    async def post_until_full(self, address: str) -> None:
        while await self.post(address) != (503, "database_full"):
            assert self._next < MOST_POSTS, self.answers

    async def takes_again(self, address: str) -> bool:
        return (await self.post(address))[0] == 202


async def all_is_there(dsn: str, accepted: set[str]) -> bool:
    connection = await asyncpg.connect(dsn)
    try:
        stored = {row["id"] for row in await connection.fetch("SELECT id FROM event_store")}
        counted = await connection.fetchval("SELECT state->>'count' FROM projections WHERE key = 'tested'")
        return stored >= accepted and int(counted or 0) == len(stored)
    finally:
        await connection.close()


async def test_before_the_disk_of_the_embedded_server_is_full_nobody_writes(
    tmp_path: Path, small_disk: Path, kafka: str, topic: str
) -> None:
    servers = EmbeddedServers(small_disk, kafka_port=free_port())
    worker = WorkerProcess(tmp_path, DATA_DIR=str(small_disk), BROKER_URL=kafka, TOPIC=topic, CONSUMER_GROUP=topic)
    worker.start()
    try:
        await worker.ready()
        dsn = await servers.start_postgres()
        async with aiohttp.ClientSession() as session:
            poster = Poster(session)
            ballast = fill(small_disk, leave_megabytes=160)
            await poster.post_until_full(worker.ingestion)
            ballast.unlink()
            await until(lambda: poster.takes_again(worker.ingestion), 60)
        await until(lambda: all_is_there(dsn, poster.accepted), 60)
        assert panics(small_disk) == []
        print(dict(poster.answers))
    finally:
        worker.stop()
        await servers.stop()


async def test_when_a_table_does_not_fit_no_worker_writes_until_a_probe_finds_room(
    tmp_path: Path, small_disk: Path, kafka: str, topic: str
) -> None:
    with server_folder() as large_disk:
        servers = EmbeddedServers(small_disk, kafka_port=free_port())
        await servers.start_postgres()
        await servers.stop()
        large_disk.chmod(0o755)
        wal, elsewhere = small_disk / "postgres" / "pg_wal", large_disk / "pg_wal"
        shutil.copytree(wal, elsewhere)
        owner = wal.stat()
        for path in (elsewhere, *elsewhere.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        shutil.rmtree(wal)
        wal.symlink_to(elsewhere)
        dsn = await servers.start_postgres()
        settings = {"DATABASE_URL": dsn, "BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
        worker, other = WorkerProcess(tmp_path, **settings), WorkerProcess(tmp_path, SERVICES="ingestion", **settings)
        worker.start()
        other.start()
        try:
            await worker.ready()
            await other.ready()
            async with aiohttp.ClientSession() as session:
                poster = Poster(session)
                ballast = fill(small_disk, leave_megabytes=20)
                await poster.post_until_full(worker.ingestion)
                await poster.post_until_full(other.ingestion)
                ballast.unlink()
                await until(lambda: poster.takes_again(worker.ingestion), 60)
                await until(lambda: poster.takes_again(other.ingestion), 60)
            await until(lambda: all_is_there(dsn, poster.accepted), 60)
            assert panics(small_disk) == []
            print(dict(poster.answers))
        finally:
            worker.stop()
            other.stop()
            await servers.stop()
