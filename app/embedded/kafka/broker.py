"""The embedded Apache Kafka: a node that is both broker and controller, on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed
from aiokafka.protocol.metadata import MetadataRequest

from app.embedded import brokers
from app.embedded.brokers import Broker
from app.embedded.kafka import login
from app.embedded.kafka.files import (
    cluster_id,
    environment,
    format_data,
    java,
    port_in_settings,
    settings_of,
    write_settings,
)
from app.embedded.log_tail import LogTail
from app.embedded.ports import LOOPBACK, free_port
from app.embedded.processes import EndedError, note_found, running_in, start_detached, wait_until_ready
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

READY_SECONDS = 120.0
PROBE_SECONDS = 2.0
KAFKA = Broker("Apache Kafka", "EMBEDDED_KAFKA_PORT", "BROKER_URL to your own Kafka")


async def start(folder: Path, class_path: Sequence[Path], port: int, *, check_wanted: Callable[[], None]) -> None:
    """Start the broker of this folder, or adopt the running one; it listens on `port` of loopback.

    The caller holds the start lock; `check_wanted` raises if the caller has stopped in the meantime. Raises StartError,
    and OSError if a file cannot be written.
    """
    password = login.provide_password(folder)
    running = server(folder)
    if running is not None:
        KAFKA.check_port(folder, running, str(port_in_settings(folder)), port)
        if login.MECHANISM not in settings_of(folder):
            await _end_open(folder)
        else:
            note_found(KAFKA.name, running)
            with suppress(EndedError):  # it was being stopped
                return await _ready(folder, running, port, LogTail(folder / "log"), password)
    KAFKA.check_free(port)
    security = login.security(password, login.new_password())
    write_settings(folder, port=port, controller_port=free_port(but=port), security=security)
    login.write_client_file(folder, port, password)
    if cluster_id(folder) is None:
        await asyncio.to_thread(format_data, folder, class_path)
    check_wanted()
    logs = LogTail(folder / "log")
    return await _ready(folder, launch(folder, class_path), port, logs, password)


def launch(folder: Path, class_path: Sequence[Path]) -> psutil.Process | None:
    """Start the broker of this folder with the settings in it; None if it has already ended."""
    return start_detached(
        java(folder, class_path, "kafka.Kafka", "server.properties"),
        folder=folder,
        output=folder / "log" / "start.log",
        environment=environment(),
    )


async def _end_open(folder: Path) -> None:
    """End a broker that a version without passwords has started and left behind: everybody gets in."""
    text = "{server} runs without a password, as an earlier version has started it; restarting it"
    log.warning(LogAction.SERVER_ENDED, text, server=KAFKA.name)
    await stop(folder)


async def stop(folder: Path) -> None:
    """Stop the broker of this folder, if one runs."""
    await brokers.stop(folder, server)


async def _ready(folder: Path, process: psutil.Process | None, port: int, logs: LogTail, password: str) -> None:
    async def answers() -> bool:
        try:
            cluster = await answering_cluster(port, login.arguments(password))
        except SaslAuthenticationFailed:
            await _register(folder, password)
            return False
        return cluster is not None and cluster == cluster_id(folder)

    await wait_until_ready(KAFKA.name, answers, process, logs, READY_SECONDS)


async def _register(folder: Path, password: str) -> None:
    with suppress(OSError, TimeoutError, KafkaError):  # tried again as long as the broker refuses the password
        async with asyncio.timeout(PROBE_SECONDS):
            await login.register(settings_of(folder), password)


async def answering_cluster(port: int, access: Mapping[str, Any] = MappingProxyType({})) -> str | None:
    """The id of the cluster whose broker answers on this port of loopback; None if none does, or no broker is ready.

    `access`: arguments for the login. Raises SaslAuthenticationFailed if the broker refuses it.

    aiokafka's admin client would connect to the address that the broker advertises, and log an error at each attempt.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            connection = await create_conn(LOOPBACK, port, client_id="headrace", **access)
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except SaslAuthenticationFailed:
        raise
    except (OSError, TimeoutError, KafkaError):
        return None
    cluster: str | None = metadata.cluster_id
    return cluster if metadata.brokers else None


def server(folder: Path) -> psutil.Process | None:
    """The process of this folder's broker; None if it does not run."""
    found = running_in(folder, "java")
    return found[0] if found else None
