"""A data folder for tests of the embedded servers, and what runs in it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil

from agents.kafka.access import KafkaAccess
from app.embedded.processes import running_in
from app.embedded.servers import EmbeddedServers
from app.settings import Settings
from app.worker.broker_address import kafka_access

from tests.support.servers.fresh import free_port, quick_folder

ROOT = Path(__file__).parents[3]
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

    @property
    def access(self) -> KafkaAccess:
        """For clients of its Kafka, once that runs."""
        settings = Settings(data_dir=str(self.folder), embedded_kafka_port=self.port)
        return kafka_access(settings, embedded=True)

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


@contextmanager
def new_place() -> Iterator[Place]:
    """A folder whose path has spaces and letters beyond ASCII; what still runs there is killed at the end."""
    with tempfile.TemporaryDirectory(prefix="head räce ", dir=quick_folder()) as name:
        place = Place(Path(name).resolve() / "data")
        yield place
        left = place.running
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)


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
