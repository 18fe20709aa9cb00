"""The requests of docs/ingestion.md are answered as it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tables.database import Database

from tests.support.doors.open_door import open_door

PAGE = (Path(__file__).parents[2] / "docs" / "ingestion.md").read_text("utf-8")
BLOCKS = re.findall(r"^```http\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SECONDS = 20.0


def request_and_answer(block: str) -> tuple[bytes, str]:
    request, _, answer = block.partition("\n\nHTTP/1.1 ")
    head, _, body = request.partition("\n\n")
    lines = [line for line in head.split("\n") if not line.startswith("Content-Length")]
    lines += ["Connection: close", f"Content-Length: {len(body.encode())}"]
    assert f"Content-Length: {len(body.encode())}" in head, "the length in the page is not that of the body"
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode(), answer.strip()


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
async def test_a_request_is_answered_as_the_page_says(database: Database, block: str) -> None:
    request, expected = request_and_answer(block)
    async with open_door(database) as door, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request)
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    told = head.split("\r\n")
    lines, _, expected_body = expected.partition("\n\n")
    status, *headers = lines.split("\n")
    assert told[0] == f"HTTP/1.1 {status}"
    assert set(headers) <= set(told)
    if expected_body:
        assert body == expected_body


def test_there_are_requests() -> None:
    assert len(BLOCKS) >= 2
