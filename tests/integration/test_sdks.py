"""The CloudEvents SDKs for Python, JavaScript and Go send events, and what is kept is what they sent."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.bindings.http import HTTPMessage
from cloudevents.core.v1.event import CloudEvent

from tables.database import Database, Pool

from tests.support.clients.foreign_tools import SECONDS, go_program, node_folder
from tests.support.doors.open_door import OpenDoor, open_door
from tests.support.program import output_of

JSON = {"n": 21.5, "text": "Grüße €"}
BYTES = b64encode(bytes([0, 255, 254, 10])).decode()
TEXT = b64encode("Grüße €".encode()).decode()
DATA = {
    "binary-json": {"data": JSON},
    "binary-text": {"data_base64": TEXT},
    "binary-bytes": {"data_base64": BYTES},
    "binary-none": {},
    "structured-json": {"data": JSON},
    "structured-bytes": {"data_base64": BYTES},
    "batch-1": {"data": JSON},
    "batch-2": {"data": JSON},
}


@pytest.fixture
async def door(database: Database) -> AsyncIterator[OpenDoor]:
    async with open_door(database) as opened:
        yield opened


async def check_kept(pool: Pool, source: str, *, subject: str = "s-1") -> None:
    rows = await pool.fetch("SELECT id, event::text FROM outbox WHERE source = $1", source)
    kept: dict[str, dict[str, Any]] = {row["id"]: json.loads(row["event"]) for row in rows}
    assert kept.keys() == DATA.keys()
    for event_id, event in kept.items():
        assert {name: value for name, value in event.items() if name in {"data", "data_base64"}} == DATA[event_id]
        assert (event["type"], event["subject"], event["anextension"]) == ("tested", subject, "x")
        assert datetime.fromisoformat(event["time"]) == datetime(2026, 1, 31, 22, 0, 0, 123_000, UTC)


def check_statuses(printed: bytes) -> None:
    statuses: dict[str, tuple[int, str]] = json.loads(printed)
    assert len(statuses) == 7
    assert {status for status, _ in statuses.values()} == {202}, statuses


async def test_the_sdk_for_python_sends(door: OpenDoor, pool: Pool) -> None:
    subject = 'Grüße € 100% "quoted"'

    def made(event_id: str, content_type: str | None, data: Any) -> CloudEvent:
        attributes = {
            "id": event_id,
            "source": "/sdk/python",
            "type": "tested",
            "subject": subject,
            "time": datetime(2026, 1, 31, 22, 0, 0, 123_000, UTC),
            "specversion": "1.0",
            "anextension": "x",
            **({"datacontenttype": content_type} if content_type else {}),
        }
        return CloudEvent(attributes, data)

    octets = bytes([0, 255, 254, 10])
    in_batch = [http.to_structured_event(made(f"batch-{n}", "application/json", JSON)).body for n in (1, 2)]
    messages = [
        http.to_binary_event(made("binary-json", "application/json", JSON)),
        http.to_binary_event(made("binary-text", "text/plain", "Grüße €")),
        http.to_binary_event(made("binary-bytes", "application/octet-stream", octets)),
        http.to_binary_event(made("binary-none", None, None)),
        http.to_structured_event(made("structured-json", "application/json", JSON)),
        http.to_structured_event(made("structured-bytes", "application/octet-stream", octets)),
        HTTPMessage({"content-type": "application/cloudevents-batch+json"}, b"[" + b",".join(in_batch) + b"]"),
    ]
    for message in messages:
        status, answer, _ = await door.post(message.body, message.headers)
        assert (status, answer.get("errors")) == (202, None)
    await check_kept(pool, "/sdk/python", subject=subject)


async def test_the_sdk_for_javascript_sends(door: OpenDoor, pool: Pool) -> None:
    url = f"http://127.0.0.1:{door.port}/api/v1/events"
    check_statuses(await output_of("node", node_folder() / "send.js", url, seconds=SECONDS))
    await check_kept(pool, "/sdk/javascript")


async def test_the_sdk_for_go_sends(door: OpenDoor, pool: Pool) -> None:
    url = f"http://127.0.0.1:{door.port}/api/v1/events"
    check_statuses(await output_of(go_program(), url, seconds=SECONDS))
    await check_kept(pool, "/sdk/go")
