"""Logging: our own lines as they come, those of the libraries seldom."""

from __future__ import annotations

import logging
from typing import Any

from headrace.errors import HeadraceError

LIBRARY_LINE_SECONDS = 10.0
OURS = ("app", "agents", "tables", "web")


def logging_config(level: str) -> dict[str, Any]:
    """Our own lines at `level`; of the libraries only what is wrong, and not 60 times a second."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "filters": {"throttled": {"()": RarelyFilter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["throttled"]},
        },
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {name: {"level": level} for name in OURS},
    }


class RarelyFilter(logging.Filter):
    """Keeps the log to what tells something: libraries repeat themselves as long as a server is away, and an error of
    our own that ends the worker is told once, in its last line."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], HeadraceError):
            return False
        if record.name.split(".")[0] in OURS:
            # Mode tells the life of each service under the service's own name.
            return record.levelno > logging.INFO or not record.getMessage().startswith("[^")
        if record.levelno == logging.CRITICAL and record.name == "faust.worker":
            return False  # "We experienced a crash!": its reason was logged before
        place = (record.name, record.levelno, record.pathname + str(record.lineno))
        last = self._seen.get(place, float("-inf"))
        if record.created - last < LIBRARY_LINE_SECONDS:
            return False
        self._seen[place] = record.created
        return True
