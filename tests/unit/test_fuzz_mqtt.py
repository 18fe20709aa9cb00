"""Whatever a device publishes: an event, or a refusal."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from agents.mqtt.bridge import _dead_letter
from agents.projections.devices import devices
from agents.projections.readings_hourly import readings_hourly
from headrace.events.checked_event import checked
from headrace.events.envelope import Limits, ParsedEvent
from headrace.events.known_types import EventTypes
from headrace.events.mqtt_message import Message, answer_topic, read_event
from headrace.events.refusals import Refusal

from tests.support.fuzzing import LITERALS, MEMBERS, PAYLOADS, fuzz

RECEIVED_AT = "2026-11-22T10:00:00.123456Z"
TOPICS = st.sampled_from(["devices/dev-1/events", "devices//events", "devices/a/b/events", "other"]) | st.text(
    st.characters(exclude_characters="/"), min_size=1, max_size=5
).map(lambda device: f"devices/{device}/events")
TEXTS = st.text(max_size=10) | LITERALS | st.sampled_from(["1.0", "dev-1", "reading.recorded", "text/plain"])
CONTENT_TYPES = st.sampled_from(["application/cloudevents+json", "application/json", "text/plain", ""]) | TEXTS
MESSAGES = st.builds(
    Message,
    topic=TOPICS,
    payload=PAYLOADS,
    content_type=st.none() | CONTENT_TYPES,
    user_properties=st.just([]) | st.lists(st.tuples(MEMBERS | st.text(max_size=4), TEXTS), max_size=8),
    response_topic=st.none() | TOPICS,
    correlation_data=st.none() | st.binary(max_size=4),
)


TYPES = EventTypes([devices, readings_hourly])


@fuzz(300)
@given(MESSAGES)
def test_any_message_is_an_event_or_a_refusal_that_can_be_kept(message: Message) -> None:
    read = checked(partial(read_event, message, Limits(event_bytes=20_000), RECEIVED_AT), TYPES)
    assert isinstance(read, ParsedEvent | Refusal)
    answer_topic(message)
    if isinstance(read, Refusal):
        letter = _dead_letter(message, read)
        assert "\0" not in f"{letter}"
        f"{letter}".encode()
