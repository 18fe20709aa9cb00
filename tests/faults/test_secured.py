"""With everything locked: keys, TLS on both ports, and a role of PostgreSQL for each service."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.access.key_request import checked
from tables.access import keys
from tables.database import connect

from tests.faults.fault_fixtures import MakeTrial
from tests.faults.trial import Trial
from tests.support.clients.way_in import WayIn
from tests.support.servers.installations import Installation, installation
from tests.support.servers.trusted import Trusted

KILLS = 3
TIMEOUT_SECONDS = 10.0


@pytest.fixture
async def installed(postgres_dsn: str) -> AsyncIterator[Installation]:
    async with installation(postgres_dsn) as made:
        yield made


@pytest.fixture
def trusted(tmp_path: Path) -> Trusted:
    return Trusted(tmp_path)


@pytest.fixture
async def locked(make_trial: MakeTrial, installed: Installation, kafka: str, trusted: Trusted) -> Trial:
    """A trial whose clients have a key and trust an authority."""
    trial = make_trial(installed.superuser_dsn, kafka)
    connection = await connect(installed.owner_dsn, timeout_seconds=TIMEOUT_SECONDS)
    _, key = await keys.create(connection, checked("clients", ["read", "write"]), "host:test")
    await connection.close()
    trial.way_in = WayIn(key, trusted.client())
    return trial


def _locks(installed: Installation, trusted: Trusted) -> dict[str, str]:
    """The settings of a worker with everything locked."""
    certificate, key = trusted.issue("worker")
    of_ports = {
        f"{port}_TLS_{name}": str(file)
        for port in ("INGESTION", "QUERY")
        for name, file in (("CERTIFICATE", certificate), ("KEY", key))
    }
    addresses = {
        "DATABASE_URL": "",
        "DATABASE_URL_INGESTION": installed.dsn("ingest"),
        "DATABASE_URL_RELAY": installed.dsn("relay"),
        "DATABASE_URL_EVENT_HANDLER": installed.dsn("project"),
        "DATABASE_URL_QUERY": installed.dsn("query"),
        "DATABASE_URL_OPERATION": installed.dsn("operate"),
    }
    return {"AUTH": "keys", **of_ports, **addresses}


async def test_a_worker_with_keys_tls_and_roles_is_killed(
    locked: Trial, installed: Installation, trusted: Trusted, chance: random.Random
) -> None:
    """kill -9 of the only worker, three times, with API keys, TLS on both ports, and a role for each service"""
    worker = await locked.start(**_locks(installed, trusted))
    locked.read(worker)
    await locked.load(worker)
    for number in range(KILLS):
        await locked.accepted(chance.randint(50, 150))
        await locked.note_under_way()
        worker.kill()
        worker.start()
        await worker.ready()
        await locked.resumed(f"kill {number + 1}", within=20)
    locked.bit(kills=KILLS)
    assert locked.said("may alter the event store") == 0
    await locked.verdict()
