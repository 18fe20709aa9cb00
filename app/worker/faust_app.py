"""Faust's app and worker, with Headrace's services first in the boot chain and without Faust's web server."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from signal import SIGHUP, Signals
from typing import Any, NoReturn, cast

import faust
from faust.app.base import BootStrategy
from faust.cli.worker import worker as WorkerCommand  # noqa: N812 - a class with the name of a function
from faust.exceptions import ConsumerNotStarted
from faust.types import ServiceT, TransportT
from faust.worker import Worker as FaustWorker

from agents.kafka.access import KafkaAccess
from agents.kafka.fetch_batches import BatchTransport
from app.settings import Settings
from app.worker.group_membership import GroupMembership
from app.worker.log_formats import LogFormat, last_line
from app.worker.logging_config import logging_config
from app.worker.start_lines import warn_of_environment
from app.worker.startup import Startup
from headrace.errors import HeadraceError, StartProblemsError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.parts import Condition
from web.server.server import HttpServer

# Not sent to the broker. When it expires, aiokafka leaves the group silently.
NEVER_SECONDS = 86_400.0 * 365
GC_THRESHOLDS = (20_000, 20, 20)
LAST_LINE_SECONDS = 1.0

log = ActionLog(__name__)


class Boot(BootStrategy):
    """Starts Headrace's services, then Faust's consumer if this worker handles events; never Faust's web server."""

    enable_web = False
    enable_kafka_producer = False

    def server(self) -> Iterable[ServiceT]:
        """The services in start order."""
        app = cast("Headrace", self.app)
        self.enable_kafka_consumer = app.handles_events
        return chain(app.services, super().server())


class Headrace(faust.App):
    """Runs `services` before Faust's own, so that ingestion starts, and keeps running, without Kafka."""

    BootStrategy = Boot

    def __init__(
        self, settings: Settings, *, handles_events: bool, kafka: KafkaAccess, startup: Startup | None = None
    ) -> None:
        self.services: Sequence[ServiceT] = ()
        self.http_servers: Sequence[HttpServer] = ()
        self._is_up = self._is_signalled = False
        self._group = GroupMembership(settings.topic)
        self._drain_seconds = settings.drain_seconds
        self._shutdown_seconds = settings.shutdown_seconds
        self._settings = settings
        self.handles_events = handles_events
        self.kafka = kafka
        self.log_format = settings.log_format
        super().__init__(
            settings.consumer_group,
            broker=f"kafka://{kafka.bootstrap_servers}",
            env_prefix="FAUST",
            id_format="{id}",
            Worker=Worker,
            logging_config=logging_config(settings.log_level, settings.log_format, startup or Startup()),
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            stream_wait_empty=False,
            stream_buffer_maxsize=4,
            consumer_max_fetch_size=262_144,
            consumer_group_instance_id=settings.consumer_instance_id or None,
            broker_commit_interval=1.0,
            # A group that joins before the topic exists has no partitions until it refreshes its metadata.
            consumer_metadata_max_age_ms=2_000,
            broker_session_timeout=8.0,
            broker_heartbeat_interval=2.0,
            broker_request_timeout=15.0,
            broker_max_poll_interval=NEVER_SECONDS,
        )

    def note_signal(self, name: str) -> None:
        """Log once that a signal stops the worker."""
        if not self._is_signalled:
            text = "{signal} received: stopping, after serving for {seconds:g} s more"
            log.info(LogAction.WORKER_STOPPING, text, signal=name, seconds=self._drain_seconds)
        self._is_signalled = True

    def note_up(self) -> None:
        """The worker is up: from now on its end is logged too."""
        self._is_up = True

    def on_rebalance_start(self) -> None:
        """Called in the consumer's thread."""
        self._group.leave()
        super().on_rebalance_start()

    def on_rebalance_end(self) -> None:
        """Note the partitions: from now on, their events are fetched."""
        super().on_rebalance_end()
        self._group.join(self.assigned_partitions())

    def group_condition(self) -> Condition:
        """Whether this worker fetches the partitions that are its share."""
        return self._group.condition()

    def assigned_partitions(self) -> frozenset[int]:
        """The partitions that are assigned to this worker now; empty before the consumer starts."""
        try:
            return frozenset(assigned.partition for assigned in self.consumer.assignment())
        except ConsumerNotStarted:
            return frozenset()

    def _new_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_consumer, self, kafka=self.kafka)

    def _create_directories(self) -> None:
        """Do nothing: Faust's folder is for its tables, which Headrace does not use, and it may be read-only."""

    async def on_start(self) -> None:
        # Imported objects live until exit; to scan them again and again costs some percent of a core under load.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        warn_of_environment(self._settings)
        if any(server.certificates for server in self.http_servers):
            asyncio.get_running_loop().add_signal_handler(SIGHUP, self._reload_certificates)
        await super().on_start()

    def _reload_certificates(self) -> None:
        """Where a port has TLS, SIGHUP does not end the worker."""
        for server in self.http_servers:
            if server.certificates is not None:
                server.certificates.reload()

    async def on_stop(self) -> None:
        """Report not ready, then stop accepting requests, then stop the rest.

        Faust can hang when Kafka is away, so a deadline ends the worker. That is safe: events that are not applied are
        not acknowledged.
        """
        deadline = threading.Timer(self._drain_seconds + self._shutdown_seconds, self._end_at_once)
        deadline.daemon = True
        deadline.start()
        if self._is_up and not self._is_signalled:
            text = "Stopping, after serving for {seconds:g} s more"
            log.info(LogAction.WORKER_STOPPING, text, seconds=self._drain_seconds)
        await asyncio.gather(*(server.drain(self._drain_seconds) for server in self.http_servers))
        await super().on_stop()

    def _end_at_once(self) -> None:
        # The line may have to wait, for a lock or for whoever reads the log; the end of the worker does not.
        threading.Timer(LAST_LINE_SECONDS, os._exit, (1,)).start()
        text = "Not stopped within {seconds:g} s (SHUTDOWN_SECONDS): ending at once. Nothing is lost."
        log.error(LogAction.WORKER_STOPPED_LATE, text, seconds=self._shutdown_seconds)
        os._exit(1)


def _no_faust_banner(self: WorkerCommand, worker: Any) -> None:
    """Print nothing: Faust's banner names a web server and folders that Headrace does not use."""


WorkerCommand.on_worker_created = _no_faust_banner  # type: ignore[method-assign]  # Faust has no setting for it


class Worker(FaustWorker):
    """Faust's worker without its banner. For a HeadraceError it prints a line instead of a traceback."""

    _refusal: HeadraceError | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "redirect_stdouts": False})
        self.spinner = None

    def _say(self, msg: str, file: Any = None, end: str = "\n", **kwargs: Any) -> None:
        """Print nothing: the app has its own banner, which says what listens where."""

    async def _sentinel_task(self) -> None:
        """Do not wait: mode would sleep for a second after everything has stopped."""

    def _schedule_shutdown(self, signal: Signals) -> None:
        cast("Headrace", self.app).note_signal(signal.name)
        super()._schedule_shutdown(signal)

    async def start(self) -> None:
        """Start the worker; keep a HeadraceError for the last line of output."""
        try:
            await super().start()
        except HeadraceError as error:
            self._refusal = error

    def execute_from_commandline(self) -> NoReturn:
        """Run until stopped; exit with code 1 if the worker could not start."""
        try:
            super().execute_from_commandline()
        except SystemExit:
            for reason in (self._refusal, self.crash_reason):
                if isinstance(reason, HeadraceError):
                    refuse(reason, cast("Headrace", self.app).log_format)
            raise


def refuse(error: HeadraceError, log_format: LogFormat = "text") -> NoReturn:
    """End the program with a line for each problem, usually one."""
    problems = error.problems if isinstance(error, StartProblemsError) else (str(error),)
    sys.stderr.write("".join(last_line(log_format, problem) for problem in problems))
    raise SystemExit(1)
