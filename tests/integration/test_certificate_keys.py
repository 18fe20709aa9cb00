"""A client whose certificate a key names needs no bearer token."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from headrace.access.key_request import checked
from tables.access import keys
from tables.database import Database

from tests.support.doors.gated_ports import GatedPorts, gated_ports
from tests.support.servers.trusted import Trusted
from tests.support.waiting import until

SECONDS = 10.0
PROJECTIONS = "/api/v1/projections"
ROW = f"{PROJECTIONS}/devices/device-1"
FAILURES = 20
"""Of an address in a minute."""


class Place:
    """A query port that asks for certificates, and how clients come to it."""

    def __init__(self, ports: GatedPorts, trusted: Trusted) -> None:
        self._ports = ports
        self._trusted = trusted
        self.address = ports.addresses["query"].replace("http://", "https://")

    def context(self, file: str, host: str) -> ssl.SSLContext:
        return self._trusted.client(self._trusted.issue(file, host))

    async def key(self, name: str, certificate: str) -> str:
        """The id of a new key with the scope `read`."""
        async with self._ports.database.acquire() as connection:
            made, _ = await keys.create(connection, checked(name, ["read"], certificate=certificate), "host:test")
        return made.id

    async def revoke(self, key: str) -> None:
        async with self._ports.database.acquire() as connection:
            await keys.revoke(connection, key)

    async def status(self, context: ssl.SSLContext, path: str = PROJECTIONS, **headers: str) -> int:
        async with (
            aiohttp.ClientSession() as client,
            client.get(self.address + path, ssl=context, headers=headers) as answer,
        ):
            return answer.status


@pytest.fixture
async def place(database: Database, tmp_path: Path) -> AsyncIterator[Place]:
    trusted = Trusted(tmp_path)
    certificate, key = trusted.issue("server")
    files = {"QUERY_TLS_CERTIFICATE": certificate, "QUERY_TLS_KEY": key, "QUERY_TLS_CLIENT_CA": trusted.file}
    settings = {name: str(path) for name, path in files.items()}
    async with gated_ports(database, AUTH_FAILURES_PER_MINUTE=str(FAILURES), **settings) as ports:
        yield Place(ports, trusted)


async def test_a_certificate_does_what_its_key_may_and_nothing_else(place: Place) -> None:
    await place.key("device-1", "dns:device-1")
    known, unknown = place.context("one", "device-1"), place.context("two", "device-2")
    assert await place.status(known) == 200
    assert await place.status(known, "/api/v1/events") == 403
    assert await place.status(unknown) == 401


@pytest.mark.parametrize("path", [PROJECTIONS, ROW])
async def test_a_known_certificate_is_admitted_from_an_address_that_failed_too_often(place: Place, path: str) -> None:
    await place.key("device-1", "dns:device-1")
    known, unknown = place.context("one", "device-1"), place.context("two", "device-2")
    before = await place.status(known, path)
    assert [await place.status(unknown) for _ in range(FAILURES + 1)][-1] == 429
    assert await place.status(known, path) == before != 429


async def test_a_bearer_token_counts_where_it_is_given(place: Place) -> None:
    await place.key("device-1", "dns:device-1")
    known = place.context("one", "device-1")
    assert await place.status(known) == 200
    assert await place.status(known, Authorization="Bearer dns:device-1") == 401
    assert await place.status(known, Authorization="Basic eDp5") == 401
    assert await place.status(place.context("two", "device-2"), Authorization="Bearer dns:device-1") == 401


async def test_a_revoked_key_takes_its_certificate_along_until_another_key_names_it(place: Place) -> None:
    key = await place.key("device-1", "dns:device-1")
    known = place.context("one", "device-1")
    assert await place.status(known) == 200
    await place.revoke(key)

    async def is_refused() -> bool:
        return await place.status(known) == 401

    await until(is_refused, 40.0)
    await place.key("device-1", "dns:device-1")
    assert await place.status(known) == 200
