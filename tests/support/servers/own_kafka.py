"""An Apache Kafka that a test may kill, freeze, cut off and wipe: the embedded one in a folder of its own.

It advertises a port on which it does not listen itself: a proxy of the test's does. So every client stays on the proxy,
after its first answer too.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import psutil

from app.embedded.kafka.broker import answering_cluster, launch
from app.embedded.kafka.class_path import provide
from app.embedded.kafka.files import cluster_id, format_data, write_settings
from app.embedded.log_tail import LogTail
from app.embedded.ports import free_port
from app.embedded.processes import end, running_in, wait_until_gone, wait_until_ready

READY_SECONDS = 120.0
GONE_SECONDS = 30.0
OPEN = "listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
"""Everybody gets in."""


class OwnKafka:
    """One broker; start, fault and start again as often as wanted."""

    def __init__(self, folder: Path, *, proxy_port: int, more_settings: str = "", security: str = OPEN) -> None:
        """`more_settings`: lines for server.properties; `security`: those that say who gets in."""
        self.proxy_port = proxy_port
        self.port = free_port(but=proxy_port)
        self.controller_port = free_port(but=self.port)
        self._folder = folder / "kafka"
        self.more_settings = more_settings
        self._security = security
        self._jars = folder / "jars"

    @property
    def url(self) -> str:
        """The address for clients: the proxy."""
        return f"kafka://127.0.0.1:{self.proxy_port}"

    async def start(self) -> None:
        """Start it; returns when it answers. Where its data are not there, with new ones."""
        class_path = await asyncio.to_thread(provide, self._jars)
        write_settings(self._folder, port=self.port, controller_port=self.controller_port, security=self._security)
        settings = self._folder / "server.properties"
        text = settings.read_text()
        advertised = f"advertised.listeners=BROKER://127.0.0.1:{self.port}"
        assert advertised in text
        text = text.replace(advertised, f"advertised.listeners=BROKER://127.0.0.1:{self.proxy_port}")
        settings.write_text(text + self.more_settings)
        if cluster_id(self._folder) is None:
            await asyncio.to_thread(format_data, self._folder, class_path)
        logs = LogTail(self._folder / "log")
        process = launch(self._folder, class_path)
        await wait_until_ready("Apache Kafka", self._answers, process, logs, READY_SECONDS)

    async def _answers(self) -> bool:
        cluster = await answering_cluster(self.port)
        return cluster is not None and cluster == cluster_id(self._folder)

    async def stop(self) -> None:
        """As a user would; safe where it does not run."""
        self.thaw()
        for process in self.processes:
            await end(process, (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))

    async def kill(self) -> None:
        """kill -9."""
        processes = self.processes
        assert processes, "Kafka does not run"
        for process in processes:
            process.kill()
        assert await wait_until_gone(processes, GONE_SECONDS), "Kafka did not end"

    def wipe(self) -> None:
        """Throw its data away; it must not run."""
        assert not self.processes, "Kafka runs"
        shutil.rmtree(self._folder / "data")

    def freeze(self) -> None:
        """SIGSTOP."""
        for process in self.processes:
            process.suspend()

    def thaw(self) -> None:
        """SIGCONT."""
        for process in self.processes:
            process.resume()

    @property
    def processes(self) -> list[psutil.Process]:
        """The broker, if it runs."""
        return running_in(self._folder, "java")
