"""Strict JSON: one reading for every layer, and the accepted text is kept as it is."""

from __future__ import annotations

import sys
import time
import tracemalloc

import pytest

from headrace.events import strict_json
from headrace.events.strict_json import InvalidJson

DEPTH = 64


def read(text: str | bytes, max_depth: int = DEPTH) -> dict[str, bytes]:
    _, members = strict_json.members(text if isinstance(text, bytes) else text.encode(), max_depth)
    return {name: bytes(raw) for name, raw in members.items()}


def problem(text: str | bytes, max_depth: int = DEPTH) -> tuple[str, str]:
    with pytest.raises(InvalidJson) as caught:
        read(text, max_depth)
    return caught.value.code, caught.value.pointer


def test_members_keep_their_own_text() -> None:
    assert read('{"a" : 1.10, "b":[ 1 ,2],"c":"\\u00e9\\/"}') == {"a": b"1.10", "b": b"[ 1 ,2]", "c": b'"\\u00e9\\/"'}


def test_white_space_around_the_text_is_removed_and_that_inside_stays() -> None:
    text, _ = strict_json.members(b'\r\n\t {"a": 1 ,\n"b":2 } \n', DEPTH)
    assert text == '{"a": 1 ,\n"b":2 }'


@pytest.mark.parametrize(
    "value",
    [
        "123456789012345678901234567890",
        "1e400",
        "-1E+400",
        "1e131071",
        "1e-16383",
        "0.1e131072",
        "9" * 131_072,
        "0." + "1" * 16_383,
        "1." + "1" * 16_384 + "e1",
        "0e-16383",
        "0e140000",
        "1e0000000000000000001",
        "-0",
        r'"\\u0000"',
        r'"\\\\ud800"',
        r'"\ud83d\ude00"',
        r'"\uD83D\uDE00\u00e9\u0001\"\\\/\b\f\n\r\t"',
        '"\u007f\u0085\u2028\uffff\U0001f600"',
        '"1e999999, 0e-99999,-1e999999"',
        '"' + "9" * 200_000 + '"',
        '"' + "[" * 100 + '"',
        r'"\"' + "[{" * 100 + '"',
        '{"b":1,"b":2}',
        "[" * 63 + "]" * 63,
        "[" + ",".join(["[[]]"] * 100) + "]",
    ],
    ids=lambda value: value[:30].encode("unicode_escape").decode(),
)
def test_what_every_layer_can_hold_is_accepted(value: str) -> None:
    assert read(f'{{"a":{value}}}') == {"a": value.encode()}


@pytest.mark.parametrize(
    ("text", "code", "pointer"),
    [
        ("", "malformed_json", ""),
        ("  ", "malformed_json", ""),
        ("null", "not_an_object", ""),
        ("[{}]", "not_an_object", ""),
        ('"a"', "not_an_object", ""),
        ("{'a':1}", "malformed_json", ""),
        ('{"a":1}{"a":1}', "malformed_json", ""),
        ('{"a":1,}', "malformed_json", ""),
        ('{"a":NaN}', "malformed_json", ""),
        ('{"a":-Infinity}', "malformed_json", ""),
        ('{"a":01}', "malformed_json", ""),
        ('{"a":"\\x41"}', "malformed_json", ""),
        ('{"a":"b\nc"}', "malformed_json", ""),
        ("\x0c{}", "malformed_json", ""),
        ("\u00a0{}", "malformed_json", ""),
        (b'\xef\xbb\xbf{"a":1}', "malformed_json", ""),
        (b'{"a":"\xe9"}', "invalid_utf8", ""),
        (b'{"a":"\xed\xa0\x80"}', "invalid_utf8", ""),
        (b'{"a":"\xc0\x80"}', "invalid_utf8", ""),
        ('{"a":1}'.encode("utf-16"), "invalid_utf8", ""),
        ('{"a":1}'.encode("utf-16-le"), "nul_character", ""),
        (b'{"a":"\x00"}', "nul_character", ""),
        (b'{"a":1}\x00', "nul_character", ""),
        (r'{"a":"\u0000"}', "nul_character", "/a"),
        (r'{"b":1,"a":{"b":["\\\u0000"]}}', "nul_character", "/a"),
        (r'{"a\u0000b":1}', "nul_character", ""),
        (r'{"a":"\ud800"}', "lone_surrogate", ""),
        (r'{"a":"\udc00 and more text"}', "lone_surrogate", ""),
        (r'{"a":"\udc00\ud800"}', "lone_surrogate", ""),
        (r'{"a":"\ud83d\ud83d\ude00"}', "lone_surrogate", ""),
        (r'{"a":"\ud83d and more text"}', "lone_surrogate", ""),
        (r'{"\uDBFF":1}', "lone_surrogate", ""),
        ('{"a":1,"a":1}', "duplicate_name", "/a"),
        ('{"id":1,"b":{},"\\u0069d":2}', "duplicate_name", "/id"),
        ('{ "a" : 1 , "b" : 2 , "a" : 3 }', "duplicate_name", "/a"),
        ('{"":1,"":2}', "duplicate_name", "/"),
        ('{"a":' + "[" * 64 + "]" * 64 + "}", "too_deep", "/a"),
        ('{"b":"[","a":' + '{"a":' * 64 + "1" + "}" * 64 + "}", "too_deep", "/a"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep", ""),
        ("[" * 100_000, "not_an_object", ""),
        ('{"a":' + "[" * 100_000, "too_deep", ""),
        ('{"a":1e131072}', "number_out_of_range", "/a"),
        ('{"a":[-1E+140000]}', "number_out_of_range", "/a"),
        ('{"a": 1e-16384}', "number_out_of_range", "/a"),
        ('{"b":"x","a":{"b":10e131071}}', "number_out_of_range", "/a"),
        ('{"a":' + "9" * 131_073 + "}", "number_out_of_range", "/a"),
        ('{"a":0.' + "0" * 16_384 + "}", "number_out_of_range", "/a"),
        ('{"a":1e' + "9" * 5_000 + "}", "number_out_of_range", "/a"),
        ('{"a":1e-' + "9" * 5_000 + "}", "number_out_of_range", "/a"),
    ],
    ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
)
def test_what_some_layer_would_read_otherwise_is_refused(text: str | bytes, code: str, pointer: str) -> None:
    assert problem(text) == (code, pointer)


def test_the_depth_counts_the_object_itself() -> None:
    assert read('{"a":[{}]}', max_depth=3) == {"a": b"[{}]"}
    assert problem('{"a":[{}]}', max_depth=2) == ("too_deep", "/a")


def test_names_spelled_with_escapes_are_spelled_out_and_values_stay() -> None:
    text, members = strict_json.members(rb'{ "\u0069d" : "\u0061", "b":1.0 }', DEPTH)
    assert text == r'{"id":"\u0061","b":1.0}'
    assert list(members) == ["id", "b"]


def test_a_pointer_shows_a_name_cut_and_escaped() -> None:
    assert strict_json.pointer_to("a/b~c") == "/a~1b~0c"
    assert strict_json.pointer_to("\x1b[2J\n" + "x" * 100) == "/\\x1b[2J\\n" + "x" * 35


def test_messages_do_not_repeat_the_text() -> None:
    for text in ('{"a":"secret"', '{"secret', '{"a":"secret \\ud800"}', '{"a":["secret", 1e200000]}', "secret"):
        with pytest.raises(InvalidJson) as caught:
            read(text)
        assert "secret" not in caught.value.detail


def test_elements_are_the_texts_of_an_array() -> None:
    assert [bytes(raw) for raw in strict_json.elements(b' [ {"a": 1} ,[2],3 ] ', 3)] == [b'{"a": 1}', b"[2]", b"3"]
    assert strict_json.elements(b"[]", 3) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"{}", "not_an_array"),
        (b"[1,]", "malformed_json"),
        (b"[1", "malformed_json"),
        (b"", "malformed_json"),
        (b"[1,2,3,4]", "batch_too_large"),
        (b"[" + b"0," * 500_000 + b"0]", "batch_too_large"),
        (b'["",' + b'"]",' * 500_000 + b"0]", "batch_too_large"),
        (b"[" * 100_000, "too_deep"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_array_or_too_long_is_refused(text: bytes, code: str) -> None:
    with pytest.raises(InvalidJson) as caught:
        strict_json.elements(text, 3)
    assert caught.value.code == code


def test_a_body_of_commas_is_refused_before_it_fills_the_memory() -> None:
    body = b"[" + b"0," * 500_000 + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidJson):
            strict_json.elements(body, 3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(body)  # as msgspec would read it: 33 times


def test_commas_inside_elements_do_not_count() -> None:
    element = b'{"a":[' + b"0," * 1_000 + b'",,,]"],"b":{}}'
    assert len(strict_json.elements(b"[" + element + b"," + element + b"]", 2)) == 2


@pytest.mark.parametrize(
    "piece", [r"\u00e9", r"\\", '{"a":', "[],", "1e10000,", "-1.5e-9999,", '"e00000",', '"\\"",', "\\", '"', " ", "[["]
)
def test_hostile_repetition_takes_linear_time(piece: str) -> None:
    def seconds(times: int) -> float:
        bodies = [wrap.format(piece * times).encode() for wrap in ('{{"a":"{}"}}', '{{"a":[{}0]}}')]
        start = time.process_time()
        for body in bodies:
            try:
                strict_json.members(body, DEPTH)
            except InvalidJson:
                continue
        return time.process_time() - start

    seconds(1_000)
    assert seconds(100_000) < 2.0  # quadratic: minutes


def test_the_members_do_not_hold_the_body() -> None:
    body = b'{"a":[1,2,3]}' + b" " * 10_000
    before = sys.getrefcount(body)
    _, members = strict_json.members(body, DEPTH)
    assert sys.getrefcount(body) == before
    assert bytes(members["a"]) == b"[1,2,3]"
