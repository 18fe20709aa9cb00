"""Which records of the topic are events of this database: what was signed, by whom, in which epoch and place."""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.genuine_records import PassedOver, Reason, judge
from headrace.events.origin import HEADER_BYTES, ORIGIN, UNKNOWN, Installation, sign
from headrace.events.topic_record import FOLLOWS, HEADERS, decode

from tests.support.data.signed_records import EPOCH, OURS, signed, timeline

POSITIONS = st.integers(1, 2**63 - 1)
EPOCHS = st.integers(0, 2**62)
PARTITIONS = st.integers(0, 2**31 - 1)
OTHERS = Installation(b"others--", b"t" * 32)
SAME_ID = Installation(OURS.id, b"t" * 32)


def value(position: int, **members: object) -> bytes:
    event = {"id": "1", "source": "/t", "type": "t", "time": "2026-11-22T08:00:00Z", **members}
    return json.dumps({**event, "sequence": f"{position:020d}"}).encode()


def why(found: object) -> Reason:
    assert isinstance(found, PassedOver)
    return found.reason


@given(POSITIONS, PARTITIONS, st.none() | POSITIONS)
def test_what_was_signed_is_genuine(position: int, partition: int, follows: int | None) -> None:
    text = value(position, data={"n": position})
    found = judge(timeline(), partition, text, signed(text, follows, partition=partition))
    assert found == (decode(text, partition), UNKNOWN if follows is None else follows)


@given(st.data(), PARTITIONS)
def test_no_bit_can_be_changed(data: st.DataObject, partition: int) -> None:
    text = value(7)
    origin = sign(OURS, EPOCH, partition, 3, text)
    whole = bytearray(origin + text)
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    changed, changed_text = bytes(whole[:HEADER_BYTES]), bytes(whole[HEADER_BYTES:])
    assert why(judge(timeline(), partition, changed_text, [(ORIGIN, changed)])) in {
        Reason.FORGED,
        Reason.FOREIGN,
        Reason.UNSIGNED,
    }


@given(PARTITIONS, PARTITIONS)
def test_a_record_is_of_one_partition(partition: int, other: int) -> None:
    text = value(7)
    found = judge(timeline(), other, text, signed(text, 3, partition=partition))
    assert isinstance(found, PassedOver) == (partition != other)


def test_others_are_named() -> None:
    text = value(7)
    found = judge(timeline(), 0, text, signed(text, 3, installation=OTHERS))
    assert isinstance(found, PassedOver)
    assert found.origin is not None
    assert (found.reason, found.origin.installation) == (Reason.FOREIGN, OTHERS.id)


def test_another_secret_is_a_forgery() -> None:
    text = value(7)
    assert why(judge(timeline(), 0, text, signed(text, 3, installation=SAME_ID))) is Reason.FORGED


@given(POSITIONS, POSITIONS)
def test_an_epoch_ends_where_a_later_one_begins(position: int, end: int) -> None:
    text = value(position)
    found = judge(timeline(e5=end), 0, text, signed(text, None, epoch=5))
    assert isinstance(found, PassedOver) == (position > end)


@given(EPOCHS)
def test_an_epoch_that_the_database_does_not_have_is_abandoned(epoch: int) -> None:
    text = value(1)
    found = judge(timeline(e5=30), 0, text, signed(text, None, epoch=epoch))
    if epoch in {EPOCH, 5}:
        assert not isinstance(found, PassedOver)
    else:
        assert why(found) is Reason.ABANDONED


@pytest.mark.parametrize("headers", [[], HEADERS, [(FOLLOWS, b"3")], [(ORIGIN, None)], [(ORIGIN, b"")]])
def test_a_record_without_origin_is_unsigned(headers: Sequence[tuple[str, bytes | None]]) -> None:
    assert judge(timeline(), 0, value(7), headers) == PassedOver(Reason.UNSIGNED, 7)
    assert judge(timeline(), 0, b"no event", headers) == PassedOver(Reason.UNREADABLE)


def test_a_header_of_a_later_version_is_unsigned() -> None:
    text = value(7)
    later = b"\2" + a2b_base64(sign(OURS, EPOCH, 0, 3, text))[1:]
    assert why(judge(timeline(), 0, text, [(ORIGIN, b2a_base64(later, newline=False))])) is Reason.UNSIGNED


def test_a_tombstone_with_an_origin_is_a_forgery() -> None:
    assert why(judge(timeline(), 0, None, signed(b"", 3))) is Reason.FORGED


@given(
    st.none() | st.binary(max_size=60),
    st.lists(
        st.tuples(
            st.sampled_from([ORIGIN, FOLLOWS, ""]),
            st.none() | st.binary(max_size=60) | st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES),
        )
    ),
)
def test_nothing_raises(text: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    assert isinstance(judge(timeline(), 0, text, headers), PassedOver)


def test_the_header_is_compact_and_printable() -> None:
    one = sign(OURS, EPOCH, 0, 3, value(7))
    assert len(one) == HEADER_BYTES == 56
    assert one.isascii()
    assert one.decode().isprintable()
    assert one == b"AW91cnMtLS0tAAAAAAAAAAcAAAAAAAAAA5/ur8vUprlzuhWuoUckQXQ="
