"""The record of a stored event on the topic."""

from __future__ import annotations

import json

import pytest

from headrace.events.partition_key import key_hash
from headrace.events.topic_record import encode


def test_the_position_is_added_as_sequence_in_20_digits() -> None:
    value = encode('{"id":"a","data":{"n":1.10}}', 7)
    assert value == b'{"id":"a","data":{"n":1.10},"sequence":"00000000000000000007"}'


@pytest.mark.parametrize("sent", ['"9"', "null", "12"])
def test_a_sequence_of_the_sender_is_replaced(sent: str) -> None:
    value = encode(f'{{"sequence":{sent},"id":"a","data":{{"n":1.10}}}}', 7)
    assert value == b'{"id":"a","data":{"n":1.10},"sequence":"00000000000000000007"}'


def test_the_word_sequence_elsewhere_is_left_alone() -> None:
    text = '{"id":"\\"sequence\\"","data":{"sequence":30}}'
    event = json.loads(encode(text, 7))
    assert event == {"id": '"sequence"', "data": {"sequence": 30}, "sequence": "00000000000000000007"}


def test_the_hash_of_a_key_is_the_crc_32_of_its_utf_8() -> None:
    assert key_hash("123456789") == 0xCBF43926
