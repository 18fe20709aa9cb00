"""What is published of a stored event."""

from __future__ import annotations

import json

import pytest

from agents.relay.publisher import record_value
from tables.intake.outbox import StoredEvent, key_hash


def stored(text: str, position: int = 7) -> StoredEvent:
    return StoredEvent(seq=1, position=position, partition=0, partition_key="k", text=text)


def test_the_position_is_added_as_sequence_in_20_digits() -> None:
    value = record_value(stored('{"id":"a","data":{"n":1.10}}'))
    assert value == b'{"id":"a","data":{"n":1.10},"sequence":"00000000000000000007"}'


@pytest.mark.parametrize("sent", ['"9"', "null", "12"])
def test_a_sequence_of_the_sender_is_replaced(sent: str) -> None:
    value = record_value(stored(f'{{"sequence":{sent},"id":"a","data":{{"n":1.10}}}}'))
    assert value == b'{"id":"a","data":{"n":1.10},"sequence":"00000000000000000007"}'


def test_the_word_sequence_elsewhere_is_left_alone() -> None:
    text = '{"id":"\\"sequence\\"","data":{"sequence":30}}'
    event = json.loads(record_value(stored(text)))
    assert event == {"id": '"sequence"', "data": {"sequence": 30}, "sequence": "00000000000000000007"}


def test_the_hash_of_a_key_is_the_crc_32_of_its_utf_8() -> None:
    assert key_hash("123456789") == 0xCBF43926
