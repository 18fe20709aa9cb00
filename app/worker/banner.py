"""What a worker reports when all its services work: a line in the log and, in text format, addresses and a curl."""

from __future__ import annotations

import sys
from collections.abc import Callable

from mode import Service

from app.setting_groups.tls import TlsPort
from app.settings import SERVICE_NAMES, Settings
from app.worker.broker_address import mqtt_address
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from headrace.process.parts import Parts
from headrace.process.terminal import printable
from headrace.process.waiting import backoff_seconds

MIN_WAIT_SECONDS = 0.01
MAX_WAIT_SECONDS = 0.1
FIRST_REPORT_SECONDS = 10.0
REPORT_SECONDS = 60.0

log = ActionLog(__name__)

CURL = """\
  curl -s {ingestion}/api/v1/events -H 'content-type: application/json' -H 'prefer: wait=5' -d '{{
    "specversion": "1.0", "id": "1", "source": "/readme", "type": "reading.recorded", "subject": "dev-1",
    "data": {{"metric": "temperature", "value": 21.5, "unit": "C"}}}}'
"""


class Banner(Service):
    """Prints once, when all parts of the worker work; until then it says now and then what is missing."""

    def __init__(self, settings: Settings, parts: Parts, *, is_up: Callable[[], None]) -> None:
        """`is_up`: called once, when all parts work."""
        super().__init__()
        self._is_up = is_up
        self._parts = parts
        self._settings = settings

    @Service.task
    async def _announce(self) -> None:
        waits, since, due = backoff_seconds(MIN_WAIT_SECONDS, MAX_WAIT_SECONDS), self.loop.time(), FIRST_REPORT_SECONDS
        while missing := self._parts.missing():
            if self.loop.time() - since > due:
                due += REPORT_SECONDS
                told = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
                log.info(LogAction.WORKER_WAITING, "Not up yet: {missing}", missing=told)
            await self.sleep(next(waits))
            if self.should_stop:
                return
        self._is_up()
        log_start(self._settings)
        if self._settings.log_format == "text":
            sys.stdout.write(banner(self._settings))
            sys.stdout.flush()


def log_start(settings: Settings) -> None:
    """Log the services, and the addresses of those that run."""
    serves, applies = "ingestion" in settings.runs, "event_handler" in settings.runs
    log.info(
        LogAction.WORKER_STARTED,
        "Worker started: {services}",
        services=", ".join(name for name in SERVICE_NAMES if name in settings.runs),
        ingestion=_place(settings, "ingestion") if serves else None,
        query=_place(settings, "query") if "query" in settings.runs else None,
        mqtt=mqtt_address(settings, host_name="").broker if serves and settings.mqtt_url != "off" else None,
        health=None if serves or "query" in settings.runs else _place(settings, "health"),
        kafka=settings.bootstrap_servers if serves or applies else None,
        topic=settings.topic if serves or applies else None,
    )


def _url(settings: Settings, port: TlsPort) -> str:
    host, number = getattr(settings, f"{port}_host"), getattr(settings, f"{port}_port")
    return f"{settings.scheme(port)}://{host}:{number}"


def _place(settings: Settings, port: TlsPort) -> str:
    """Where a port is, for the log: with `https://`, or without a scheme."""
    return _url(settings, port).removeprefix("http://")


def banner(settings: Settings) -> str:
    """The text."""
    ingestion, query = _url(settings, "ingestion"), _url(settings, "query")
    lines = ["", "Headrace is up. Ctrl-C ends it.", ""]
    if "ingestion" in settings.runs:
        lines.append(f"  ingestion      {ingestion}/api/v1/events")
    if "ingestion" in settings.runs and settings.mqtt_url != "off":
        address = mqtt_address(settings, host_name="")
        lines.append(f"  devices        MQTT {address.host}:{address.port}, topic devices/{{device}}/events")
    if "event_handler" in settings.runs:
        lines.append(f"  event handler  topic {settings.topic} at {settings.bootstrap_servers}")
    if "query" in settings.runs:
        lines.append(f"  query          {query}/api/v1/projections")
    if settings.runs == {"event_handler"}:
        lines.append(f"  health         {_url(settings, 'health')}/readyz")
    if settings.runs >= {"ingestion", "query"}:
        lines += [
            "",
            "Try:",
            "",
            CURL.format(ingestion=ingestion) + f"  curl -s {query}/api/v1/projections/devices/dev-1",
        ]
    return printable(*"\n".join(lines).split("\n"), "", "")
