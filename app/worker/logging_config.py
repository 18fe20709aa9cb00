"""Logging: our own lines at their level, those of libraries marked and throttled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from app.embedded.supervisor import ServerName
from app.worker.log_formats import FORMATTERS, LogFormat, action_of
from app.worker.startup import Startup
from headrace.errors import HeadraceError
from headrace.process.action_log import in_words
from headrace.process.log_actions import LogAction

LIBRARY_LINE_SECONDS = 30.0
OURS = ("headrace", "app", "agents", "tables", "web")
CRASHED = "]: Crashed reason="
CLIENTS_OF_KAFKA = ("aiokafka", "faust", "kafka")
UNAVAILABLE: dict[LogAction, ServerName] = {
    LogAction.POSTGRES_UNAVAILABLE: "PostgreSQL",
    LogAction.KAFKA_UNAVAILABLE: "Apache Kafka",
    LogAction.MQTT_UNAVAILABLE: "MQTT broker",
}


def logging_config(level: str, log_format: LogFormat, startup: Startup) -> dict[str, Any]:
    """Our own lines at `level`; of the libraries only warnings and errors."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": FORMATTERS[log_format]}},
        "filters": {"lines": {"()": LineFilter, "level": level, "startup": startup}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["lines"]},
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {name: {"level": level} for name in OURS},
    }


class LineFilter(logging.Filter):
    """Decides which lines are written, and marks those that come from libraries.

    A library repeats itself while a server is away: each place in its code has one line an interval. What is expected
    while a server starts is written at DEBUG. An error of our own that ends the worker is in its last line alone.
    """

    def __init__(self, level: str, startup: Startup, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._level = logging.getLevelNamesMapping()[level]
        self._startup = startup
        self._clock = clock
        self._written: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HeadraceError):
            return False
        if not hasattr(record, "action"):
            if _is_mundane(record):
                return False
            _classify(record)
        if self._is_expected(record):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        if record.levelno < self._level:
            return False
        return action_of(record) is not LogAction.LIBRARY or self._is_due(record)

    def _is_expected(self, record: logging.LogRecord) -> bool:
        """Whether it is part of every start."""
        action = action_of(record)
        if action is LogAction.LIBRARY:
            return record.name.split(".")[0] in CLIENTS_OF_KAFKA and self._startup.is_settling()
        return action in UNAVAILABLE and self._startup.is_starting(UNAVAILABLE[action])

    def _is_due(self, record: logging.LogRecord) -> bool:
        place, now = (record.pathname, record.lineno), self._clock()
        last, left_out = self._written.get(place, (float("-inf"), 0))
        if now - last < LIBRARY_LINE_SECONDS:
            self._written[place] = (last, left_out + 1)
            return False
        self._written[place] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more since)", ()
            record.fields = {"left_out": left_out}
        return True


def _is_mundane(record: logging.LogRecord) -> bool:
    """Whether Mode reports the life of a service under the service's own name, or Faust that it has crashed, whose
    reason was logged before."""
    if record.name.split(".")[0] in OURS:
        return record.levelno <= logging.INFO
    return record.levelno == logging.CRITICAL and record.name == "faust.worker"


def _classify(record: logging.LogRecord) -> None:
    """Give a line of a library its action. A crash of a service is reported by Mode, and is ours."""
    service, crashed, _ = str(record.msg).partition(CRASHED)
    if crashed and record.exc_info and record.exc_info[1]:
        error = in_words(record.exc_info[1])
        record.action, record.fields = LogAction.WORKER_CRASHED, {"error": error}
        record.msg, record.args = f"{service.lstrip('[^-')} crashed: {error}", ()
    else:
        record.action = LogAction.LIBRARY
