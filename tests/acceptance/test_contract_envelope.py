"""The envelope: each sentence of the contract about it, on a whole worker with the limits that nobody set."""

from __future__ import annotations

import gzip
import json
import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.clients.topic_reader import read_records
from tests.support.servers.system import BATCH, STRUCTURED, WAIT, System, envelope

MEGABYTE = 1024 * 1024
EVENT_BYTES = 1_000_000
DIGITS = "123456789012345678901234567890"
FULL = {
    "subject": "s/1 ü",
    "time": "2026-01-31T23:00:00.50+01:00",
    "datacontenttype": "application/json; charset=utf-8",
    "dataschema": "https://example.com/schema#1",
    "data": {"text": "é\n", "nothing": None},
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "a1234567890123456789": True,
    "sampledrate": -30,
}


def text(event: dict[str, Any], **raw: str) -> bytes:
    """The event's JSON with more members, their values as they are."""
    more = "".join(f',"{name}":{value}' for name, value in raw.items())
    return (json.dumps(event, ensure_ascii=False)[:-1] + more + "}").encode()


async def refusal(system: System, body: Any, status: int = 400) -> list[tuple[str, str]]:
    """What is wrong, as pointer and code."""
    answer = await system.post(body)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    return [(error["pointer"], error["code"]) for error in answer.json["errors"]]


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
async def test_specversion_id_source_and_type_are_required_and_not_empty(system: System, name: str) -> None:
    event = envelope("/required", **FULL)
    assert await refusal(system, {**event, name: None}) == [(f"/{name}", "missing_attribute")]
    ((pointer, code),) = await refusal(system, {**event, name: ""})
    assert (pointer, code) in {(f"/{name}", "empty_attribute"), ("/specversion", "unsupported_specversion")}


@pytest.mark.parametrize("name", FULL)
async def test_every_other_attribute_is_optional(system: System, name: str) -> None:
    event = envelope("/optional", **{**FULL, name: None})
    assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    (kept,) = [item["event"] for item in await system.log(source="/optional") if item["event"]["id"] == event["id"]]
    assert {attribute: value for attribute, value in kept.items() if attribute != "time" or name != "time"} == event


async def test_data_may_be_data_base64_and_not_both(system: System) -> None:
    event = envelope("/base64", data_base64="AP/+Cg==")
    assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    assert (await system.log(source="/base64"))[0]["event"]["data_base64"] == "AP/+Cg=="
    both = envelope("/base64", data_base64="AP/+Cg==", data=1)
    assert await refusal(system, both) == [("/data_base64", "both_data_forms")]


@pytest.mark.parametrize("name", ["Upper", "with_underscore", "with-dash", "é", "a" * 21, ""])
async def test_names_of_extensions_are_1_to_20_lower_case_letters_or_digits(system: System, name: str) -> None:
    ((pointer, code),) = await refusal(system, {**envelope("/extensions"), name: "x"})
    assert code == "invalid_attribute_name"
    assert pointer.startswith("/")


async def test_a_missing_time_is_the_time_of_receipt(system: System) -> None:
    event = envelope("/receipt")
    answer = await system.post(event, {**STRUCTURED, **WAIT})
    story = (await system.door(answer.headers["Location"])).json
    (kept,) = await system.log(source="/receipt")
    time, received = (datetime.fromisoformat(one) for one in (kept["event"]["time"], story["received"]["at"]))
    assert kept["event"]["time"].endswith("Z")
    assert 0 <= (received - time).total_seconds() < 10


async def test_source_and_id_name_an_event_once_and_for_all(system: System) -> None:
    event = envelope("/once", data=1)
    assert (await system.post(event)).status == 202
    assert (await system.post({**event, "source": "/once/more"}, {**STRUCTURED, **WAIT})).status == 201
    for _ in range(2):  # waiting in the outbox, then stored
        assert (await system.post(event, {**STRUCTURED, **WAIT})).json["status"] == "duplicate"
        assert (await system.post({**event, "data": 2})).status == 409
    assert [item["event"]["data"] for item in await system.log(source="/once")] == [1]


async def test_events_of_one_key_are_stored_published_and_applied_in_the_order_of_their_answers(
    system: System,
) -> None:
    reading = {"type": "reading.recorded", "subject": "in-order", "time": "2026-01-31T12:00:00Z"}
    events = [envelope(f"/order/{n % 3}", **reading, data={"metric": "n", "value": n}) for n in range(60)]
    for start in range(0, 60, 6):
        for event in events[start : start + 3]:
            assert (await system.post(event)).status == 202
        assert (await system.post(events[start + 3 : start + 6], {**BATCH, **WAIT})).status == 201
    assert [item["event"]["id"] for item in await system.log(subject="in-order", limit="100")] == [
        event["id"] for event in events
    ]
    hour = (await system.get("/api/v1/projections/readings_hourly/in-order/n/2026-01-31T12")).json
    assert (hour["state"]["last"], hour["state"]["count"]) == (59, 60)
    records = await read_records(system.bootstrap_servers, system.topic, 60, lambda one: one.key == b"in-order")
    assert [json.loads(record.value)["data"]["value"] for record in records] == list(range(60))


async def test_limit_event_1_000_000_bytes_as_it_will_go_to_kafka(system: System) -> None:
    event = envelope("/large", time="2026-01-31T12:00:00Z", data="")
    room = EVENT_BYTES - len(text(event, sequence=f'"{0:020}"'))
    too_large = await system.post(text({**event, "data": "x" * (room + 1)}))
    assert (too_large.status, too_large.json["code"]) == (413, "event_too_large")
    assert (await system.post(text({**event, "data": "x" * room}), {**STRUCTURED, **WAIT})).status == 201
    (record,) = await read_records(system.bootstrap_servers, system.topic, 1, lambda one: one.key == b"/large")
    assert len(record.value) == EVENT_BYTES


@pytest.mark.parametrize("coding", [{}, {"Content-Encoding": "gzip"}], ids=["plain", "gzip"])
async def test_limit_body_8_mib_after_decompression(system: System, coding: dict[str, str]) -> None:
    body = json.dumps([envelope("/body")]).encode().ljust(8 * MEGABYTE)
    packed = gzip.compress if coding else bytes
    assert (await system.post(packed(body), {**BATCH, **coding})).status == 202
    too_large = await system.post(packed(body + b" "), {**BATCH, **coding})
    assert (too_large.status, too_large.json["code"]) == (413, "too_large")


async def test_limit_5_000_events_a_batch(system: System) -> None:
    events = [envelope("/batch", subject=str(n % 7)) for n in range(5_001)]
    too_large = await system.post(events, BATCH)
    assert (too_large.status, too_large.json["code"]) == (413, "batch_too_large")
    answer = await system.post(events[:5_000], BATCH)
    assert (answer.status, answer.json["accepted"]) == (202, 5_000)


async def test_limit_json_depth_64(system: System) -> None:
    event = envelope("/deep")
    assert await refusal(system, text(event, data="[" * 64 + "]" * 64)) == [("/data", "too_deep")]
    assert (await system.post(text(event, data="[" * 63 + "]" * 63))).status == 202


@pytest.mark.parametrize(("name", "most"), [("id", 255), ("type", 255), ("subject", 255), ("source", 1_024)])
@pytest.mark.parametrize("letter", ["x", "é"])
async def test_limit_of_bytes_of_utf_8(system: System, name: str, most: int, letter: str) -> None:
    longest = letter * (most // len(letter.encode()))
    event = {**envelope("/long"), name: longest}
    assert (await system.post(event, {**STRUCTURED, **WAIT})).status == 201
    assert await refusal(system, {**event, name: longest + letter}) == [(f"/{name}", "too_long")]


@pytest.mark.parametrize(
    ("raw", "pointer", "code"),
    [
        pytest.param(b'"data":"\xff"', "", "invalid_utf8", id="invalid UTF-8"),
        pytest.param(b'"data":"\xed\xa0\x80"', "", "invalid_utf8", id="a surrogate in UTF-8"),
        pytest.param(b'"data":{"a":"\\u0000"}', "/data", "nul_character", id="NUL"),
        pytest.param(b'"data":{"a\\u0000":1}', "/data", "nul_character", id="NUL in a name"),
        pytest.param(b'"data":["\\ud800"]', "", "lone_surrogate", id="a lone surrogate"),
        pytest.param(b'"data":{"n":NaN}', "", "malformed_json", id="NaN"),
        pytest.param(b'"data":{"n":-Infinity}', "", "malformed_json", id="Infinity"),
        pytest.param(b'"type":"again"', "/type", "duplicate_name", id="a name twice in the envelope"),
        pytest.param(b'"data":1e140000', "/data", "number_out_of_range", id="a number that jsonb cannot hold"),
        pytest.param(b'"data":1e-20000', "/data", "number_out_of_range", id="a fraction that jsonb cannot hold"),
        pytest.param(b'"subject":"a\\nb"', "/subject", "control_character", id="a control character in subject"),
        pytest.param(b'"time":"yesterday"', "/time", "invalid_time", id="a time that is not RFC 3339"),
        pytest.param(b'"time":"2026-01-01 00:00:00"', "/time", "invalid_time", id="a time without offset"),
        pytest.param(b'"time":"0000-12-31T23:59:59Z"', "/time", "invalid_time", id="year 0"),
        pytest.param(b'"time":"0001-01-01T00:00:00+00:01"', "/time", "invalid_time", id="year 0 in UTC"),
        pytest.param(b'"time":"9999-12-31T23:59:00-00:01"', "/time", "invalid_time", id="year 10000 in UTC"),
        pytest.param(b'"time":"+10000-01-01T00:00:00Z"', "/time", "invalid_time", id="year 10000"),
    ],
)
async def test_refused_with_a_clear_error(system: System, raw: bytes, pointer: str, code: str) -> None:
    event = envelope("/refused")
    assert await refusal(system, text(event)[:-1] + b"," + raw + b"}") == [(pointer, code)]
    story = await system.door(f"/api/v1/events/status?source=%2Frefused&id={quote(event['id'])}")
    assert story.status == 404


@pytest.mark.parametrize("name", ["id", "type", "source", "subject"])
@pytest.mark.parametrize("character", ["\x01", "\n", "\x1b", "\x7f", "\x85"])
async def test_refused_control_characters(system: System, name: str, character: str) -> None:
    event = {**envelope("/refused"), name: f"a{character}b"}
    assert await refusal(system, event) == [(f"/{name}", "control_character")]


@pytest.mark.parametrize("version", ["0.3", "1.0.2", "1", "2.0"])
async def test_refused_unknown_specversion(system: System, version: str) -> None:
    event = envelope("/refused", specversion=version)
    assert await refusal(system, event) == [("/specversion", "unsupported_specversion")]


async def test_a_30_digit_number_comes_back_as_it_was(system: System) -> None:
    """From the log, from rows and pages, from a row as it was, from the changes, and from the topic."""
    data = f'{{"metric":"big","value":{DIGITS}}}'
    reading = {"type": "reading.recorded", "subject": "digits", "time": "2026-01-31T12:00:00Z"}
    event = envelope("/digits", **reading)
    assert (await system.post(text(event, data=data), {**STRUCTURED, **WAIT})).status == 201
    row = "/api/v1/projections/readings_hourly/digits/big/2026-01-31T12"
    position = (await system.get(row)).json["position"]
    for path, parameters in (
        ("/api/v1/events", {"source": "/digits"}),
        (row, {}),
        (row, {"as_of": str(position)}),
        ("/api/v1/projections/devices/digits", {}),
        ("/api/v1/projections/readings_hourly", {"device": "digits", "sum": DIGITS}),
    ):
        answer = await system.get(path, parameters)
        assert answer.status == 200, answer
        assert re.search(rf'": ?{DIGITS}[,}}]', answer.body.decode()), answer
    (record,) = await read_records(system.bootstrap_servers, system.topic, 1, lambda one: one.key == b"digits")
    assert data.encode() in record.value
