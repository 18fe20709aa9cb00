"""Properties of the envelope's parser, for any data and for damaged events."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events import rfc3339
from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent, parse_element, parse_event
from headrace.events.plain_event import read_plain

from tests.support.data.batches import read_batch

PROPERTY = settings(max_examples=25, deadline=None)
LIMITS = Limits(event_bytes=10_000, batch_events=50)
RECEIVED = "2026-11-22T10:00:00.123456Z"

names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=20)
times = (
    st.datetimes(timezones=st.timezones())
    .map(lambda time: time.isoformat())
    .filter(lambda text: len(text) in (25, 32) and text[0] != "0")
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\é', max_size=3), inner, max_size=3),
    max_leaves=10,
)
extensions = st.dictionaries(
    st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True),
    names | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.none(),
    max_size=3,
)
styles = st.sampled_from([(",", ":"), (", ", ": "), ("\n,", "\t: ")])


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event, without `data`."""
    event: dict[str, Any] = {"specversion": "1.0", "id": draw(names), "type": draw(names)}
    event["source"] = draw(names.filter(lambda text: not text.isspace()))
    optional = {"subject": names | st.none(), "partitionkey": names | st.none(), "time": times | st.none()}
    for name, values in optional.items():
        if draw(st.booleans()):
            event[name] = draw(values)
    return event | draw(extensions)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A valid event as text, with or without data."""
    event = draw(events())
    if draw(st.booleans()):
        event["data"] = draw(json_values)
    return json.dumps(event, separators=draw(styles), ensure_ascii=draw(st.booleans()))


@PROPERTY
@given(events(), json_values, styles, st.booleans())
def test_data_comes_back_byte_for_byte(event: dict[str, Any], data: Any, style: tuple[str, str], plain: bool) -> None:
    sent = json.dumps(data, separators=style, ensure_ascii=plain)
    parsed = parse_event(f'{{"data":{sent},{json.dumps(event)[1:]}'.encode(), LIMITS, RECEIVED)
    assert parsed.data is not None
    assert bytes(parsed.data) == sent.encode()
    assert sent in parsed.text


@PROPERTY
@given(texts())
def test_the_text_says_what_the_event_says(sent: str) -> None:
    event = parse_event(sent.encode(), LIMITS, RECEIVED)
    stored = json.loads(event.text)
    assert stored == json.loads(sent) | ({} if event.time_given else {"time": RECEIVED})
    assert (stored["id"], stored["source"], stored["type"], stored.get("subject")) == (
        event.id,
        event.source,
        event.type,
        event.subject,
    )
    assert rfc3339.to_utc(stored["time"]) == event.time
    assert event.partition_key == (stored.get("partitionkey") or event.subject or event.source)


@PROPERTY
@given(texts())
def test_a_stored_text_is_accepted_again_as_it_is(sent: str) -> None:
    event = parse_event(sent.encode(), LIMITS, RECEIVED)
    again = parse_event(event.text.encode(), LIMITS, "2000-01-01T00:00:00Z")
    assert again.time_given
    assert (again.text, again.time, again.partition_key) == (event.text, event.time, event.partition_key)
    assert (again.data and bytes(again.data)) == (event.data and bytes(event.data))


@PROPERTY
@given(st.binary(max_size=40) | st.text('{}[]":,\\u0dDe-1 ', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for parse in (parse_event, read_batch):
        with contextlib.suppress(InvalidEnvelope):
            parse(body, LIMITS, RECEIVED)


@PROPERTY
@given(texts(), st.data())
def test_a_damaged_event_is_refused_or_is_sound(sent: str, data: st.DataObject) -> None:
    body = bytearray(sent.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body)))
        piece = data.draw(
            st.binary(max_size=2) | st.sampled_from([b"\\u0000", b"\\ud800", b'"', b"}", b'"id":"",', b"1e9"])
        )
        body[place : place + data.draw(st.integers(0, 3))] = piece
    try:
        event = parse_event(bytes(body), LIMITS, RECEIVED)
    except InvalidEnvelope:
        return
    stored = json.loads(event.text)
    assert (stored["specversion"], stored["id"], stored["source"]) == ("1.0", event.id, event.source)
    assert parse_event(event.text.encode(), LIMITS, RECEIVED).text == event.text


@PROPERTY
@given(st.lists(texts() | st.sampled_from(["{}", "1", '{"id":1}', "[]"]), max_size=6), st.sampled_from([",", " ,\n"]))
def test_a_batch_is_its_events_one_by_one(sent: list[str], comma: str) -> None:
    def alone(text: str) -> ParsedEvent | tuple[object, ...]:
        try:
            return parse_event(text.encode(), LIMITS, RECEIVED)
        except InvalidEnvelope as error:
            return error.errors

    results = read_batch(f"[{comma.join(sent)}]".encode(), LIMITS, RECEIVED)
    together = [result.errors if isinstance(result, InvalidEnvelope) else result for result in results]
    assert together == [alone(text) for text in sent]


plain_members = st.fixed_dictionaries(
    {name: st.text("ab /:\x7f", max_size=12) for name in ("id", "source", "type")}
    | {"specversion": st.sampled_from(["1.0", "1.0", "1.0", "0.3"])},
    optional={
        "subject": st.text("ab", max_size=3) | st.just("s" * 256) | st.none(),
        "time": st.sampled_from(
            ["2026-11-22T10:00:00Z", "2026-11-22T10:00:60Z", "2026-02-29T10:00:00+01:00", "", "no"]
        ),
        "datacontenttype": st.sampled_from(["application/json", "text/plain", ""]),
        "partitionkey": st.just("p"),
        "data_base64": st.just("YQ=="),
        "extension": st.just("x"),
        "data": json_values | st.sampled_from([[[[[[]]]]], {"n": 5}, [1.5, "\\", "{["]]) | st.just("x" * 9_800),
    },
)


@settings(max_examples=300, deadline=None)
@given(plain_members, st.sampled_from(["1e9", "1e9800", "-2E+99999", "1e-16384", "[[[[[[7]]]]]]", "0"]), st.booleans())
def test_a_plain_event_is_read_as_any_other(members: dict[str, Any], number: str, is_twice: bool) -> None:
    sent = json.dumps(members, separators=(",", ":"), ensure_ascii=False).replace("5", number)
    if is_twice:
        sent = sent.replace('"source"', '"id":"1","source"', 1)
    limits = Limits(event_bytes=10_000, json_depth=7)
    # A text with a blank at its end is not plain.
    one, other = (parse_element(text.encode(), limits, RECEIVED) for text in (sent, f"{sent} "))
    if isinstance(one, InvalidEnvelope):
        assert isinstance(other, InvalidEnvelope)
        assert (one.errors, one.status, one.id, one.source) == (other.errors, other.status, other.id, other.source)
    else:
        assert one == other


def test_events_as_most_are_are_plain() -> None:
    sent = '{"specversion":"1.0","id":"1","source":"/s","type":"t"%s,"data":{"a":[1,2.5,"x"]}}'
    for more in ("", ',"subject":"d"', ',"time":"2026-11-22T10:00:00Z"', ',"datacontenttype":"application/json"'):
        assert read_plain(sent % more, name_bytes=255, max_depth=64, max_bytes=10_000) is not None
        assert read_plain(sent % (more + ',"x":1'), name_bytes=255, max_depth=64, max_bytes=10_000) is None
