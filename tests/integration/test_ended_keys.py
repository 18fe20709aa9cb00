"""What lasts, ends soon after its key: streams of changes, and requests that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tables.access import key_cache, keys
from tables.database import Database
from web.query import changes
from web.requests import waiting_answers

from tests.support.doors.gated_ports import GatedPorts, gated_ports

CHECK_SECONDS = 0.3


@pytest.fixture
async def ports(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GatedPorts]:
    """No key is believed for long: nothing listens for changes here."""
    monkeypatch.setattr(key_cache, "FRESH_SECONDS", 0.1)
    for module in (changes, waiting_answers):
        monkeypatch.setattr(module, "CHECK_SECONDS", CHECK_SECONDS)
    async with gated_ports(database) as opened:
        yield opened


async def revoke(ports: GatedPorts) -> None:
    async with ports.database.acquire() as connection:
        await keys.revoke(connection, "reader")


async def test_a_stream_ends_cleanly_when_its_key_is_revoked(ports: GatedPorts) -> None:
    headers = {"Authorization": f"Bearer {await ports.key('reader', ['read'])}"}
    address = ports.addresses["query"] + "/api/v1/projections/devices/changes"
    async with ports.client.get(address, headers=headers) as stream, asyncio.timeout(20):
        assert stream.status == 200
        await stream.content.readuntil(b"\n\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.content.readany(), 3 * CHECK_SECONDS)
        await revoke(ports)
        rest = await stream.content.read()
    assert rest.endswith(b": the key is no longer valid\n\n")


async def test_a_stream_ends_when_nobody_can_tell_any_more_whether_its_key_is_valid(
    ports: GatedPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": f"Bearer {await ports.key('reader', ['read'])}"}
    address = ports.addresses["query"] + "/api/v1/projections/devices/changes"
    async with ports.client.get(address, headers=headers) as stream, asyncio.timeout(20):
        await stream.content.readuntil(b"\n\n")
        monkeypatch.setattr(key_cache, "AWAY_SECONDS", 0.0)
        ports.database.close()
        assert (await stream.content.read()).endswith(b": the key is no longer valid\n\n")


async def test_a_read_that_waits_is_refused_when_its_key_is_revoked(ports: GatedPorts) -> None:
    headers = {"Authorization": f"Bearer {await ports.key('reader', ['read'])}"}
    address = ports.addresses["query"] + "/api/v1/projections/devices/d?source=/s&id=1&wait=30"
    asking = asyncio.create_task(ports.client.get(address, headers=headers).__aenter__())
    async with asyncio.timeout(20):
        await asyncio.sleep(CHECK_SECONDS)
        await revoke(ports)
        assert (await asking).status == 401
