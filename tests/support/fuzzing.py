"""What the fuzz tests share: how many examples, near-valid input, raw requests, and errors in the log."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

THOROUGH_EXAMPLES = 1_000
THOROUGH_TIMES = 10
REST_SECONDS = 1.0

Test = Callable[..., Any]


def fuzz(examples: int) -> Callable[[Test], Test]:
    """So many examples in a quick run, and ten times as many in a thorough one; all on the same servers."""
    is_thorough = hypothesis.settings().max_examples >= THOROUGH_EXAMPLES
    return settings(
        max_examples=examples * (THOROUGH_TIMES if is_thorough else 1),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


LITERALS = st.sampled_from(
    [
        *("1e400", "-1e400", "1e131071", "1e-16383", "1e-400", "9" * 5_000, "0." + "3" * 20_000, "-0", "01", "1."),
        *("NaN", "-Infinity", '"\\ud800"', '"\\u0000"', '"\\udc00\\ud800"', "nul", "[" * 70 + "]" * 70),
        *('{"a":1,"a":2}', '""', " "),
    ]
)
"""Texts in place of a JSON value that a parser may stumble over."""
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON_VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
MEMBERS = st.sampled_from(
    [
        *("specversion", "id", "source", "type", "subject", "time", "data", "data_base64", "datacontenttype"),
        *("dataschema", "partitionkey", "sequence", "traceparent", "x", "X", "a-b", "é", ""),
    ]
)
TYPES = st.sampled_from(["device.registered", "reading.recorded", "device.retired", "tested"])
VALID = {
    "specversion": "1.0",
    "source": "/fuzz",
    "subject": "dev-1",
    "time": "2026-11-22T08:00:00Z",
    "data": {"metric": "t", "value": 1, "name": "n"},
}


@st.composite
def event_texts(draw: st.DrawFn) -> str:
    """An event as JSON: valid, or with members that are replaced, added, missing or no JSON at all."""
    members = {name: json.dumps(value) for name, value in VALID.items()}
    members |= {"id": json.dumps(str(draw(st.uuids()))), "type": json.dumps(draw(TYPES))}
    for name in draw(st.lists(MEMBERS, max_size=2)):
        members[name] = draw(LITERALS | JSON_VALUES.map(json.dumps))
    if draw(st.integers(0, 4)) == 4:
        members["data"] = f'{{"metric":"t","value":{draw(LITERALS)}}}'
    if draw(st.integers(0, 9)) == 9:
        members.pop(draw(MEMBERS), None)
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"


@st.composite
def damaged(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    """A text in which a few bytes are replaced, or which ends too early."""
    content = bytearray(draw(texts).encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 4)) == 0 else content)


PAYLOADS = event_texts().map(str.encode) | damaged(event_texts()) | st.binary(max_size=200)
"""What a client may send as one event."""


async def status_of(port: int, request: bytes) -> int | None:
    """Send bytes to an HTTP server on loopback; the status of the first answer.

    None if the server only disconnects, or waits for the rest of the request.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(REST_SECONDS):
            line = await reader.readline()
    except (ConnectionError, TimeoutError):
        return None
    finally:
        writer.transport.abort()
    return int(line.split()[1]) if line else None


class ErrorLog(logging.Handler):
    """Keeps what is logged at ERROR or above, by whomever."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message and the traceback."""
        self.lines.append(logging.Formatter().format(record))


@contextmanager
def no_error_logged() -> Iterator[None]:
    """Nothing fails unexpectedly meanwhile."""
    handler = ErrorLog()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.lines == []
