from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.embedded.processes import running_in
from app.embedded.servers import EmbeddedServers
from headrace.errors import StartError

from tests.support.servers.embedded_place import Place, new_place, value

TEMPORARY = Path(tempfile.gettempdir()).resolve()


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as place:
        yield place


@pytest.fixture
async def servers(place: Place) -> AsyncIterator[EmbeddedServers]:
    handle = place.servers()
    yield handle
    await handle.stop()


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


async def test_a_stop_during_the_first_start_leaves_nothing_behind(place: Place, servers: EmbeddedServers) -> None:
    start = asyncio.create_task(servers.start_postgres())
    while not list(place.folder.glob("postgres.new-*")):
        assert not start.done()
        await asyncio.sleep(0.01)
    await servers.stop()
    with pytest.raises(StartError, match="was stopped before"):
        await start
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


async def test_a_package_that_is_missing_is_named(
    place: Place, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M2_REPO", str(place.folder / "empty"))
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(StartError, match=r"need the package jgo\.maven: pip install"):
        await servers.start_kafka()


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


async def test_a_start_while_the_server_goes_down_starts_another(place: Place, servers: EmbeddedServers) -> None:
    await servers.start_postgres()
    going = place.postmaster
    going.send_signal(signal.SIGINT)
    assert await value(await servers.start_postgres(), "SELECT 1") == 1
    assert place.postmaster != going


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
