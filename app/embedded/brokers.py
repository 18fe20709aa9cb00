"""What the embedded brokers have in common: a port of loopback, and a server that is found running or ended."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from app.embedded.ports import LOOPBACK, is_free, listener
from app.embedded.processes import end
from headrace.errors import StartError

# Together they take less than a worker's SHUTDOWN_SECONDS. All servers recover from a kill.
SHUTDOWN = (signal.SIGTERM, 4.0)
KILL = (signal.SIGKILL, 1.0)


class Broker(NamedTuple):
    """The words for a broker in messages to operators."""

    name: str
    port_setting: str
    instead: str
    """How to use another broker."""

    def check_free(self, port: int) -> None:
        """Raises StartError if another program listens on the port."""
        if not is_free(port, setting=self.port_setting):
            raise StartError(self._in_use(port))

    def problem(self, port: int, process: Callable[[], psutil.Process | None]) -> str:
        """Why the broker could not listen on the port; empty if it could, or if `process` finds that it does already.

        The port is asked first and last: meanwhile, another worker may start the same broker, or end it.
        """
        try:
            if is_free(port, setting=self.port_setting) or process() is not None or is_free(port):
                return ""
        except StartError as error:
            return str(error)
        return self._in_use(port)

    def _in_use(self, port: int) -> str:
        return (
            f"port {port} on {LOOPBACK} is in use by {listener(port)}, but the embedded {self.name} needs it: end "
            f"that program, or set {self.port_setting} to a free port, or {self.instead}"
        )

    def check_port(self, folder: Path, running: psutil.Process, its_port: str, port: int) -> None:
        """Raises StartError if the running broker of this folder listens on another port."""
        if its_port != str(port):
            raise StartError(
                f"the {self.name} of {folder} is already running (pid {running.pid}), on port {its_port}, not on "
                f"{port}: set {self.port_setting}={its_port}, or end it first"
            )


async def stop(folder: Path, server: Callable[[Path], psutil.Process | None]) -> None:
    """Stop the broker of this folder, if one runs. Others are found and ended at the same time."""
    running = await asyncio.to_thread(server, folder)
    if running is not None:
        await end(running, SHUTDOWN, KILL)
