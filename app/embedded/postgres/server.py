"""The embedded PostgreSQL: it listens only on a Unix socket, and recovers after kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from app.embedded.log_tail import LogTail
from app.embedded.postgres.files import (
    environment,
    make_data,
    make_socket_folder,
    socket_folder_for,
    socket_lock_in,
    write_settings,
)
from app.embedded.postgres.owner import open_parents, open_programs, owner_of, programs
from app.embedded.processes import (
    EndedError,
    end,
    note_found,
    running_in,
    start_detached,
    wait_until_gone,
    wait_until_ready,
)
from headrace.errors import StartError
from tables.database import connect

# Crash recovery reads up to max_wal_size of log.
READY_SECONDS = 300.0
CONNECT_SECONDS = 5.0
# The children of a killed server end on their own.
ORPHANS_SECONDS = 20.0
# Together they take less than a worker's SHUTDOWN_SECONDS. PostgreSQL recovers from a kill.
FAST_SHUTDOWN = (signal.SIGINT, 4.0)
SHUTDOWN_WITHOUT_CHECKPOINT = (signal.SIGQUIT, 1.0)
KILL = (signal.SIGKILL, 1.0)

ROLE_EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = 'headrace'"
# Not a superuser, so that permissions on the tables apply.
CREATE_ROLE = "CREATE ROLE headrace LOGIN CREATEDB"
DATABASE_EXISTS = "SELECT 1 FROM pg_database WHERE datname = 'headrace'"
CREATE_DATABASE = "CREATE DATABASE headrace OWNER headrace"


async def start(data: Path, *, check_wanted: Callable[[], None]) -> str:
    """Start the server of this data folder, or adopt the running one, and return the DSN of its database.

    The caller holds the start lock; `check_wanted` raises if the caller has stopped in the meantime. Raises StartError,
    and OSError if a file cannot be written.
    """
    running = server(data)
    if running is not None:
        note_found("PostgreSQL", running)
        with suppress(EndedError):  # it was being stopped
            return await _ready(data, running, LogTail(data / "log"))
    await _remove_stale_locks(data)
    binaries, sockets, owner = programs(), socket_folder_for(data), owner_of(data)
    if owner is not None:
        open_parents(data, sockets, binaries)
        open_programs(binaries)
    await asyncio.to_thread(make_data, data, binaries, owner)
    if sockets != data:
        make_socket_folder(sockets, owner)
    check_wanted()
    logs = LogTail(data / "log")
    process = start_detached(
        [str(binaries / "postgres"), "-D", str(data), f"--config-file={write_settings(data, sockets)}"],
        folder=data,
        output=data / "log" / "start.log",
        environment=environment(),
        owner=owner,
    )
    return await _ready(data, process, logs)


async def stop(data: Path) -> None:
    """Stop the server of this data folder, if one runs."""
    running = await asyncio.to_thread(server, data)
    if running is None:
        return
    await end(running, FAST_SHUTDOWN, SHUTDOWN_WITHOUT_CHECKPOINT, KILL)
    sockets = socket_folder_for(data)
    if sockets != data:
        with suppress(OSError):  # created again at the next start
            sockets.rmdir()


async def _ready(data: Path, process: psutil.Process | None, logs: LogTail) -> str:
    async def answers() -> bool:
        if (administrator := _dsn(data, "postgres", "postgres")) is None:
            return False
        try:
            connection = await connect(administrator, timeout_seconds=CONNECT_SECONDS)
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
            return False
        try:
            await _make_database(connection)
        finally:
            await connection.close(timeout=CONNECT_SECONDS)
        return True

    await wait_until_ready("PostgreSQL", answers, process, logs, READY_SECONDS)
    dsn = _dsn(data, "headrace", "headrace")
    assert dsn is not None
    return dsn


async def _make_database(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    if await connection.fetchval(ROLE_EXISTS, timeout=CONNECT_SECONDS) is None:
        await connection.execute(CREATE_ROLE, timeout=CONNECT_SECONDS)
    if await connection.fetchval(DATABASE_EXISTS, timeout=CONNECT_SECONDS) is None:
        await connection.execute(CREATE_DATABASE, timeout=READY_SECONDS)


def _dsn(data: Path, user: str, database: str) -> str | None:
    """The address from the running server's postmaster.pid; None until the file has it."""
    port_and_folder = _lines(data / "postmaster.pid")[3:5]
    if len(port_and_folder) < len(("port", "folder")):
        return None
    port, socket_folder = port_and_folder
    # PGSSLMODE of the worker's environment is for other servers.
    return f"postgresql://{user}@/{database}?host={quote(socket_folder)}&port={port}&sslmode=disable"


def _lines(pid_file: Path) -> list[str]:
    try:
        return os.fsdecode(pid_file.read_bytes()).splitlines()
    except FileNotFoundError:
        return []


def _pid_in(pid_file: Path) -> int | None:
    first = "".join(_lines(pid_file)[:1])
    return int(first) if first.isdecimal() else None


def server(data: Path) -> psutil.Process | None:
    """The postmaster, None if it does not run. It keeps its command line; its children change theirs."""
    found = running_in(data, "postgres")
    pids = {process.pid for process in found}
    return next(
        (process for process in found if process.info["ppid"] not in pids and "-D" in (process.info["cmdline"] or ())),
        None,
    )


async def _remove_stale_locks(data: Path) -> None:
    """Wait for the children of a killed server, and remove its pid files if the pid now belongs to another process.

    In both cases PostgreSQL would refuse to start. Raises StartError if the children do not end.
    """
    if not await wait_until_gone(running_in(data, "postgres"), ORPHANS_SECONDS):
        pids = ", ".join(str(process.pid) for process in running_in(data, "postgres"))
        raise StartError(f"{data}: processes of a killed PostgreSQL are still running (pid {pids}); end them")
    for pid_file in (data / "postmaster.pid", socket_lock_in(socket_folder_for(data))):
        pid = _pid_in(pid_file)
        if pid is not None and psutil.pid_exists(pid):
            pid_file.unlink()
