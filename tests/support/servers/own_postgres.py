"""A PostgreSQL that a test may stop, kill, freeze and fill: the embedded one in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil

from app.embedded.postgres import server as postgres
from app.embedded.processes import running_in, wait_until_gone
from tables.migrate import migrate

GONE_SECONDS = 30.0
TEMPLATE = "template_of_faults"


class OwnPostgres:
    """One server; start, fault and start again as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._databases = 0
        self._dsn = ""

    async def start(self) -> None:
        """Start it, or do nothing where it runs; returns when it answers."""
        self._dsn = await postgres.start(self.folder / "postgres", check_wanted=lambda: None)

    async def stop(self) -> None:
        """As a user would; safe where it does not run."""
        self.thaw()
        await postgres.stop(self.folder / "postgres")

    async def stop_immediately(self) -> None:
        """`pg_ctl stop -m immediate`: no checkpoint; the next start recovers."""
        await self._end(signal.SIGQUIT)

    async def kill(self) -> None:
        """kill -9 of every process of the server."""
        await self._end(signal.SIGKILL)

    async def back_up(self) -> None:
        """Stop it, copy its files, and start it."""
        await self.stop_immediately()
        await asyncio.to_thread(self._copy, "postgres", "backup")
        await self.start()

    async def restore(self) -> None:
        """Stop it, put the copied files in the place of its files, and start it."""
        if self.processes:
            await self.stop_immediately()
        await asyncio.to_thread(self._copy, "backup", "postgres")
        await self.start()

    def _copy(self, source: str, target: str) -> None:
        if (self.folder / target).exists():
            shutil.rmtree(self.folder / target)
        # With the owners: as root, PostgreSQL is another user.
        subprocess.run(["cp", "-a", self.folder / source, self.folder / target], check=True)

    def freeze(self) -> int:
        """SIGSTOP every process of the server; how many."""
        return self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Wake them."""
        self._signal(signal.SIGCONT)

    @property
    def processes(self) -> list[psutil.Process]:
        """The postmaster and its children."""
        return running_in(self.folder / "postgres", "postgres")

    @property
    def socket(self) -> str:
        """The Unix socket that it listens on."""
        query = parse_qs(urlsplit(self._dsn).query)
        return f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"

    def dsn(self, database: str = "headrace", *, user: str = "headrace") -> str:
        """The address of a database."""
        return urlsplit(self._dsn)._replace(netloc=f"{user}@", path=f"/{database}").geturl()

    async def new_database(self) -> str:
        """A migrated database that nobody else uses; its name."""
        await self.execute("SELECT 1")
        names = await self.column("SELECT datname FROM pg_database")
        if TEMPLATE not in names:
            await self.execute(f"CREATE DATABASE {TEMPLATE} OWNER headrace")
            connection = await asyncpg.connect(self.dsn(TEMPLATE))
            await migrate(connection)
            await connection.close()
        self._databases += 1
        name = f"fault_{os.getpid()}_{self._databases}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER headrace")
        return name

    async def execute(self, statement: str, database: str = "postgres") -> None:
        """As the superuser, on a connection of its own."""
        connection = await asyncpg.connect(self.dsn(database, user="postgres"), timeout=20, command_timeout=60)
        try:
            await connection.execute(statement)
        finally:
            await connection.close(timeout=5)

    async def column(self, query: str, database: str = "postgres") -> list[object]:
        """The first column of what a query finds."""
        connection = await asyncpg.connect(self.dsn(database, user="postgres"), timeout=20, command_timeout=60)
        try:
            return [row[0] for row in await connection.fetch(query)]
        finally:
            await connection.close(timeout=5)

    async def _end(self, number: signal.Signals) -> None:
        processes = self.processes
        assert processes, "PostgreSQL does not run"
        pids = {process.pid for process in processes}
        chosen = [one for one in processes if number is signal.SIGKILL or one.info["ppid"] not in pids]
        for process in chosen:
            _send(process, number)
        assert await wait_until_gone(processes, GONE_SECONDS), "PostgreSQL did not end"

    def _signal(self, number: signal.Signals) -> int:
        processes = self.processes
        for process in processes:
            _send(process, number)
        return len(processes)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


class SmallDisk:
    """A file system in memory, to be filled; for root on Linux."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self, megabytes: int) -> None:
        """Mount it. Raises CalledProcessError where that is not allowed."""
        self.folder.mkdir(mode=0o755, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(self.folder))

    def resize(self, megabytes: int) -> None:
        """Make it larger, with what is on it."""
        _run("mount", "-o", f"remount,size={megabytes}m", str(self.folder))

    def unmount(self) -> None:
        """Away with it and with what is on it."""
        _run("umount", "-l", str(self.folder))

    def fill(self) -> int:
        """Take all the room that is left; how many bytes that were."""
        taken = 0
        with (self.folder / "ballast").open("wb", buffering=0) as file:
            for size in (1_000_000, 4_096):
                chunk = b"\0" * size
                try:
                    while True:
                        taken += file.write(chunk)
                except OSError:
                    continue
        return taken

    def free(self) -> None:
        """Give back what `fill` took."""
        (self.folder / "ballast").unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)
