"""The embedded servers as a service of the worker: started first, restarted when they end, stopped last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import psutil
from mode import Service

from app.embedded.processes import is_alive
from app.embedded.servers import EmbeddedServers
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.waiting import backoff_seconds

CHECK_SECONDS = 1.0
MAX_WAIT_SECONDS = 30.0
# A server that has run this long is restarted without a wait; otherwise it is restarted with backoff.
LONG_SECONDS = 60.0

log = ActionLog(__name__)


ServerName = Literal["PostgreSQL", "Apache Kafka", "MQTT broker"]


class _Server(NamedTuple):
    name: ServerName
    start: Callable[[], Awaitable[str]]
    process: Callable[[], psutil.Process | None]


class Embedded(Service):
    """Starts the servers that have no configured address, and passes on PostgreSQL's. Only PostgreSQL is waited for.

    If a server ends while a worker runs, whoever ended it, the first worker that notices restarts it. The other workers
    then find it running.
    """

    def __init__(
        self,
        servers: EmbeddedServers,
        *,
        postgres_is_at: Callable[[str], None] | None,
        with_kafka: bool,
        with_mqtt: bool,
        is_ready: Callable[[ServerName], None] = lambda _: None,
    ) -> None:
        """`is_ready`: called when a server that was started first answers."""
        super().__init__()
        self._is_ready = is_ready
        self._servers = servers
        self._postgres_is_at = postgres_is_at
        self._with_kafka = with_kafka
        self._with_mqtt = with_mqtt

    async def problems(self) -> list[str]:
        """Why the servers could not be started now, before anything is downloaded; usually empty."""
        return await asyncio.to_thread(
            self._servers.problems,
            with_postgres=self._postgres_is_at is not None,
            with_kafka=self._with_kafka,
            with_mqtt=self._with_mqtt,
        )

    async def on_start(self) -> None:
        """Start the servers. Raises StartError if PostgreSQL cannot start; the others' errors end the worker later."""
        servers = self._servers
        if self._with_mqtt:
            self.add_future(self._run(_Server("MQTT broker", servers.start_mqtt, servers.mqtt_process)))
        if self._with_kafka:
            self.add_future(self._run(_Server("Apache Kafka", servers.start_kafka, servers.kafka_process)))
        if self._postgres_is_at is not None:
            postgres = _Server("PostgreSQL", servers.start_postgres, servers.postgres_process)
            self._postgres_is_at(await postgres.start())
            self._is_ready(postgres.name)
            self.add_future(self._look_after(postgres))

    async def on_stop(self) -> None:
        await self._servers.stop()

    async def _run(self, server: _Server) -> None:
        try:
            await server.start()
        except StartError:
            if self.should_stop:
                return  # it was ended while it started
            raise
        self._is_ready(server.name)
        await self._look_after(server)

    async def _look_after(self, server: _Server) -> None:
        """Restart the server whenever it has ended, until the worker stops."""
        waits = backoff_seconds(most=MAX_WAIT_SECONDS)
        process, since = await asyncio.to_thread(server.process), time.monotonic()
        while not self.should_stop:
            await self.sleep(CHECK_SECONDS)
            if self.should_stop or is_alive(process):
                continue
            if time.monotonic() - since > LONG_SECONDS:
                waits = backoff_seconds(most=MAX_WAIT_SECONDS)
            else:
                await self.sleep(next(waits))
            if self.should_stop:
                return  # a start would acquire a new share, and leave a server behind
            process, since = await self._start_again(server), time.monotonic()

    async def _start_again(self, server: _Server) -> psutil.Process | None:
        log.warning(LogAction.SERVER_ENDED, "Embedded {server} has ended; restarting it", server=server.name)
        try:
            await server.start()
        except StartError as error:
            if not self.should_stop:
                text = "Embedded {server} could not be restarted: {error}"
                log.error(LogAction.SERVER_FAILED, text, server=server.name, error=str(error))  # noqa: TRY400 - it says it all
            return None
        log.info(LogAction.SERVER_RESTARTED, "Embedded {server} runs again", server=server.name)
        return await asyncio.to_thread(server.process)
