"""A folder, port, topic or database that no other test uses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from tests.support.waiting import until

TEMPLATE = "template_of_tests"
COPIED = "STRATEGY FILE_COPY"
"""In memory, a copy of files takes a tenth of the time of a copy by the write-ahead log, the default."""
DROP_SECONDS = 60.0
RUN = "HEADRACE_TEST_RUN"
"""The variable with the name of a run in several processes, and of its folders; they inherit it."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder is made in it
MEMORY_BYTES = 4_000_000_000
"""Two processes of tests need up to half of that."""

# Below the ports of outgoing connections and of app.embedded.ports. Each process of pytest-xdist has some of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
PORTS = range(10_000 + WORKER, 20_000, 10)

_numbers = itertools.count(1)
_ports = itertools.cycle(random.sample(PORTS, len(PORTS)))


def quick_folder() -> Path | None:
    """Memory, where the system has such a folder with room; kill -9 leaves in memory what it leaves on a disk."""
    is_there = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
    return _of_this_run(MEMORY) if is_there else None


def _of_this_run(folder: Path) -> Path:
    run = folder / os.environ.get(RUN, "")
    return run if run.is_dir() else folder


@contextlib.contextmanager
def server_folder(*, on_disk: bool = False) -> Iterator[Path]:
    """A folder for the data of servers. Not pytest's own: each start of pytest closes those to other users, and where
    the tests run as root, PostgreSQL is another user.

    `on_disk`: for faults. In memory, all would be over before things break.
    """
    place = (None if on_disk else quick_folder()) or _of_this_run(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="headrace-tests-", dir=place) as folder:
        yield Path(folder)


@contextlib.contextmanager
def new_database(postgres_dsn: str) -> Iterator[str]:
    """A migrated database that no test has used."""
    name = f"test_{os.getpid()}_{next(_numbers)}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {COPIED}"))
    try:
        yield database_url(postgres_dsn, name)
    finally:
        # Not WITH (FORCE): it fails where it may not end an autovacuum worker, which is another user's; without, that
        # is asked to go.
        sessions = f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND usename = current_user"

        async def is_dropped() -> bool:
            await execute(f"SELECT pg_terminate_backend(pid) FROM ({sessions}) AS ours")
            try:
                await execute(f"DROP DATABASE {name}")
            except asyncpg.ObjectInUseError:  # a busy machine: for 5 s a session has not gone
                return False
            return True

        asyncio.run(until(is_dropped, DROP_SECONDS, f"{name} is in use"))


def new_topic() -> str:
    """A topic name that nobody uses."""
    return f"events-{os.getpid()}-{next(_numbers)}"


def database_url(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(dsn)._replace(path=f"/{name}").geturl()


def free_port() -> int:
    """A port on loopback that is free now, and that this process was not given before, unless it was given all."""
    for port in _ports:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports do not end")
