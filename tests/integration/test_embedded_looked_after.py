"""An embedded server that ends while workers run is started again, once, until the last worker blocked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator

import asyncpg
import psutil
import pytest

from app.embedded.kafka.broker import answering_cluster
from app.embedded.locks import alone
from app.embedded.processes import is_alive
from app.embedded.servers import EmbeddedServers
from app.embedded.supervisor import Embedded
from app.settings import Settings

from tests.support.servers.embedded_place import Place, new_place, value
from tests.support.servers.fresh import free_port
from tests.support.waiting import until

SECONDS = 60.0


@pytest.fixture
def place() -> Iterator[Place]:
    with new_place() as place:
        yield place


class Workers:
    """Two workers on one data folder, as far as the embedded servers go."""

    def __init__(self, place: Place, *, postgres: bool = False, kafka: bool = False, mqtt: bool = False) -> None:
        mqtt_port = free_port()
        self.dsns: list[str] = []
        self.servers = [EmbeddedServers(place.folder, kafka_port=place.port, mqtt_port=mqtt_port) for _ in range(2)]
        self._services = [
            Embedded(servers, postgres_is_at=self.dsns.append if postgres else None, with_kafka=kafka, with_mqtt=mqtt)
            for servers in self.servers
        ]

    @property
    def have_crashed(self) -> bool:
        return any(service.crashed for service in self._services)

    async def start(self) -> None:
        await asyncio.gather(*(service.start() for service in self._services))

    async def stop(self) -> None:
        await asyncio.gather(*(service.stop() for service in self._services))


@contextlib.asynccontextmanager
async def running(workers: Workers) -> AsyncIterator[Workers]:
    await workers.start()
    try:
        yield workers
    finally:
        await workers.stop()


async def runs(process: Callable[[], psutil.Process | None], *, but: int = 0) -> int:
    """Return the pid when it runs, and is another one than before."""
    found: list[int] = []

    async def is_there() -> bool:
        server = process()
        if server is None or server.pid == but or not is_alive(server):
            return False
        found.append(server.pid)
        return True

    await until(is_there, SECONDS)
    return found[-1]


async def answers(dsn: str) -> None:
    """Return when PostgreSQL takes statements."""

    async def is_up() -> bool:
        try:
            return await value(dsn, "SELECT 1") == 1
        except (OSError, asyncpg.PostgresError):
            return False

    await until(is_up, SECONDS)


async def test_postgres_is_started_again_after_a_kill_and_after_a_shutdown(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.embedded")
    async with running(Workers(place, postgres=True)) as workers:
        dsn, same = workers.dsns
        assert dsn == same
        await value(dsn, "CREATE TABLE kept AS SELECT 1 AS value")
        pid = await runs(workers.servers[0].postgres_process)
        for end in (signal.SIGKILL, signal.SIGINT):
            os.kill(pid, end)
            pid = await runs(workers.servers[0].postgres_process, but=pid)
            await answers(dsn)
        assert await value(dsn, "SELECT value FROM kept") == 1
    assert place.running == []
    assert "Embedded PostgreSQL has ended; restarting it" in caplog.text


async def test_a_second_worker_starts_beside_the_first_ten_times(place: Place) -> None:
    mqtt_port = free_port()

    @contextlib.asynccontextmanager
    async def worker() -> AsyncIterator[None]:
        servers = EmbeddedServers(place.folder, kafka_port=place.port, mqtt_port=mqtt_port)
        ready: list[str] = []
        service = Embedded(
            servers, postgres_is_at=lambda _: None, with_kafka=True, with_mqtt=True, is_ready=ready.append
        )

        async def has_all() -> bool:
            assert service.crash_reason is None, service.crash_reason
            return len(ready) == 3

        await service.start()
        try:
            await until(has_all, SECONDS)
            yield
        finally:
            await service.stop()
        assert service.crash_reason is None

    async with worker():
        for _ in range(10):
            async with worker():
                pass


@pytest.mark.parametrize("server", ["kafka", "mqtt"])
async def test_a_broker_is_started_again_after_a_kill(place: Place, server: str) -> None:
    async with running(Workers(place, kafka=server == "kafka", mqtt=server == "mqtt")) as workers:
        servers = workers.servers[0]
        process = servers.kafka_process if server == "kafka" else servers.mqtt_process
        start = servers.start_kafka if server == "kafka" else servers.start_mqtt
        await runs(process)
        await start()  # which returns when it answers
        pid = await runs(process)
        os.kill(pid, signal.SIGKILL)
        await runs(process, but=pid)
        await start()
    assert process() is None


async def test_a_server_that_cannot_be_started_again_is_tried_until_it_can(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(Workers(place, kafka=True)) as workers:
        servers = workers.servers[0]
        await runs(servers.kafka_process)
        await servers.start_kafka()
        with socket.socket() as taker:
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            async with alone(place.folder / "kafka.lock", wait_seconds=SECONDS):
                place.broker.kill()
                await until_bound(taker, place.port)
                taker.listen()

            async def is_told() -> bool:
                return f"port {place.port} on 127.0.0.1 is in use" in caplog.text

            await until(is_told, SECONDS)
            assert servers.kafka_process() is None

        async def answers() -> bool:
            return await answering_cluster(place.port, place.access.login()) is not None

        await until(answers, SECONDS)


async def test_a_stop_while_kafka_starts_is_no_failure(place: Place) -> None:
    workers = Workers(place, kafka=True)
    await workers.start()
    await runs(workers.servers[0].kafka_process)
    await workers.stop()
    assert place.running == []
    assert not workers.have_crashed


async def test_servers_that_do_not_react_are_ended_in_less_than_a_workers_time_for_its_stop(place: Place) -> None:
    workers = Workers(place, postgres=True, kafka=True, mqtt=True)
    async with running(workers):
        servers = workers.servers[0]
        await asyncio.gather(servers.start_kafka(), servers.start_mqtt())
        processes = [servers.postgres_process(), servers.kafka_process(), servers.mqtt_process()]
        for process in processes:
            assert process is not None
            process.suspend()
        started = time.monotonic()
        await workers.stop()
        assert time.monotonic() - started < Settings().shutdown_seconds - 1
        assert not any(is_alive(process) for process in processes)


async def until_bound(taker: socket.socket, port: int) -> None:
    """Return when the port is ours."""

    async def is_ours() -> bool:
        try:
            taker.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

    await until(is_ours, SECONDS)
