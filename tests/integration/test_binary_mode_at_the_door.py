"""CloudEvents in binary mode over HTTP: a row of the contract, and section 3.1 of the CloudEvents HTTP binding."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tables.database import Database, Pool

from tests.support.doors.open_door import OpenDoor, open_door

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": "tested"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


async def kept(pool: Pool) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await pool.fetchval("SELECT event::text FROM outbox"))
    return event


async def nothing_is_kept(pool: Pool) -> bool:
    return not await pool.fetchval("SELECT count(*) FROM outbox")


async def test_any_other_type_with_ce_headers_is_binary_mode_one_event(door: OpenDoor, pool: Pool) -> None:
    headers = {
        **EVENT,
        "CE-Subject": "s",
        "ce-time": "2026-01-01T00:00:00Z",
        "ce-dataschema": "https://example.com/schema",
        "ce-myextension": "5",
        "Content-Type": "text/xml; charset=latin-1",
    }
    status, answer, response = await door.post(b"<a>\xfc</a>", headers)
    assert (status, answer) == (202, {"id": "1", "source": "/tests", "status": "accepted"})
    assert response.headers["Location"] == "/api/v1/events/status?source=%2Ftests&id=1"
    assert await kept(pool) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "tested",
        "subject": "s",
        "time": "2026-01-01T00:00:00Z",
        "dataschema": "https://example.com/schema",
        "myextension": "5",
        "datacontenttype": "text/xml; charset=latin-1",
        "data_base64": base64.b64encode(b"<a>\xfc</a>").decode(),
    }


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/vnd.thing+json", "Text/JSON", "a/b+json;x=y"],
)
async def test_json_becomes_data_as_it_was_sent(door: OpenDoor, pool: Pool, content_type: str) -> None:
    body = ' {"n": 123456789012345678901234567890.10, "s": "ü\\u00fc"}\n'
    status, _, _ = await door.post(body.encode(), {**EVENT, "Content-Type": content_type})
    assert status == 202
    text = await pool.fetchval("SELECT event::text FROM outbox")
    assert f'"data":{body.strip()}' in text
    assert (await kept(pool))["datacontenttype"] == content_type


@pytest.mark.parametrize("body", [b"null", b"0", b'"text"', b"[1, 2]", b"false"])
async def test_json_of_any_kind_may_be_the_data(door: OpenDoor, pool: Pool, body: bytes) -> None:
    assert (await door.post(body, {**EVENT, **JSON}))[0] == 202
    assert (await kept(pool))["data"] == json.loads(body)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_no_body_is_no_data(door: OpenDoor, pool: Pool, content_type: str) -> None:
    assert (await door.post(b"", {**EVENT, "Content-Type": content_type}))[0] == 202
    assert not {"data", "data_base64"} & (await kept(pool)).keys()


@pytest.mark.parametrize(("body", "data"), [(b"", {}), (b"\x00\xff", {"data_base64": "AP8="})])
async def test_without_a_content_type(door: OpenDoor, pool: Pool, body: bytes, data: dict[str, str]) -> None:
    async with door.client.post(
        "/api/v1/events", data=body, headers=EVENT, skip_auto_headers=["Content-Type"]
    ) as response:
        assert response.status == 202
    event = await kept(pool)
    assert "datacontenttype" not in event
    assert {name: value for name, value in event.items() if name.startswith("data")} == data


async def test_a_header_that_is_there_twice_is_refused(door: OpenDoor, pool: Pool) -> None:
    status, answer, _ = await door.post(b"", [*EVENT.items(), ("ce-id", "2")])
    assert (status, answer["errors"][0]["code"]) == (400, "duplicate_header")
    assert await nothing_is_kept(pool)


async def test_the_same_event_in_another_mode_is_a_duplicate(door: OpenDoor) -> None:
    headers = {**EVENT, **JSON, "ce-time": "2026-01-01T00:00:00Z"}
    assert (await door.post(b'{"n":1}', headers))[0] == 202
    structured = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    structured |= {"datacontenttype": "application/json"}
    body = json.dumps({**structured, "data": {"n": 1}}).encode()
    status, answer, _ = await door.post(body, {"Content-Type": "application/cloudevents+json"})
    assert (status, answer["status"]) == (200, "duplicate")


async def test_data_that_does_not_fit_its_type(door: OpenDoor) -> None:
    headers = {**EVENT, **JSON, "ce-type": "reading.recorded", "ce-subject": "d"}
    status, answer, _ = await door.post(b'{"metric": "t", "value": "warm"}', headers)
    assert (status, answer["errors"][0]["pointer"]) == (422, "/data/value")


async def test_too_large(door: OpenDoor) -> None:
    status, answer, _ = await door.post(b"x" * 999_999, {**EVENT, "Content-Type": "text/plain"})
    assert (status, answer["code"]) == (413, "event_too_large")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+avro",
        "application/cloudevents",
        "application/json; charset=utf-16",
        "application/cloudevents+json; charset=latin-1",
    ],
)
async def test_anything_else(door: OpenDoor, content_type: str) -> None:
    status, answer, _ = await door.post(b"{}", {**EVENT, "Content-Type": content_type})
    assert (status, answer["code"]) == (415, "unsupported_media_type")


async def test_structured_events_pass_over_ce_headers(door: OpenDoor, pool: Pool) -> None:
    body = json.dumps({"specversion": "1.0", "id": "2", "source": "/s", "type": "t"}).encode()
    assert (await door.post(body, {**EVENT, "Content-Type": "application/cloudevents+json"}))[0] == 202
    assert (await kept(pool))["id"] == "2"


async def test_header_values_are_decoded_once(door: OpenDoor, pool: Pool) -> None:
    status, _, _ = await door.post(b"", {**EVENT, "ce-subject": '"Euro%20%E2%82%AC \\"100%2525\\""'})
    assert status == 202
    assert (await kept(pool))["subject"] == 'Euro € "100%25"'


async def test_every_error_has_a_pointer_into_the_event(door: OpenDoor, pool: Pool) -> None:
    headers = {"ce-specversion": "0.3", "ce-id": "1", "ce-source": "/s", "ce-time": "yesterday", **JSON}
    status, answer, _ = await door.post(b"{}", headers)
    assert (status, {(e["pointer"], e["code"]) for e in answer["errors"]}) == (
        400,
        {("/specversion", "unsupported_specversion"), ("/time", "invalid_time"), ("/type", "missing_attribute")},
    )
    for wrong, pointer, code in (("%C0%A0", "/subject", "invalid_utf8"), ("%0D%0AX", "/subject", "control_character")):
        status, answer, _ = await door.post(b"{}", {**EVENT, **JSON, "ce-subject": wrong})
        assert (status, answer["errors"][0]["pointer"], answer["errors"][0]["code"]) == (400, pointer, code)
    status, answer, _ = await door.post(b'1,"id":"other"', {**EVENT, **JSON})
    assert (status, answer["errors"][0]["pointer"], answer["code"]) == (400, "/data", "malformed_json")
    assert await nothing_is_kept(pool)
