"""Messages of devices without a broker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.events.envelope import InvalidEnvelope, Limits
from headrace.events.mqtt_message import Message, answer_topic, device_in, read_event

RECEIVED_AT = "2026-11-22T12:00:00.000001Z"
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/g", "type": "tested"}


def message(payload: bytes | dict[str, Any], device: str = "d1", **members: Any) -> Message:
    body = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    return Message(topic=f"devices/{device}/events", payload=body, **members)


def errors_of(one: Message, limits: Limits | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidEnvelope) as refused:
        read_event(one, limits or Limits(), RECEIVED_AT)
    return [(error.pointer, error.code) for error in refused.value.errors]


@pytest.mark.parametrize("members", [{}, {"subject": None}])
def test_an_event_without_subject_gets_that_of_its_topic(members: dict[str, Any]) -> None:
    event = read_event(message({**ENVELOPE, **members}, "dévice 1"), Limits(), RECEIVED_AT)
    told = json.loads(event.text)
    assert (event.subject, told["subject"], event.partition_key) == ("dévice 1", "dévice 1", "dévice 1")
    assert not event.time_given
    assert told["time"] == RECEIVED_AT


def test_a_partition_key_stays_when_the_subject_is_filled_in() -> None:
    event = read_event(message({**ENVELOPE, "partitionkey": "p"}), Limits(), RECEIVED_AT)
    assert (event.subject, event.partition_key) == ("d1", "p")


def test_an_event_of_another_device_is_refused() -> None:
    assert errors_of(message({**ENVELOPE, "subject": "d2"})) == [("/subject", "subject_mismatch")]
    binary = message(b"", user_properties=[*ENVELOPE.items(), ("subject", "d2")])
    assert errors_of(binary) == [("/subject", "subject_mismatch")]


@pytest.mark.parametrize("topic", ["devices/events", "devices//events", "devices/a/b/events", "x/devices/a/events"])
def test_other_topics_carry_no_events(topic: str) -> None:
    assert device_in(topic) is None
    assert errors_of(Message(topic=topic, payload=b"{}")) == [("", "invalid_topic")]


def test_a_device_whose_name_is_no_subject_is_refused() -> None:
    assert errors_of(message(ENVELOPE, "d" * 256)) == [("/subject", "too_long")]
    assert errors_of(message(ENVELOPE, "a\x01b")) == [("/subject", "control_character")]


def test_a_subject_that_makes_an_event_too_large_is_refused() -> None:
    size = len(json.dumps(ENVELOPE)) + 100
    assert errors_of(message(ENVELOPE, "d" * 200), Limits(event_bytes=size)) == [("", "event_too_large")]


def test_user_properties_that_are_no_event_leave_structured_json_as_it_is() -> None:
    event = read_event(message(ENVELOPE, user_properties=[("k", "v")] * 1_000), Limits(), RECEIVED_AT)
    assert event.id == "1"


def test_the_content_type_of_structured_mode_counts_before_the_user_properties() -> None:
    properties = [("specversion", "1.0"), ("id", "2")]
    one = message(ENVELOPE, content_type="application/cloudevents+json; charset=utf-8", user_properties=properties)
    assert read_event(one, Limits(), RECEIVED_AT).id == "1"


def test_an_attribute_that_is_there_twice_is_refused() -> None:
    assert errors_of(message(b"", user_properties=[*ENVELOPE.items(), ("id", "2")])) == [("/id", "duplicate_name")]


@given(st.binary(max_size=200), st.none() | st.text(max_size=20), st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_whatever_a_device_sends_is_an_event_of_its_own_or_refused(
    payload: bytes, content_type: str | None, properties: list[tuple[str, str]]
) -> None:
    one = message(payload, content_type=content_type, user_properties=[("specversion", "1.0"), *properties])
    try:
        event = read_event(one, Limits(), RECEIVED_AT)
    except InvalidEnvelope:
        return
    assert event.subject == "d1"


@pytest.mark.parametrize(
    ("topic", "is_allowed"),
    [
        ("devices/d1/answers", True),
        ("devices/d1/answers/7", True),
        ("devices/d1/elsewhere", True),
        ("replies/d1", False),
        ("devices/d10/answers", False),
        ("devices/d1", False),
        ("devices/d1/events", False),
        ("devices/d2/answers", False),
        ("devices/d2/events", False),
        ("devices/d1/+", False),
        ("replies/#", False),
        ("$SYS/broker", False),
        ("", False),
        (None, False),
    ],
)
def test_an_answer_goes_below_the_topic_of_its_device_only(topic: str | None, is_allowed: bool) -> None:
    assert answer_topic(message(b"", response_topic=topic)) == (topic if is_allowed else None)


@pytest.mark.parametrize("topic", ["devices//events", "other"])
def test_a_message_without_a_device_gets_no_answer(topic: str) -> None:
    assert answer_topic(Message(topic=topic, payload=b"", response_topic="devices/None/answers")) is None
