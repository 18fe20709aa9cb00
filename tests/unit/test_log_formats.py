"""The two formats of a line, and which lines are written."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.worker.log_formats import JsonFormatter, TextFormatter, last_line
from app.worker.logging_config import LIBRARY_LINE_SECONDS, LineFilter
from app.worker.startup import SETTLING_SECONDS, Startup
from headrace.errors import StartError
from headrace.process.action_log import ActionLog, in_words
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: \S.*")
HOSTILE = "a\nb\r\x1b[31m\x85\u2028\u202e\x7f\ud800 ü"

log = ActionLog("agents.tests")
throttled = ThrottledLog(log, interval_seconds=3600)


class Clock:
    """A time that a test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Records(logging.Handler):
    """Keeps the records that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.DEBUG)
    handler = Records()
    logging.getLogger("agents.tests").addHandler(handler)
    yield handler.kept
    logging.getLogger("agents.tests").removeHandler(handler)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def startup(clock: Clock) -> Startup:
    return Startup(clock)


def raised(text: str) -> ValueError:
    """An error with a traceback."""
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.JSONDecoder().decode("{")
    return ValueError(text).with_traceback(caught.tb)


def in_json(record: logging.LogRecord) -> dict[str, Any]:
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    members: dict[str, Any] = json.loads(line)
    return members


def test_a_line_says_the_same_in_both_formats(records: list[logging.LogRecord]) -> None:
    text = "Projection {projection}: batch failed, retrying in {seconds:.1f} s: {error}"
    log.warning(LogAction.PROJECTION_RETRYING, text, projection="devices", seconds=2.04, error=TimeoutError())
    (record,) = records
    record.created = 1_795_885_323.1239
    message = "Projection devices: batch failed, retrying in 2.0 s: TimeoutError"
    assert TextFormatter().format(record) == f"2026-11-28T17:02:03.123Z WARNING agents.tests: {message}"
    assert in_json(record) == {
        "time": "2026-11-28T17:02:03.123Z",
        "level": "WARNING",
        "logger": "agents.tests",
        "action": "projection.retrying",
        "message": message,
        "projection": "devices",
        "seconds": 2.04,
        "error": "TimeoutError",
    }


def test_fields_keep_their_types_and_those_that_do_not_apply_are_absent(records: list[logging.LogRecord]) -> None:
    values = {"positions": {3: 17}, "seconds": float("inf"), "projection": None, "name": StartError("it failed")}
    log.info(LogAction.PROJECTION_STALLED, "{positions} {projection}", **values)
    members = in_json(records[0])
    assert members["message"] == "{'3': 17} None"
    assert members["positions"] == {"3": 17}
    assert members["seconds"] == "inf"
    assert members["name"] == "StartError: it failed"
    assert "projection" not in members


def test_no_value_breaks_a_line(records: list[logging.LogRecord]) -> None:
    log.warning(LogAction.PROJECTION_PARKED, "Parked key {key}: %s {{}}", key=HOSTILE + "{key}%d")
    line = TextFormatter().format(records[0])
    assert LINE.fullmatch(line)
    assert line.isprintable()
    assert line.endswith(r"Parked key a\nb\r\x1b[31m\x85\u2028\u202e\x7f\ud800 ü{key}%d: %s {}")
    assert in_json(records[0])["key"] == HOSTILE + "{key}%d"


def test_a_traceback_is_indented_or_a_member(records: list[logging.LogRecord]) -> None:
    error = raised("what\n2026-11-28T17:02:03.123Z ERROR agents: forged")
    log.exception(LogAction.REQUEST_FAILED, "{method} failed", error, method="GET")
    first, *others = TextFormatter().format(records[0]).splitlines()
    assert LINE.fullmatch(first)
    assert others[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in others)
    members = in_json(records[0])
    assert members["traceback"].startswith("Traceback (most recent call last):\n")
    assert members["method"] == "GET"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "TimeoutError"),
        (ValueError("no"), "ValueError: no"),
        (RuntimeError("RuntimeError: said already"), "RuntimeError: said already"),
    ],
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    assert in_words(error) == words


def test_the_last_line_of_a_worker(startup: Startup) -> None:
    assert last_line("text", "It ends.", "stack\n") == "stack\nheadrace: It ends.\n"
    members = json.loads(last_line("json", "It ends.", "stack\n"))
    assert members["time"].endswith("Z")
    assert members | {"time": ""} == {
        "time": "",
        "level": "CRITICAL",
        "logger": "headrace",
        "action": "worker.failed",
        "message": "It ends.",
        "traceback": "stack\n",
    }


def test_a_repeated_problem_is_logged_once_an_interval(records: list[logging.LogRecord]) -> None:
    for number in range(100):
        throttled.warning(LogAction.RECORD_SKIPPED, "{partition}: {error}", partition=1, error=str(number))
    throttled.warning(LogAction.RECORD_SKIPPED, "{partition}: {error}", partition=2, error="other partition")
    throttled.warning(LogAction.MQTT_HELD, "{error}", error="other action")
    assert [one.getMessage() for one in records] == ["1: 0", "2: other partition", "other action"]


def test_the_next_line_says_how_many_were_left_out(records: list[logging.LogRecord]) -> None:
    own = ThrottledLog(log, interval_seconds=3600)
    for interval in (3600, 3600, 0):
        own._interval = interval
        own.warning(LogAction.KAFKA_UNAVAILABLE, "away")
    assert [one.getMessage() for one in records] == ["away", "away (1 more since)"]
    assert [in_json(one).get("left_out") for one in records] == [None, 1]


def library(name: str = "aiokafka", level: int = logging.WARNING, text: str = "Topic %s\nis away") -> logging.LogRecord:
    return logging.LogRecord(name, level, "/lib/client.py", 7, text, ("events",), None)


def own(action: LogAction, level: int = logging.WARNING) -> logging.LogRecord:
    record = logging.LogRecord("agents.relay.relay", level, "/relay.py", 7, "away", (), None)
    record.action, record.fields = action, {}
    return record


def test_lines_of_libraries_are_marked_and_throttled(clock: Clock, startup: Startup) -> None:
    lines = LineFilter("INFO", startup, clock)
    clock.now += SETTLING_SECONDS
    written = []
    for _ in range(61):
        if lines.filter(record := library()):
            written.append(record)
        clock.now += 1
    assert len(written) == 3
    assert in_json(written[1])["action"] == "library"
    assert in_json(written[1])["left_out"] == 29
    assert (
        TextFormatter()
        .format(written[1])
        .endswith(r"WARNING aiokafka: (library) Topic events\nis away (29 more since)")
    )


def test_clients_of_kafka_may_complain_while_a_worker_starts(clock: Clock, startup: Startup) -> None:
    lines, verbose = LineFilter("INFO", startup, clock), LineFilter("DEBUG", startup, clock)
    assert not lines.filter(library())
    assert verbose.filter(record := library())
    assert record.levelname == "DEBUG"
    assert lines.filter(library("asyncio", logging.ERROR))
    clock.now += SETTLING_SECONDS + LIBRARY_LINE_SECONDS
    assert lines.filter(library())


def test_an_embedded_server_that_is_starting_is_no_problem(clock: Clock, startup: Startup) -> None:
    lines = LineFilter("INFO", startup, clock)
    assert lines.filter(own(LogAction.KAFKA_UNAVAILABLE))
    startup.begins("Apache Kafka")
    clock.now += 3600
    assert not lines.filter(own(LogAction.KAFKA_UNAVAILABLE))
    assert not lines.filter(library())
    assert lines.filter(own(LogAction.MQTT_UNAVAILABLE))
    assert lines.filter(own(LogAction.PROJECTION_RETRYING))
    startup.is_ready("Apache Kafka")
    clock.now += SETTLING_SECONDS
    assert lines.filter(own(LogAction.KAFKA_UNAVAILABLE))
    assert lines.filter(library())


def test_the_life_of_services_is_not_logged_but_a_crash_is(clock: Clock, startup: Startup) -> None:
    lines = LineFilter("DEBUG", startup, clock)
    assert not lines.filter(library("agents.relay.relay", logging.INFO, "[^--Relay]: Starting %s"))
    assert not lines.filter(library("faust.worker", logging.CRITICAL, "We experienced a crash! %s"))
    crash = library("headrace.tests", logging.ERROR, "[^---Relay]: Crashed reason=%r")
    error = raised("no")
    crash.exc_info = (type(error), error, error.__traceback__)
    assert lines.filter(crash)
    members = in_json(crash)
    assert members["action"] == "worker.crashed"
    assert members["message"] == "Relay crashed: ValueError: no"
    assert "Traceback" in members["traceback"]


def test_an_error_that_ends_the_worker_is_in_its_last_line_alone(clock: Clock, startup: Startup) -> None:
    record = library("agents.relay.relay", logging.ERROR, "[^--Relay]: Crashed reason=%r")
    record.exc_info = (StartError, StartError("no"), None)
    assert not LineFilter("INFO", startup, clock).filter(record)
