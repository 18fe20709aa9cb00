"""The envelope: what is accepted, what of it is kept, and what is said about what is refused."""

from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest

from headrace.events import strict_json
from headrace.events.envelope import (
    MAX_ERRORS,
    SEQUENCE_BYTES,
    Code,
    InvalidEnvelope,
    Limits,
    ParsedEvent,
    parse_event,
)

LIMITS = Limits()
RECEIVED = "2026-11-22T10:00:00.123456Z"
REQUIRED = {"specversion": "1.0", "id": "1", "source": "/devices/7", "type": "reading.recorded"}
CODES = {code for literal in get_args(Code) for code in (get_args(literal) or [literal])}


def parse(body: bytes | str, limits: Limits = LIMITS) -> ParsedEvent:
    return parse_event(body if isinstance(body, bytes) else body.encode(), limits, RECEIVED)


def accept(**attributes: Any) -> ParsedEvent:
    return parse(json.dumps(REQUIRED | attributes))


def refusal(body: bytes | str, limits: Limits = LIMITS) -> InvalidEnvelope:
    with pytest.raises(InvalidEnvelope) as caught:
        parse(body, limits)
    assert {error.code for error in caught.value.errors} <= CODES
    return caught.value


def errors(**attributes: Any) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in refusal(json.dumps(REQUIRED | attributes)).errors]


def test_an_event_with_every_attribute() -> None:
    text = (
        '{"specversion":"1.0","id":"1","source":"/devices/7","type":"reading.recorded","subject":"7",'
        '"time":"2026-01-01T01:00:00.50+01:00","datacontenttype":"application/json; charset=\\"utf-8\\"",'
        '"dataschema":"https://example.com/reading#1","partitionkey":"hall 3","sampledrate":-3,"urgent":true,'
        '"sequence":"17","traceparent":null,"data":{"value": 1.10,"big":123456789012345678901234567890}}'
    )
    assert parse(f" {text}\n") == ParsedEvent(
        id="1",
        source="/devices/7",
        type="reading.recorded",
        subject="7",
        time="2026-01-01T00:00:00.50Z",
        time_given=True,
        partition_key="hall 3",
        data=msgspec.Raw(b'{"value": 1.10,"big":123456789012345678901234567890}'),
        text=text,
    )


def test_an_event_with_the_least() -> None:
    event = accept()
    assert (event.subject, event.time, event.time_given, event.data) == (None, RECEIVED, False, None)
    assert event.partition_key == "/devices/7"


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ({"partitionkey": "p", "subject": "s"}, "p"),
        ({"subject": "s"}, "s"),
        ({"partitionkey": None, "subject": "s"}, "s"),
        ({"partitionkey": None, "subject": None}, "/devices/7"),
    ],
)
def test_the_partition_key_is_partitionkey_else_subject_else_source(attributes: dict[str, Any], key: str) -> None:
    assert accept(**attributes).partition_key == key


def test_a_missing_time_is_added_at_the_end_of_the_text() -> None:
    sent = '{"specversion":"1.0" ,"id":"1","source":"s","type":"t","data":{"a":1.0}\n}'
    assert parse(sent).text == sent[:-1] + ',"time":"2026-11-22T10:00:00.123456Z"}'


def test_a_time_that_is_null_is_replaced() -> None:
    event = parse('{"time": null,"specversion":"1.0","id":"1", "source":"s","type":"t","data":{"time":null}}')
    assert event.text == (
        '{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"time":null},"time":"2026-11-22T10:00:00.123456Z"}'
    )
    assert not event.time_given


def test_names_of_attributes_spelled_with_escapes_are_spelled_out() -> None:
    event = accept(time=RECEIVED, sequence="1", data=[1])
    assert parse(event.text.replace('"sequence"', r'"\u0073equence"').replace('"id"', r'"i\u0064"')).text == (
        event.text.replace('": ', '":').replace(', "', ',"')
    )


def test_data_may_be_any_json_and_null_is_data() -> None:
    for data in ("null", "[1]", "7", '"text"', "{}", '{"a":1,"a":2}', "1e400"):
        assert parse(json.dumps(REQUIRED)[:-1] + f',"data":{data}}}').data == msgspec.Raw(data)


def test_data_base64_takes_the_place_of_data() -> None:
    assert accept(data_base64="AQID").data is None
    assert accept(data_base64="AQID", data=None).data is None
    assert accept(data_base64="").data is None
    assert parse(json.dumps(REQUIRED)[:-1] + r',"data_base64":"\/\/8="}').data is None
    assert accept(data_base64=None, data=1).data == msgspec.Raw(b"1")
    assert errors(data_base64="AQID", data=1) == [("/data_base64", "both_data_forms")]


@pytest.mark.parametrize("text", ["AQI", "AQ=", "A===", "AQID\n", "-_8=", "A Q I D", "é"])
def test_data_base64_must_be_base64(text: str) -> None:
    assert errors(data_base64=text) == [("/data_base64", "invalid_base64")]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ({"specversion": "0.3"}, [("/specversion", "unsupported_specversion")]),
        ({"specversion": 1.0}, [("/specversion", "invalid_type")]),
        ({"id": ""}, [("/id", "empty_attribute")]),
        ({"id": None}, [("/id", "missing_attribute")]),
        ({"id": 7}, [("/id", "invalid_type")]),
        ({"id": {"$ne": None}}, [("/id", "invalid_type")]),
        ({"source": "  "}, [("/source", "empty_attribute")]),
        ({"subject": ""}, [("/subject", "empty_attribute")]),
        ({"subject": False}, [("/subject", "invalid_type")]),
        ({"partitionkey": ""}, [("/partitionkey", "empty_attribute")]),
        ({"partitionkey": 7}, [("/partitionkey", "invalid_type")]),
        ({"type": "a\r\nb"}, [("/type", "control_character")]),
        ({"type": "\x1b[31m"}, [("/type", "control_character")]),
        ({"subject": "\x7f"}, [("/subject", "control_character")]),
        ({"source": "a\x85"}, [("/source", "control_character")]),
        ({"id": "1\n"}, [("/id", "control_character")]),
        ({"id": "\uffff"}, [("/id", "control_character")]),
        ({"time": "yesterday"}, [("/time", "invalid_time")]),
        ({"time": ""}, [("/time", "invalid_time")]),
        ({"time": 1e300}, [("/time", "invalid_type")]),
        ({"time": f"2026-01-01T00:00:00.{'1' * 255}Z"}, [("/time", "too_long")]),
        ({"datacontenttype": "json"}, [("/datacontenttype", "invalid_media_type")]),
        ({"datacontenttype": ""}, [("/datacontenttype", "invalid_media_type")]),
        ({"datacontenttype": "a/b\n"}, [("/datacontenttype", "invalid_media_type")]),
        ({"datacontenttype": 'a/b;c="\n"'}, [("/datacontenttype", "control_character")]),
        ({"dataschema": ""}, [("/dataschema", "invalid_uri")]),
        ({"dataschema": "/relative"}, [("/dataschema", "invalid_uri")]),
        ({"dataschema": "a:b c"}, [("/dataschema", "invalid_uri")]),
        ({"dataschema": "a:\x7f"}, [("/dataschema", "control_character")]),
        ({"ID": "1"}, [("/ID", "invalid_attribute_name")]),
        ({"a_b": 1}, [("/a_b", "invalid_attribute_name")]),
        ({"": 1}, [("/", "invalid_attribute_name")]),
        ({"é": 1}, [("/\\xe9", "invalid_attribute_name")]),
        ({"a/b": 1}, [("/a~1b", "invalid_attribute_name")]),
        ({"a" * 21: 1}, [("/" + "a" * 21, "invalid_attribute_name")]),
        ({"ext": 1.5}, [("/ext", "invalid_type")]),
        ({"ext": 2**31}, [("/ext", "invalid_type")]),
        ({"ext": -(2**31) - 1}, [("/ext", "invalid_type")]),
        ({"ext": 10**30}, [("/ext", "invalid_type")]),
        ({"ext": []}, [("/ext", "invalid_type")]),
        ({"ext": {}}, [("/ext", "invalid_type")]),
        ({"ext": "\x00"}, [("/ext", "nul_character")]),
        ({"ext": "\x01"}, [("/ext", "control_character")]),
    ],
    ids=str,
)
def test_an_attribute_that_is_wrong(attributes: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert errors(**attributes) == found


@pytest.mark.parametrize(
    "attributes",
    [
        {"id": " ", "type": ".", "subject": "日本語 \u202e\u2028"},
        {"source": "https://example.com/a b?c#d"},
        {"source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"},
        {"source": "é" * 512, "partitionkey": "k" * 1_024, "id": "é" * 127, "subject": "s" * 255, "type": "t" * 255},
        {"datacontenttype": "application/vnd.a+json;version=1 ; q=a"},
        {"dataschema": "urn:a:b"},
        {"ext": "", "ext2": -(2**31), "ext3": 2**31 - 1, "ext4": False, "a" * 20: None},
        {"time": "2016-12-31T23:59:60Z"},
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_unusual_but_allowed(attributes: dict[str, Any]) -> None:
    event = accept(**attributes)
    stored = json.loads(event.text)
    assert {name: stored[name] for name in attributes} == attributes


@pytest.mark.parametrize(("name", "most"), [("id", 255), ("type", 255), ("subject", 255), ("source", 1_024)])
def test_names_are_limited_in_bytes_of_utf8(name: str, most: int) -> None:
    assert errors(**{name: "x" * (most + 1)}) == [(f"/{name}", "too_long")]
    assert errors(**{name: "é" * (most // 2 + 1)}) == [(f"/{name}", "too_long")]


def test_all_errors_are_told_at_once() -> None:
    body = '{"specversion":"2","ID":"1","type":"","time":"x","data":{},"data_base64":"!","ext":[]}'
    assert {(error.pointer, error.code) for error in refusal(body).errors} == {
        ("/specversion", "unsupported_specversion"),
        ("/id", "missing_attribute"),
        ("/source", "missing_attribute"),
        ("/type", "empty_attribute"),
        ("/time", "invalid_time"),
        ("/data_base64", "invalid_base64"),
        ("/data_base64", "both_data_forms"),
        ("/ID", "invalid_attribute_name"),
        ("/ext", "invalid_type"),
    }


def test_the_number_of_errors_told_is_limited() -> None:
    assert len(refusal(json.dumps({f"X{n}": n for n in range(10_000)})).errors) == MAX_ERRORS


def test_a_name_in_the_wrong_case_is_answered_with_the_right_one() -> None:
    (error,) = refusal(json.dumps(REQUIRED | {"Subject": "7"})).errors
    assert '"subject"' in error.detail


def test_a_refusal_tells_the_id_and_source_where_they_are_right() -> None:
    wrong_time = refusal(json.dumps(REQUIRED | {"time": "x"}))
    assert (wrong_time.id, wrong_time.source) == ("1", "/devices/7")
    wrong_names = refusal(json.dumps(REQUIRED | {"id": "\n", "source": 1}))
    assert (wrong_names.id, wrong_names.source) == (None, None)


def test_messages_do_not_repeat_what_was_sent() -> None:
    secrets = dict.fromkeys([*REQUIRED, "time", "datacontenttype", "dataschema", "data_base64", "ext"], "\x07secret")
    refused = refusal(json.dumps(secrets))
    assert {error.pointer for error in refused.errors} == {f"/{name}" for name in secrets}
    assert "secret" not in str(refused)
    assert "\x1b" not in str(refusal(json.dumps({"\x1b[2J" + "n" * 100: 1})))


def test_what_is_no_strict_json_is_refused_with_its_code() -> None:
    for body, pointer, code in [
        (b"[]", "", "not_an_object"),
        (b"{", "", "malformed_json"),
        (b'{"id":"\xff"}', "", "invalid_utf8"),
        (b'{"id":"1","id":"2"}', "/id", "duplicate_name"),
        (b'{"data":{"n":1e200000}}', "/data", "number_out_of_range"),
    ]:
        (error,) = refusal(body).errors
        assert (error.pointer, error.code) == (pointer, code)
        assert refusal(body).status == 400


def test_an_event_may_have_exactly_the_bytes_that_kafka_gets_less_its_sequence() -> None:
    limits = Limits(event_bytes=400)
    body = json.dumps(REQUIRED | {"time": RECEIVED, "data": ""})
    room = 400 - SEQUENCE_BYTES - len(body)
    fits = body.replace('"data": ""', f'"data": "{"x" * room}"')
    assert len(parse(fits + " " * 1_000, limits).text) == 400 - SEQUENCE_BYTES
    for too_large in (fits.replace('"xx', '"éx'), fits.replace('"xx', '"xxx')):
        error = refusal(too_large, limits)
        assert (error.status, error.errors[0].code) == (413, "event_too_large")


def test_the_time_that_is_added_counts() -> None:
    body = json.dumps(REQUIRED | {"data": "é"}, ensure_ascii=False)
    exact = Limits(event_bytes=len(parse(body).text.encode()) + SEQUENCE_BYTES)
    assert parse(body, exact).time == RECEIVED
    assert refusal(body, msgspec.structs.replace(exact, event_bytes=exact.event_bytes - 1)).status == 413


def test_the_depth_is_a_setting() -> None:
    deep = json.dumps(REQUIRED | {"data": [[]]})
    assert parse(deep, Limits(json_depth=3)).data == msgspec.Raw(b"[[]]")
    assert refusal(deep, Limits(json_depth=2)).errors[0].code == "too_deep"


def test_an_event_may_come_as_a_raw_value() -> None:
    raw = msgspec.json.decode(json.dumps([REQUIRED]).encode(), type=list[msgspec.Raw])[0]
    assert parse_event(raw, LIMITS, RECEIVED) == accept()


def test_the_codes_of_json_are_codes_of_the_envelope() -> None:
    assert set(get_args(strict_json.Code)) < CODES
