"""Records that others wrote to the topic: whatever they hold, they are skipped, and no error leaves the decoder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.kafka.fetch_batches import RecordBatch
from headrace.events.topic_record import FOLLOWS, decode, followed

OURS = {
    "specversion": "1.0",
    "id": "a",
    "source": "/tests",
    "type": "tested",
    "time": "2026-11-22T08:00:00Z",
    "sequence": f"{7:020d}",
}


def record(**members: Any) -> bytes:
    return json.dumps(OURS | members).encode()


def test_a_record_of_ours_is_decoded() -> None:
    event = decode(record(subject="dev \U0001f600"), 3)
    assert event is not None
    assert (event.position, event.partition, event.partition_key) == (7, 3, "dev \U0001f600")


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x00",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        record(sequence="9" * 20),
        record(sequence=str(2**63).zfill(20)),
        record(sequence="0" * 20),
        record(sequence="\u0667" * 20),
        record(sequence="7"),
        record(sequence=7),
        record(sequence=None),
        record(time="2026-11-22"),
        record(time="0000-01-01T00:00:00Z"),
        record(time="9999-12-31T23:59:59-23:59"),
        record(subject="dev\0"),
        record(id="\0"),
        record(source="\0"),
        record(type="\0"),
        record(partitionkey="\0"),
        record(subject="\udc00"),
        record(id="\ud800"),
        record()[:-1] + b',"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_cannot_be_an_event_of_ours_is_skipped(value: bytes | None) -> None:
    assert decode(value, 0) is None
    assert RecordBatch({0: [value, record(), value]}).unchecked().events == [decode(record(), 0)]


@pytest.mark.parametrize("value", [None, b"", b"-1", b"1.5", b"9" * 5_000, b"9" * 20, b"\xd9\xa7", b" 7"])
def test_a_header_that_names_no_position_is_ignored(value: bytes | None) -> None:
    assert followed([("other", None), (FOLLOWS, value)]) is None


def test_a_header_names_the_position_before() -> None:
    assert followed([("other", b"1"), (FOLLOWS, b"12")]) == 12


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_no_value_raises(value: bytes) -> None:
    decode(value, 0)


@given(
    st.dictionaries(
        st.sampled_from([*OURS, "subject", "partitionkey", "data"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_no_member_raises(members: dict[str, Any]) -> None:
    event = decode(record(**members), 0)
    if event is not None:
        assert 0 < event.position < 2**63
        assert "\0" not in event.partition_key


@given(st.lists(st.tuples(st.sampled_from([FOLLOWS, "", "x"]), st.none() | st.binary(max_size=30))))
def test_no_header_raises(headers: list[tuple[str, bytes | None]]) -> None:
    position = followed(headers)
    assert position is None or 0 <= position < 2**63
