"""The two formats of the log: text for people, and JSON lines for machines.

JSON is made by the standard library: it escapes everything beyond ASCII, so no value can break a line or be refused.
A package for it would only rename the members.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from headrace.process.log_actions import LogAction
from headrace.process.secrets import without_secrets
from headrace.process.terminal import printable

LogFormat = Literal["text", "json"]
RESERVED = ("time", "level", "logger", "action", "message", "traceback")
"""Members of each JSON line; no field has such a name."""
TRACEBACK_INDENT = "    "


class TextFormatter(logging.Formatter):
    """`2026-11-28T17:02:03.123Z WARNING agents.relay.relay: message`; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of a traceback; no value can begin a line."""
        mark = "(library) " if action_of(record) is LogAction.LIBRARY else ""
        lines = [f"{utc(record.created)} {record.levelname} {record.name}: {mark}{printable(record.getMessage())}"]
        lines += [TRACEBACK_INDENT + printable(line) for line in traceback_of(self, record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One object on one line: what RESERVED names, and the fields of the action."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        members: dict[str, object] = {
            "time": utc(record.created),
            "level": record.levelname,
            "logger": record.name,
            "action": str(action_of(record)),
            "message": without_secrets(record.getMessage()),
            **{name: _without_secrets(value) for name, value in getattr(record, "fields", {}).items()},
        }
        if raised := traceback_of(self, record):
            members["traceback"] = without_secrets(raised)
        return json.dumps(members)


FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def action_of(record: logging.LogRecord) -> LogAction:
    """The action of a line; what has none was written by a library."""
    action: LogAction = getattr(record, "action", LogAction.LIBRARY)
    return action


def utc(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback of a line; empty if it has none."""
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


def last_line(log_format: LogFormat, message: str, place: str = "") -> str:
    """The end of the log of a worker that cannot continue; `place`: the stack where it is stuck."""
    if log_format == "text":
        return "".join(f"{printable(line)}\n" for line in [*place.splitlines(), f"headrace: {message}"])
    record = logging.LogRecord("headrace", logging.CRITICAL, "", 0, message, (), None)
    record.action, record.exc_text = LogAction.WORKER_FAILED, place
    return JsonFormatter().format(record) + "\n"


def print_uncaught(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
    """Write what ends the program unexpectedly to stderr, as Python would, but without secrets."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error or kind(), place)
        return
    lines = "".join(traceback.format_exception(kind, error, place)).splitlines()
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


def print_uncaught_of_thread(arguments: threading.ExceptHookArgs) -> None:
    """The same for an error that ends a thread."""
    if not issubclass(arguments.exc_type, SystemExit):
        print_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def _without_secrets(value: object) -> object:
    return without_secrets(value) if isinstance(value, str) else value
