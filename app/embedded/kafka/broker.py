"""The embedded Apache Kafka: a node that is both broker and controller, on loopback."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from app.embedded.kafka.files import (
    cluster_id,
    environment,
    format_data,
    java,
    port_in_settings,
    write_settings,
)
from app.embedded.log_tail import LogTail
from app.embedded.ports import LOOPBACK, free_port, is_free, listener
from app.embedded.processes import EndedError, end, running_in, start_detached, wait_until_ready
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

READY_SECONDS = 120.0
PROBE_SECONDS = 2.0
SHUTDOWN = (signal.SIGTERM, 5.0)
KILL = (signal.SIGKILL, 5.0)


async def start(folder: Path, class_path: Sequence[Path], port: int, *, check_wanted: Callable[[], None]) -> None:
    """Start the broker of this folder, or adopt the running one; it listens on `port` of loopback.

    The caller holds the start lock; `check_wanted` raises if the caller has stopped in the meantime. Raises StartError,
    and OSError if a file cannot be written.
    """
    running = server(folder)
    if running is not None:
        _check_port(folder, running, port)
        log.info(
            LogAction.SERVER_FOUND,
            "Apache Kafka is already running (pid {pid}); using it",
            server="Apache Kafka",
            pid=running.pid,
        )
        with suppress(EndedError):  # it was being stopped
            return await _ready(folder, running, port, LogTail(folder / "log"))
    if not is_free(port):
        raise StartError(
            f"port {port} on 127.0.0.1 is in use by {listener(port)}, but the embedded Apache Kafka needs it: "
            "end that program, or set EMBEDDED_KAFKA_PORT to a free port, or BROKER_URL to your own Kafka"
        )
    write_settings(folder, port=port, controller_port=free_port(but=port))
    if cluster_id(folder) is None:
        await asyncio.to_thread(format_data, folder, class_path)
    check_wanted()
    logs = LogTail(folder / "log")
    process = start_detached(
        java(folder, class_path, "kafka.Kafka", "server.properties"),
        folder=folder,
        output=folder / "log" / "start.log",
        environment=environment(),
    )
    return await _ready(folder, process, port, logs)


async def stop(folder: Path) -> None:
    """Stop the broker of this folder, if one runs."""
    running = server(folder)
    if running is not None:
        await end(running, SHUTDOWN, KILL)


async def _ready(folder: Path, process: psutil.Process | None, port: int, logs: LogTail) -> None:
    async def answers() -> bool:
        cluster = await answering_cluster(port)
        return cluster is not None and cluster == cluster_id(folder)

    await wait_until_ready("Apache Kafka", answers, process, logs, READY_SECONDS)


async def answering_cluster(port: int) -> str | None:
    """The id of the cluster whose broker answers on this port of loopback; None if none does, or no broker is ready.

    aiokafka's admin client would connect to the address that the broker advertises, and log an error at each attempt.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            connection = await create_conn(LOOPBACK, port, client_id="headrace")
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (OSError, TimeoutError, KafkaError):
        return None
    cluster: str | None = metadata.cluster_id
    return cluster if metadata.brokers else None


def server(folder: Path) -> psutil.Process | None:
    """The process of this folder's broker; None if it does not run."""
    found = running_in(folder, "java")
    return found[0] if found else None


def _check_port(folder: Path, running: psutil.Process, port: int) -> None:
    its_port = port_in_settings(folder)
    if its_port != port:
        raise StartError(
            f"the Apache Kafka of {folder} is already running (pid {running.pid}), on port {its_port}, not on {port}: "
            f"set EMBEDDED_KAFKA_PORT={its_port}, or end it first"
        )
