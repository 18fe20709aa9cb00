"""The two formats of the log: text for people, and JSON lines for machines.

JSON is made by the standard library: it escapes everything beyond ASCII, so no value can break a line or be refused.
A package for it would only rename the members.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal

from headrace.process.log_actions import LogAction

LogFormat = Literal["text", "json"]
# Control characters, separators of lines, signs that change the direction of text, and halves of characters.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
RESERVED = ("time", "level", "logger", "action", "message", "traceback")
"""Members of each JSON line; no field has such a name."""
TRACEBACK_INDENT = "    "


class TextFormatter(logging.Formatter):
    """`2026-11-28T17:02:03.123Z WARNING agents.relay.relay: message`; a traceback follows indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of a traceback; no value can begin a line."""
        mark = "(library) " if action_of(record) is LogAction.LIBRARY else ""
        lines = [f"{utc(record.created)} {record.levelname} {record.name}: {mark}{escaped(record.getMessage())}"]
        lines += [TRACEBACK_INDENT + escaped(line) for line in traceback_of(self, record).splitlines()]
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
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if traceback := traceback_of(self, record):
            members["traceback"] = traceback
        return json.dumps(members)


FORMATTERS: dict[LogFormat, type[logging.Formatter]] = {"text": TextFormatter, "json": JsonFormatter}


def action_of(record: logging.LogRecord) -> LogAction:
    """The action of a line; what has none was written by a library."""
    action: LogAction = getattr(record, "action", LogAction.LIBRARY)
    return action


def utc(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def escaped(text: str) -> str:
    """The text on one line, with nothing that a terminal would obey."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback of a line; empty if it has none."""
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


def last_line(log_format: LogFormat, message: str, place: str = "") -> str:
    """The end of the log of a worker that cannot continue; `place`: the stack where it is stuck."""
    if log_format == "text":
        return f"{place}headrace: {message}\n"
    record = logging.LogRecord("headrace", logging.CRITICAL, "", 0, message, (), None)
    record.action, record.exc_text = LogAction.WORKER_FAILED, place
    return JsonFormatter().format(record) + "\n"
