"""Binary mode without a server: headers and a body -> an event, or everything that is wrong with them."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.binary_mode import is_json, parse_binary
from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent
from web.ingestion.event_headers import has_attributes, read_attributes

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "tested"}
JSON = "application/json"
RECEIVED_AT = "2026-11-22T12:00:00.000001Z"


def parse(
    headers: dict[str, str] | list[tuple[str, str]], body: bytes = b"", content_type: str | None = JSON
) -> ParsedEvent:
    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    return parse_binary(read_attributes(raw), content_type, body, Limits(), RECEIVED_AT)


def errors_of(headers: dict[str, str], body: bytes = b"") -> list[tuple[str, str]]:
    with pytest.raises(InvalidEnvelope) as refused:
        parse(headers, body)
    assert refused.value.status == 400
    return [(error.pointer, error.code) for error in refused.value.errors]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("100%2525", "100%25"),
        ('"quoted \\"value\\" \\\\ %41"', 'quoted "value" \\ A'),
        ("plain text with spaces", "plain text with spaces"),
        ('a"b', 'a"b'),
        ("%41%7E", "A~"),
        ("a+b", "a+b"),
    ],
)
def test_header_values_are_decoded_once(sent: str, meant: str) -> None:
    assert parse({**EVENT, "ce-subject": sent}).subject == meant


@pytest.mark.parametrize(
    ("header", "value", "pointer", "code"),
    [
        ("ce-subject", "%C0%A0", "/subject", "invalid_utf8"),
        ("ce-subject", "%ED%A0%80", "/subject", "invalid_utf8"),
        ("ce-subject", "%FF", "/subject", "invalid_utf8"),
        ("ce-subject", "100%", "/subject", "invalid_header"),
        ("ce-subject", "%zz", "/subject", "invalid_header"),
        ("ce-subject", "%2", "/subject", "invalid_header"),
        ("ce-subject", "ü", "/subject", "invalid_header"),
        ("ce-subject", '"open', "/subject", "invalid_header"),
        ("ce-subject", '"open\\"', "/subject", "invalid_header"),
        ("ce-subject", "%0D%0AX: 1", "/subject", "control_character"),
        ("ce-subject", "%00", "/subject", "nul_character"),
        ("ce-subject", "", "/subject", "empty_attribute"),
        ("ce-specversion", "0.3", "/specversion", "unsupported_specversion"),
        ("ce-time", "yesterday", "/time", "invalid_time"),
        ("ce-not-a-name", "x", "/not-a-name", "invalid_attribute_name"),
        ("ce-", "x", "/", "invalid_attribute_name"),
        ("ce-data", "x", "/data", "invalid_attribute_name"),
        ("ce-data_base64", "eA==", "/data_base64", "invalid_attribute_name"),
        ("ce-datacontenttype", "text/plain", "/datacontenttype", "invalid_attribute_name"),
    ],
)
def test_a_header_that_is_wrong_is_refused(header: str, value: str, pointer: str, code: str) -> None:
    assert errors_of({**EVENT, header: value}) == [(pointer, code)]


@pytest.mark.parametrize("missing", ["ce-id", "ce-source", "ce-type", "ce-specversion"])
def test_a_required_attribute_that_is_missing(missing: str) -> None:
    headers = {name: value for name, value in EVENT.items() if name != missing}
    assert errors_of(headers) == [(missing.replace("ce-", "/"), "missing_attribute")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'1,"id":"other"', "malformed_json"),
        (b'{}},"id":"other"', "malformed_json"),
        (b"{", "malformed_json"),
        (b"   ", "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b'"\xff"', "invalid_utf8"),
        (b'"\\u0000"', "nul_character"),
        (b'"\\ud800"', "lone_surrogate"),
        (b"[" * 64 + b"]" * 64, "too_deep"),
        (b"1e999999", "number_out_of_range"),
        (b"NaN", "malformed_json"),
    ],
)
def test_a_body_that_is_no_json_though_it_says_so(body: bytes, code: str) -> None:
    assert errors_of(EVENT, body) == [("/data", code)]


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(InvalidEnvelope) as refused:
        parse([*EVENT.items(), ("CE-ID", "2")])
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/id", "duplicate_header")]


def test_a_content_type_that_is_none() -> None:
    for wrong in ("nonsense", "a/b; c", "tëxt/plain"):
        with pytest.raises(InvalidEnvelope) as refused:
            parse(EVENT, b"x", wrong)
        assert [(error.pointer, error.code) for error in refused.value.errors] == [
            ("/datacontenttype", "invalid_media_type")
        ]


@pytest.mark.parametrize("name", ["ce-id", "CE-ID", "Ce-anything", "ce-"])
def test_what_a_header_of_an_event_is(name: str) -> None:
    assert has_attributes([(b"Host", b"x"), (name.encode(), b"")])
    assert not has_attributes([(b"Host", b"x"), (b"cef-id", b"x"), (b"ce", b"x"), (b"x-ce-id", b"x")])


@pytest.mark.parametrize(
    "json_type", ["application/json", "APPLICATION/JSON ; a=b", "text/json", "a/b+json", "a/b.c+json"]
)
def test_what_json_is(json_type: str) -> None:
    assert is_json(json_type)
    assert not any(
        is_json(other) for other in ("text/plain", "application/jsonl", "json", "application/json5", "a/+json")
    )


def encoded(text: str) -> str:
    """As the binding says: all but printable ASCII, and of that space, double quote and percent."""
    return quote(text, safe="".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%'))


letters = st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"])


@given(st.text(letters, min_size=1, max_size=60))
def test_any_text_comes_through_a_header(text: str) -> None:
    assert parse({**EVENT, "ce-subject": encoded(text), "ce-ext": encoded(text)}).subject == text


def read_or_refused(
    headers: list[tuple[bytes, bytes]], body: bytes, content_type: str | None
) -> ParsedEvent | set[str]:
    """The event, or the pointers to what is wrong."""
    raw = [(name.encode(), value.encode()) for name, value in EVENT.items()]
    try:
        return parse_binary(read_attributes([*raw, *headers]), content_type, body, Limits(), RECEIVED_AT)
    except InvalidEnvelope as error:
        return {one.pointer for one in error.errors}


@given(st.binary(max_size=300))
def test_any_header_value_is_read_or_refused(value: bytes) -> None:
    found = read_or_refused([(b"ce-subject", value)], b"", None)
    if isinstance(found, ParsedEvent):
        assert json.loads(found.text)["subject"] == found.subject
    else:
        assert found == {"/subject"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(letters),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(letters), inner, max_size=4),
    max_leaves=20,
)


@given(json_values, st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
def test_json_is_kept_as_it_was_sent(data: object, separators: tuple[str, str]) -> None:
    body = json.dumps(data, ensure_ascii=False, separators=separators)
    event = parse(EVENT, body.encode())
    assert event.data is not None
    assert bytes(event.data).decode() == body
    assert json.loads(event.text)["data"] == data


@given(st.binary(max_size=200))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    found = read_or_refused([], body, JSON)
    if isinstance(found, ParsedEvent):
        attributes = {"specversion", "id", "source", "type", "datacontenttype", "time"}
        assert set(json.loads(found.text)) - {"data"} == attributes
    else:
        assert found == {"/data"}
