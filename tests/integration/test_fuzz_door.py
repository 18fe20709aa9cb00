"""Whatever is posted: an answer below 500, and no error in the log."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projections.devices import devices
from agents.projections.readings_hourly import readings_hourly
from tables.database import Database

from tests.support.doors.open_door import OpenDoor, open_door
from tests.support.fuzzing import JSON_VALUES, LITERALS, PAYLOADS, event_texts, fuzz, no_error_logged, status_of

CONTENT_TYPES = st.sampled_from(
    [
        *("application/cloudevents+json", "application/json", "application/cloudevents-batch+json"),
        *("application/x-ndjson", "application/jsonl", "text/plain", "application/json; charset=utf-16"),
        *("application/", ";", "application/xml", "application/json;a=b;;", 'application/json; charset="'),
    ]
) | st.text(st.characters(max_codepoint=0xFF), max_size=10)
ENCODINGS = st.sampled_from(["gzip", "zstd", "identity", "deflate", "gzip, gzip", "x", ""])
PREFERENCES = st.sampled_from(
    ["handling=strict", "handling=lenient", "wait", "wait=x", "wait=-1", ",;=", "wait=1e9999"]
)
HEADER_VALUES = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"), max_size=20)
CE_VALUES = st.text(max_size=10).map(lambda text: quote(text.encode("utf-8", "surrogatepass"))) | HEADER_VALUES
CE_HEADERS = st.dictionaries(
    st.sampled_from(
        [f"ce-{name}" for name in ("specversion", "id", "source", "type", "time", "subject", "x", "data", "é", "")]
    ),
    CE_VALUES | st.sampled_from(["1.0", "/fuzz", "reading.recorded", "%", "%zz", "%ed%a0%80", "%00"]),
    max_size=6,
)
OTHER_HEADERS = st.dictionaries(
    st.sampled_from(["Content-Length", "Transfer-Encoding", "Expect", "Host", "Accept", "Range", "Traceparent", "x y"]),
    HEADER_VALUES | st.sampled_from(["0", "-1", "99999999999", "chunked", "100-continue", "gzip, chunked"]),
    max_size=2,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """One event, a batch, lines, or any bytes; perhaps compressed, perhaps cut."""
    several = st.lists(event_texts() | LITERALS | JSON_VALUES.map(json.dumps), max_size=5)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        body = f"[{','.join(draw(several))}]".encode()
    elif kind == 1:
        body = draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(draw(several)).encode()
    else:
        body = draw(PAYLOADS)
    packed = draw(st.integers(0, 5))
    body = gzip.compress(body) if packed == 0 else zlib.compress(body) if packed == 1 else body
    return body[: draw(st.integers(0, len(body)))] if draw(st.integers(0, 5)) == 0 else body


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A POST with any headers and body."""
    headers = draw(st.just({}) | OTHER_HEADERS) | draw(st.just({}) | CE_HEADERS)
    body = draw(bodies())
    headers.setdefault("Host", "127.0.0.1")
    headers.setdefault("Content-Length", str(len(body)))
    for name, values in (("Content-Type", CONTENT_TYPES), ("Content-Encoding", ENCODINGS), ("Prefer", PREFERENCES)):
        if draw(st.integers(0, 3)) > (0 if name == "Content-Type" else 2):
            headers[name] = draw(values)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /api/v1/events HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode("utf-8", "surrogatepass") + body


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database, projections=[devices, readings_hourly]) as opened:
        yield opened


async def is_answered(door: OpenDoor, request: bytes) -> None:
    with no_error_logged():
        status = await status_of(door.port, request)
    assert status is None or status < 500, status


async def is_ready(door: OpenDoor) -> bool:
    return await status_of(door.port, b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n") == 200


@fuzz(200)
@given(sent=st.lists(requests(), min_size=1, max_size=5))
async def test_whatever_is_posted_is_answered(door: OpenDoor, sent: list[bytes]) -> None:
    for request in sent:
        await is_answered(door, request)
    assert await is_ready(door)


@fuzz(50)
@given(sent=st.binary(max_size=300), head=st.sampled_from([b"", b"POST ", b"GET /"]))
async def test_bytes_that_are_no_request_are_answered_or_cut_off(door: OpenDoor, sent: bytes, head: bytes) -> None:
    await is_answered(door, head + sent)
    assert await is_ready(door)
