"""Whatever is on the topic: a record, or None."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.events.topic_record import Record, decode, encode, followed

from tests.support.fuzzing import PAYLOADS, event_texts, fuzz

NAMES = st.sampled_from(["headrace-follows", "content-type", "x"])
DIGITS = st.sampled_from([b"1", b"9" * 5_000, "²".encode(), b"-1", b" 1", b"", None])
SEQUENCES = st.sampled_from(["9" * 20, "0" * 20, "0" * 19 + "7", "0" * 19 + "²", "0" * 19 + "\u0661", "7", "x" * 20])


@fuzz(300)
@given(PAYLOADS | st.none(), SEQUENCES)
def test_any_value_is_a_record_or_none(value: bytes | None, sequence: str) -> None:
    found = [decode(value, 0)]
    if value and value.endswith(b"}"):
        found.append(decode(value[:-1] + f',"sequence":"{sequence}"}}'.encode(), 0))
    for record in found:
        assert record is None or isinstance(record, Record)
        assert record is None or 0 < record.position < 2**63


@fuzz(100)
@given(st.lists(st.tuples(NAMES, DIGITS | st.binary(max_size=5)), max_size=3))
def test_any_headers_say_a_position_or_nothing(headers: list[tuple[str, bytes]]) -> None:
    position = followed(headers)
    assert position is None or 0 <= position < 2**63


@fuzz(100)
@given(event_texts(), st.integers(1, 2**63 - 1))
def test_what_is_encoded_of_an_event_can_be_decoded_or_is_refused(text: str, position: int) -> None:
    try:
        value = encode(text, position)
    except ValueError:
        return  # the door refuses it
    assert decode(value, 0) is None or decode(value, 0).position == position  # type: ignore[union-attr]
