"""A batch of events: each is accepted or refused on its own."""

from __future__ import annotations

import json
import sys

import pytest

from headrace.events.envelope import InvalidEnvelope, Limits, parse_event

from tests.support.data.batches import read_batch

LIMITS = Limits()
RECEIVED = "2026-11-22T10:00:00.123456Z"
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/devices/7", "type": "reading.recorded"}


def test_a_bad_event_in_a_batch_does_not_spoil_the_others() -> None:
    good = json.dumps(REQUIRED).encode()
    batch = (
        b"["
        + b" , ".join([good, b"{}", good, b"null", good.replace(b"1.0", b"\xff"), b'{"a":"' + b"x" * 10**6 + b'"}'])
        + b"]"
    )
    results = read_batch(batch, LIMITS, RECEIVED)
    codes = [result.errors[0].code if isinstance(result, InvalidEnvelope) else "" for result in results]
    assert codes == ["", "missing_attribute", "", "not_an_object", "invalid_utf8", "event_too_large"]
    assert results[0] == results[2] == parse_event(good, LIMITS, RECEIVED)


def test_an_empty_batch_is_a_batch() -> None:
    assert read_batch(b" [ ] ", LIMITS, RECEIVED) == []


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"{}", "not_an_array", 400),
        (b"[{}", "malformed_json", 400),
        (b"[{},{},{}]", "batch_too_large", 413),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(body: bytes, code: str, status: int) -> None:
    with pytest.raises(InvalidEnvelope) as caught:
        read_batch(body, Limits(batch_events=2), RECEIVED)
    assert (caught.value.errors[0].code, caught.value.status) == (code, status)


def test_what_comes_of_a_batch_does_not_hold_its_body() -> None:
    body = b"[" + json.dumps(REQUIRED | {"data": [1]}).encode() + b',{},{"a":1e999999},' + b" " * 10_000 + b"1]"
    before = sys.getrefcount(body)
    results = read_batch(body, LIMITS, RECEIVED)
    assert len(results) == 4
    assert sys.getrefcount(body) == before
