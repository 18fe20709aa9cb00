"""Clients that read large answers at a trickle: they are dropped, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import psutil

from tests.faults.faulty_worker import FaultyWorker, during
from tests.faults.trial import Trial

READERS = 80
ATTACK_SECONDS = 15.0
RECOVERED_SECONDS = 10.0
SLOWEST_POST_SECONDS = 4.0
MOST_MEGABYTES = 250.0
SOCKET_BYTES = 4_096
TRICKLE_BYTES, TRICKLE_SECONDS = 1_000, 0.2
# A page of them has 4 MB, the most that a page may have.
FILL = """
INSERT INTO projections (projection, key, state, position, version)
SELECT 'devices', 'filler-' || n, jsonb_build_object(
    'status', 'active', 'name', repeat(md5(n::text), 250), 'first_seen', '2026-01-01T00:00:00Z',
    'last_seen', '2026-01-01T00:00:00Z', 'readings', 0, 'latest', '{}'::jsonb
), 1, 1
FROM generate_series(1, 1000) AS n
"""
EMPTY = "DELETE FROM projections WHERE key LIKE 'filler-%'"
PAGE = b"GET /api/v1/projections/devices?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"


class SlowReaders:
    """Clients that ask for a page, and read it at a trickle; those that are refused ask again."""

    def __init__(self, worker: FaultyWorker) -> None:
        self.asked = self.answered = self.refused = 0
        self._port = urlsplit(worker.query).port

    @asynccontextmanager
    async def reading(self, clients: int) -> AsyncIterator[None]:
        """So many of them, meanwhile."""
        tasks = [asyncio.create_task(self._read_again_and_again(number)) for number in range(clients)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in results), results

    async def _read_again_and_again(self, number: int) -> None:
        chance = random.Random(number)
        while True:
            await asyncio.sleep(chance.uniform(0, 0.5))
            with contextlib.suppress(OSError):
                await self._read()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, PAGE)
            self.asked += 1
            try:
                head = await loop.sock_recv(sock, TRICKLE_BYTES)
                if not head.startswith(b"HTTP/1.1 200"):
                    self.refused += 1
                    return
                self.answered += 1
                while True:  # long after they were dropped, the kernel sends on what it has
                    if not await loop.sock_recv(sock, TRICKLE_BYTES):
                        return
                    await asyncio.sleep(TRICKLE_SECONDS)
            except OSError:
                return


class Use:
    """How much memory a worker uses, and how many connections its query service has."""

    def __init__(self, worker: FaultyWorker) -> None:
        self._port = worker.query_port
        self._process = psutil.Process(worker.process.pid)
        self.before = self.most = self._now()

    def _now(self) -> float:
        """In megabytes."""
        return float(self._process.memory_info().rss) / 1_000_000

    def connections(self) -> int:
        """Now."""
        found = self._process.net_connections("tcp4")
        return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == self._port for one in found)

    async def note(self) -> None:
        """For `during`."""
        self.most = max(self.most, self._now())


async def run(trial: Trial, statement: str) -> None:
    connection = await asyncpg.connect(trial.dsn, timeout=10, command_timeout=120)
    await connection.execute(statement)
    await connection.close()


async def test_slow_readers(trial: Trial) -> None:
    """80 clients ask for pages of 4 MB, and read a few kB a second of them"""
    await run(trial, FILL)
    worker = await trial.start()
    trial.read(worker)
    load = await trial.load(worker, events_a_second=50)
    use, readers = Use(worker), SlowReaders(worker)
    async with readers.reading(READERS):
        await during(ATTACK_SECONDS, trial.note_under_way, use.note)
        kept = use.connections()
    await run(trial, EMPTY)
    await trial.resumed("the readers", within=RECOVERED_SECONDS)
    print(f"{use.before:.0f} MB, then at most {use.most:.0f} MB; {kept} connections are left")
    trial.bit(pages=readers.answered, answers_503=readers.refused, clients_dropped=readers.answered - kept)
    assert readers.answered >= READERS
    assert kept < READERS // 2
    assert use.most - use.before < MOST_MEGABYTES
    assert load.journal.slowest_seconds < SLOWEST_POST_SECONDS
    assert trial.failed_reads == load.journal.answers["503"] == 0
    await trial.verdict()
