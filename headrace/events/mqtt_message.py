"""Parses a device's MQTT message into `ParsedEvent`, as the CloudEvents MQTT binding 1.0.2 says. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import msgspec

from headrace.events import strict_json
from headrace.events.binary_mode import parse_binary
from headrace.events.device_sources import DeviceSources
from headrace.events.envelope import EnvelopeError, InvalidEnvelope, Limits, ParsedEvent, parse_event

STRUCTURED_TYPE = "application/cloudevents"
# With MQTT 5 the attributes of an event in binary mode are user properties; every event has this attribute.
MARK = "specversion"

_TOPIC = re.compile(r"devices/([^/]+)/events")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a device published; the last four members need MQTT 5."""

    topic: str
    payload: bytes
    content_type: str | None = None
    user_properties: list[tuple[str, str]] = []
    response_topic: str | None = None
    correlation_data: bytes | None = None


def size_of(message: Message) -> int:
    """The bytes of the payload and the characters of the properties."""
    return len(message.payload) + sum(len(name) + len(value) for name, value in message.user_properties)


def device_in(topic: str) -> str | None:
    """The device that publishes events on this topic; None for other topics."""
    found = _TOPIC.fullmatch(topic)
    return found[1] if found else None


def answer_topic(message: Message) -> str | None:
    """The topic on which the device wants its answer; None if it is not allowed.

    The worker may publish where a device may not. So the topic must lie below `devices/{device}/`, and carry no events.
    A topic with wildcards is refused too: nobody can publish to it.
    """
    topic = message.response_topic
    if not topic or any(letter in topic for letter in "+#\0"):
        return None
    device = device_in(message.topic)
    is_own = device is not None and topic.startswith(f"devices/{device}/")
    return topic if is_own and device_in(topic) is None else None


def read_event(message: Message, limits: Limits, received_at: str, sources: DeviceSources | None = None) -> ParsedEvent:
    """Read the event of a message; if it has no subject, its subject is the topic's device.

    Raises InvalidEnvelope, also when the event is of another device by its subject, or not allowed by `sources`.
    """
    device = device_in(message.topic)
    if device is None:
        raise InvalidEnvelope([EnvelopeError("", "invalid_topic", "publish to devices/{device}/events")])
    event = _read(message, device, limits, received_at)
    errors: list[EnvelopeError] = []
    if event.subject != device:
        errors.append(EnvelopeError("/subject", "subject_mismatch", "must be the device of the topic, or absent"))
    if sources is not None:
        errors.extend(sources.errors(event, device))
    if errors:
        raise InvalidEnvelope(errors, status=403, event_id=event.id, source=event.source)
    return event


def _read(message: Message, device: str, limits: Limits, received_at: str) -> ParsedEvent:
    structured = (message.content_type or "").lower().startswith(STRUCTURED_TYPE)
    if not structured and any(name == MARK for name, _ in message.user_properties):
        attributes = _attributes(message.user_properties)
        attributes.setdefault("subject", device)
        return parse_binary(attributes, message.content_type, message.payload, limits, received_at)
    event = parse_event(message.payload, limits, received_at)
    if event.subject is None:
        return parse_event(_with_subject(message.payload, device, limits), limits, received_at)
    return event


def _attributes(properties: Iterable[tuple[str, str]]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for name, value in properties:
        if name in attributes:
            error = EnvelopeError(strict_json.pointer_to(name), "duplicate_name", "is present more than once")
            raise InvalidEnvelope([error])
        attributes[name] = value
    return attributes


def _with_subject(payload: bytes, device: str, limits: Limits) -> bytes:
    text, members = strict_json.members(payload, limits.json_depth)
    if "subject" in members:  # it is null
        text = strict_json.text_of({name: raw for name, raw in members.items() if name != "subject"})
    return f'{text[:-1]},"subject":{json.dumps(device, ensure_ascii=False)}}}'.encode()
