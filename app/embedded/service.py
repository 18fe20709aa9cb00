"""The embedded servers as a service of the worker: started before what needs them, stopped after it."""

from __future__ import annotations

from collections.abc import Callable

from mode import Service

from app.embedded.servers import EmbeddedServers


class Embedded(Service):
    """Starts what is not set to an address; tells PostgreSQL's address. The others may take longer than the door."""

    def __init__(
        self,
        servers: EmbeddedServers,
        *,
        postgres_is_at: Callable[[str], None] | None,
        with_kafka: bool,
        with_mqtt: bool,
    ) -> None:
        super().__init__()
        self._servers = servers
        self._postgres_is_at = postgres_is_at
        self._with_kafka = with_kafka
        self._with_mqtt = with_mqtt

    async def on_start(self) -> None:
        """Raises StartError when PostgreSQL cannot be started; the others' errors end the worker later."""
        if self._with_mqtt:
            self.add_future(self._servers.start_mqtt())
        if self._with_kafka:
            self.add_future(self._servers.start_kafka())
        if self._postgres_is_at is not None:
            self._postgres_is_at(await self._servers.start_postgres())

    async def on_stop(self) -> None:
        await self._servers.stop()
