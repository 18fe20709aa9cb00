"""Whatever is posted: an answer below 500, and no error in the log."""

from __future__ import annotations

import gzip
import json
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


SEVERAL = st.lists(event_texts() | LITERALS | JSON_VALUES.map(json.dumps), max_size=5)
KINDS = st.sampled_from(
    ["application/cloudevents+json", "application/cloudevents-batch+json", "application/x-ndjson", "text/plain"]
)
# By its type, what a body is like most of the time.
BODIES = {
    "application/cloudevents+json": PAYLOADS,
    "application/cloudevents-batch+json": SEVERAL.map(lambda texts: f"[{','.join(texts)}]".encode()),
    "application/x-ndjson": SEVERAL.map(lambda texts: "\n".join(texts).encode()),
    "text/plain": st.binary(max_size=50),
}
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/fuzz", "ce-type": "tested"}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A POST. Each of its parts is mostly what it should be."""

    def rarely() -> bool:
        return draw(st.integers(0, 7)) == 7

    kind = draw(KINDS)
    body = draw(BODIES[draw(KINDS) if rarely() else kind])
    headers = {"Host": "127.0.0.1", "Content-Type": draw(CONTENT_TYPES) if rarely() else kind}
    if kind == "text/plain" or rarely():
        headers |= BINARY | (draw(CE_HEADERS) if draw(st.booleans()) else {})
    if rarely():
        body, headers["Content-Encoding"] = gzip.compress(body), draw(st.just("gzip") | ENCODINGS)
    if rarely():
        body = body[: draw(st.integers(0, len(body)))]
    if rarely():
        headers["Prefer"] = draw(PREFERENCES)
    headers["Content-Length"] = str(len(body))
    headers |= draw(OTHER_HEADERS) if rarely() else {}
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
