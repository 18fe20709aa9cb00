"""What a device may send: its own sources and partition keys, whatever devices are called."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.settings import Settings, read_settings
from headrace.errors import InvalidSettingError
from headrace.events.device_sources import DEFAULT, PATTERN, DeviceSources
from headrace.events.envelope import EnvelopeError, InvalidEnvelope, Limits, parse_event
from headrace.events.mqtt_message import Message, read_event

RECEIVED_AT = "2026-11-22T12:00:00.000001Z"
ENVELOPE = {"specversion": "1.0", "id": "1", "source": "/devices/d1", "type": "tested"}
OWN = DeviceSources.of(DEFAULT)
names = st.text("ab/{}-.%", min_size=1, max_size=4).filter(lambda name: "/" not in name)
templates = st.builds("{}{{device}}{}/".format, st.text("ab/-.%", max_size=3), st.text("ab/-.%", max_size=3))


def errors_of(members: dict[str, Any], sources: DeviceSources | None = OWN) -> list[str]:
    payload = json.dumps({**ENVELOPE, **members}).encode()
    try:
        read_event(Message(topic="devices/d1/events", payload=payload), Limits(), RECEIVED_AT, sources)
    except InvalidEnvelope as refused:
        return [f"{error.pointer} {error.code}" for error in refused.errors]
    return []


@pytest.mark.parametrize("source", ["/devices/d1", "/devices/d1/", "/devices/d1/pump?x=1"])
def test_a_source_of_the_device_is_accepted(source: str) -> None:
    assert errors_of({"source": source}) == []


@pytest.mark.parametrize(
    "source", ["/devices/d2", "/devices/d10", "/devices/", "/devices/d1%2Fx", "/Devices/d1", "x/devices/d1/", "/g"]
)
def test_another_source_is_refused_unless_any_is_allowed(source: str) -> None:
    assert errors_of({"source": source}) == ["/source source_mismatch"]
    assert errors_of({"source": source}, DeviceSources.of("any")) == []


@pytest.mark.parametrize(("key", "is_allowed"), [("d1", True), ("d1/x", True), (None, True), ("d10", False)])
def test_a_partition_key_is_the_name_of_the_device_or_below_it(key: str | None, is_allowed: bool) -> None:
    assert (errors_of({"partitionkey": key}) == []) == is_allowed


def test_the_partition_key_is_not_reported_when_it_is_only_the_subject() -> None:
    assert errors_of({"subject": "d2"}) == ["/subject subject_mismatch"]
    assert errors_of({"subject": "d2", "partitionkey": "d3", "source": "/g"}) == [
        "/subject subject_mismatch",
        "/source source_mismatch",
        "/partitionkey partitionkey_mismatch",
    ]


def wrong(sources: DeviceSources, source: str, device: str) -> list[EnvelopeError]:
    text = json.dumps({**ENVELOPE, "source": source, "subject": device})
    return sources.errors(parse_event(text.encode(), Limits(), RECEIVED_AT), device)


@given(templates, names, names, st.text("ab/{}-.%", max_size=6))
def test_no_two_devices_share_a_source(template: str, first: str, second: str, rest: str) -> None:
    assert re.match(PATTERN, template)
    sources = DeviceSources.of(template)
    assert sources is not None
    own = template.replace("{device}", first)
    for source in (own + rest, own[:-1]):
        if source.strip():
            assert wrong(sources, source, first) == []
            assert first == second or wrong(sources, source, second)


@pytest.mark.parametrize(
    "value", ["none", "/devices/", "/devices/{device}", "/{device}/{device}/", "/{id}/", "/ {device}/"]
)
def test_a_wrong_prefix_is_refused(value: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"^MQTT_SOURCES=.*: not allowed; allowed: any, or a prefix"):
        read_settings({"MQTT_SOURCES": value})


def test_sources_are_bound_where_clients_are_authenticated() -> None:
    assert Settings().device_sources is None
    assert read_settings({"AUTH": "off"}).device_sources is None
    assert replace(Settings(), auth="keys").device_sources == OWN
    assert replace(Settings(), auth="keys", mqtt_sources="any").device_sources is None
    assert read_settings({"MQTT_SOURCES": "urn:{device}/"}).device_sources == DeviceSources("urn:", "/")


def test_the_embedded_broker_which_lets_everyone_in_is_off_where_clients_are_authenticated() -> None:
    assert Settings().with_closed_broker().mqtt_url == ""
    assert replace(Settings(), auth="keys").with_closed_broker().mqtt_url == "off"
    given = replace(Settings(), auth="keys", mqtt_url="mqtts://mq.example")
    assert given.with_closed_broker() == given
