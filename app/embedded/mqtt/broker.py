"""The embedded MQTT broker, on loopback: mosquitto if it is installed, else amqtt."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from app.embedded import brokers
from app.embedded.brokers import Broker
from app.embedded.log_tail import LogTail
from app.embedded.ports import LOOPBACK
from app.embedded.processes import EndedError, note_found, running_in, running_script, start_detached, wait_until_ready
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

READY_SECONDS = 60.0
CONNECT_SECONDS = 2.0
MQTT = Broker("MQTT broker", "EMBEDDED_MQTT_PORT", "MQTT_URL to your own broker or to off")
# Debian's package installs it in a folder that is only in root's PATH.
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
CONFIG = "mosquitto.conf"
PORT_FILE = "port"
MAX_PACKET_BYTES = 2_000_000
AMQTT = Path(__file__).with_name("amqtt_broker.py")
# Paths are relative to the broker's folder. Acknowledged messages are on disk; docs/mqtt.md explains the guarantee.
MOSQUITTO = """\
# Overwritten at each start.
listener {port} 127.0.0.1
max_connections 1000
allow_anonymous true
persistence true
persistence_location data/
autosave_on_changes true
autosave_interval 1
# Messages that wait for a worker are never dropped.
max_queued_messages 0
max_inflight_messages 1000
# A client that sends a larger packet is disconnected. message_size_limit would acknowledge the message and drop it.
max_packet_size {max_packet_bytes}
max_keepalive 3600
# Applies to the sessions of workers too.
persistent_client_expiration 1y
log_dest file log/mosquitto.log
log_type error
log_type warning
log_type notice
"""


def mosquitto() -> str | None:
    """The path of the mosquitto program; None if it is not installed."""
    return shutil.which("mosquitto", path=os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES)))


async def start(
    folder: Path, port: int, *, check_wanted: Callable[[], None], max_packet_bytes: int = MAX_PACKET_BYTES
) -> None:
    """Start the broker of this folder, or adopt the running one; it accepts connections on `port` of loopback.

    The caller holds the start lock; `check_wanted` raises if the caller has stopped in the meantime. Raises StartError,
    and OSError if a file cannot be written.
    """
    for needed in (folder, folder / "data", folder / "log"):
        needed.mkdir(mode=0o700, exist_ok=True)
    running = server(folder)
    if running is not None:
        MQTT.check_port(folder, running, _its_port(folder), port)
        note_found(MQTT.name, running)
        with suppress(EndedError):  # it was being stopped
            return await _ready(running, port, LogTail(folder / "log"))
    MQTT.check_free(port)
    command = _command(folder, port, max_packet_bytes)
    check_wanted()
    (folder / PORT_FILE).write_text(str(port))
    logs = LogTail(folder / "log")
    process = start_detached(
        command, folder=folder, output=folder / "log" / "start.log", environment={"PATH": os.environ.get("PATH", "")}
    )
    return await _ready(process, port, logs)


def packet_bytes_for(max_event_bytes: int) -> int:
    """The limit of a packet at the broker: a message that is a little too large is refused with a reason instead."""
    return max(MAX_PACKET_BYTES, 2 * max_event_bytes)


async def stop(folder: Path) -> None:
    """Stop the broker of this folder, if one runs."""
    await brokers.stop(folder, server)


def _command(folder: Path, port: int, max_packet_bytes: int) -> Sequence[str]:
    program = mosquitto()
    if program is None:
        import amqtt  # noqa: F401, PLC0415 - an optional package: ImportError is reported as for the others

        log.info(
            LogAction.MQTT_TRIAL_BROKER,
            "mosquitto is not installed: using amqtt as the MQTT broker. Use it for trials only, because messages in "
            "flight are lost when it or a worker is killed",
        )
        return [sys.executable, str(AMQTT), str(port), str(max_packet_bytes)]
    # Started by root, it would switch to a user who cannot read its data.
    user = f"user {pwd.getpwuid(0).pw_name}\n" if os.geteuid() == 0 else ""
    (folder / CONFIG).write_text(MOSQUITTO.format(port=port, max_packet_bytes=max_packet_bytes) + user)
    return [program, "-c", CONFIG]


async def _ready(process: psutil.Process | None, port: int, logs: LogTail) -> None:
    async def answers() -> bool:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    await wait_until_ready("The MQTT broker", answers, process, logs, READY_SECONDS)


def server(folder: Path) -> psutil.Process | None:
    """The process of this folder's broker; None if it does not run."""
    found = [*running_in(folder, "mosquitto"), *running_script(folder, AMQTT.name)]
    return found[0] if found else None


def _its_port(folder: Path) -> str:
    return (folder / PORT_FILE).read_text() if (folder / PORT_FILE).exists() else "another"
