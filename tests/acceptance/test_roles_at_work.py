"""A worker whose services each connect with their own role: everything works, and no role has more than it uses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import asyncpg
import pytest

from tables.access import access_log, keys
from tables.database import Connection
from tables.history import epochs, event_store
from tables.intake import dead_letters, outbox, unpublished
from tables.migrate import table_names
from tables.parked import parked, parked_list
from tables.projections import leftovers
from tables.roles.grants import FUNCTIONS, ROLE_NAMES, RoleName, privileges

from tests.support.servers.command_line import command
from tests.support.servers.fresh import new_topic, server_folder
from tests.support.servers.installations import Installation, installation
from tests.support.servers.own_postgres import OwnPostgres
from tests.support.servers.statement_log import log_statements, refused, statements
from tests.support.servers.system import STRUCTURED, WAIT, System, envelope
from tests.support.servers.worker_process import WorkerProcess

MOST_BYTES = "1000"
"""Of a row: a device with some long names of metrics has more, and its event is parked."""
LONG = "m" * 250
DSNS: Mapping[RoleName, str] = {
    "ingest": "DATABASE_URL_INGESTION",
    "relay": "DATABASE_URL_RELAY",
    "project": "DATABASE_URL_EVENT_HANDLER",
    "query": "DATABASE_URL_QUERY",
    "operate": "DATABASE_URL_OPERATION",
}
RARE: Mapping[RoleName, tuple[str, ...]] = {
    "access": (keys.FIND, keys.BY_CERTIFICATE, keys.WRITE_USES, access_log.INSERT),
    "administer": (keys.INSERT, keys.END_LATER, keys.REVOKE, keys.LIST, keys.LIVE, access_log.INSERT),
    "ingest": (dead_letters.STORE, dead_letters.TRIM, outbox.COMPARE),
    "relay": (
        outbox.STORED_BEFORE,
        outbox.DELETE,
        event_store.READ_PARTITIONS,
        epochs.NOTE_ABANDONED,
        epochs.START_OVER,
        unpublished.SET_ASIDE,
        unpublished.PUBLISHED,
        unpublished.LISTED,
        unpublished.WITH_EVENTS,
    ),
    # The last is asked at the port of an event handler alone.
    "project": (parked.PARK, leftovers.COUNTS, leftovers.NAMES, epochs.LOST_EVENTS),
    "query": (leftovers.COUNTS, access_log.PAGE.format(conditions="")),
    "operate": (
        parked.UPDATE,
        *(one.replace("{own}", "") for one in (parked_list.FIND, parked_list.FIRST_OF_GROUPS, dead_letters.NEWEST)),
    ),
    "verify": (),
}
"""Statements of these services for what does not happen in every run."""


class Worked(NamedTuple):
    """What is left when everything has been done once."""

    made: Installation
    folder: Path
    answers: dict[str, int]
    commands: dict[str, int]

    @property
    def statements(self) -> Mapping[str, set[str]]:
        return statements(self.folder)


@pytest.fixture(scope="module")
def worked(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worked]:
    with server_folder() as folder, asyncio.Runner() as runner:
        server = OwnPostgres(folder)
        runner.run(server.start())
        here = installation(server.dsn())
        try:
            made = runner.run(here.__aenter__())
            users = [f"{made.prefix}_{role}_user" for role in ROLE_NAMES]
            runner.run(log_statements(server, users))
            answers, commands = runner.run(_work(made, kafka, tmp_path_factory.mktemp("roles")))
            yield Worked(made, folder, answers, commands)
            runner.run(here.__aexit__(None, None, None))
        finally:
            runner.run(server.stop())


async def _work(made: Installation, kafka: str, folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    topic = new_topic()
    common = {"BROKER_URL": kafka, "TOPIC": topic, "CONSUMER_GROUP": topic}
    worker = WorkerProcess(
        folder, **common, MAX_STATE_BYTES=MOST_BYTES, **{name: made.dsn(role) for role, name in DSNS.items()}
    )
    worker.start()
    try:
        await worker.ready()
        answers = await _use(System(worker, made.superuser_dsn, kafka.removeprefix("kafka://"), topic))
        answers["warnings of rights"] = worker.log.read_text().count("may alter the event store")
    finally:
        assert worker.stop() == 0, worker.log.read_text()[-4000:]

    def as_role(role: RoleName, *arguments: str) -> int:
        environment = {**worker._environment, **common, "DATABASE_URL": made.dsn(role), "PYTHONWARNINGS": "ignore"}
        ended = command(*arguments, settings=environment, seconds=120)
        print(ended.stdout, ended.stderr)
        return ended.returncode

    return answers, {
        "list": await asyncio.to_thread(as_role, "operate", "parked", "list"),
        "discard": await asyncio.to_thread(
            as_role, "operate", "parked", "discard", "devices", "--key", "b", "--reason", "r"
        ),
        "unpublished": await asyncio.to_thread(as_role, "relay", "unpublished", "list"),
        "verify": await asyncio.to_thread(as_role, "verify", "verify"),
        "check-history": await asyncio.to_thread(as_role, "verify", "check-history"),
    }


async def _use(system: System) -> dict[str, int]:
    """Each request once, and what became of it."""
    first = envelope("/roles", type="reading.recorded", subject="a", data={"metric": "t", "value": 1})
    large = envelope("/roles", subject="large", data="x" * 20_000)
    answers = {"post": (await system.post(first, {**STRUCTURED, **WAIT})).status}
    answers["again"] = (await system.post(first)).status
    answers["large"] = (await system.post(large, {**STRUCTURED, **WAIT})).status
    answers["large, otherwise"] = (await system.post({**large, "data": "y" * 20_000})).status
    for device in ("a", "b"):
        for number in range(5):
            data = {"metric": f"{LONG}{number}", "value": 1}
            reading = envelope("/roles", type="reading.recorded", subject=device, data=data)
            await system.post(reading, {**STRUCTURED, **WAIT})
    answers["status"] = (await system.door(f"/api/v1/events/status?source=/roles&id={first['id']}")).status
    answers["door metrics"] = (await system.door("/metrics")).status
    answers["door ready"] = (await system.door("/readyz?verbose")).status
    for path in (
        "/api/v1/projections",
        "/api/v1/projections/devices",
        "/api/v1/projections/devices?sort=last_seen",
        "/api/v1/projections/devices/a",
        "/api/v1/projections/devices/a?as_of=3",
        "/api/v1/events",
        "/api/v1/parked",
        "/api/v1/dead-letters",
        "/readyz?verbose",
        "/metrics",
    ):
        answers[path] = await _get(system.worker.query + path)
    answers["changes"] = await _changes(system)
    parked_now = (await system.get("/api/v1/parked")).json["items"]
    position = next(item["position"] for item in parked_now if item["key"] == "a")
    answers["parked"] = (await system.get(f"/api/v1/parked/devices/{position}")).status
    answers["retry"] = await _post(system, "/api/v1/parked/devices/retry", {"key": "a"})
    answers["discard"] = await _post(system, "/api/v1/parked/devices/discard", {"key": "a", "reason": "too large"})
    return answers


async def _get(address: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(address) as response:
        return response.status


async def _post(system: System, path: str, body: Any) -> int:
    async with aiohttp.ClientSession() as session, session.post(system.worker.query + path, json=body) as response:
        return response.status


async def _changes(system: System) -> int:
    """The status of a stream that has shown a change."""
    address = f"{system.worker.query}/api/v1/projections/event_types/changes"
    async with asyncio.timeout(30), aiohttp.ClientSession() as session, session.get(address) as response:
        assert await response.content.readline()
        await system.post(envelope("/roles", subject="changed"))
        while b"tested" not in await response.content.readline():
            pass
        return response.status


def test_every_service_works_as_its_role(worked: Worked) -> None:
    expected = {"post": 201, "again": 200, "large": 201, "large, otherwise": 409}
    expected["warnings of rights"] = 0
    assert {name: answer for name, answer in worked.answers.items() if answer != 200} == {
        name: answer for name, answer in expected.items() if answer != 200
    }
    assert worked.commands == dict.fromkeys(worked.commands, 0)
    assert refused(worked.folder) == []


async def test_no_role_has_a_right_that_its_service_does_not_use(worked: Worked) -> None:
    """Each right is taken away, and then a statement of the service must be refused."""
    made, all_statements = worked.made, worked.statements
    session: Connection = await asyncpg.connect(made.superuser_dsn)
    unused: list[str] = []
    for role in ROLE_NAMES:
        rights = await _rights(session, made, role)
        asked = [one for one in all_statements[_user(made, role)] if _can_be_explained(one)]
        assert asked
        probes = [_explained(one) for one in (*asked, *RARE[role])]
        probes += [_executed(one) for one in EXECUTED.get(role, ())]
        for probe in probes:
            assert await _is_permitted(session, made, role, "SELECT 1", probe), (role, probe.__doc__)
        for right in rights:
            for probe in probes:
                if not await _is_permitted(session, made, role, right, probe):
                    break
            else:
                unused.append(right)
    await session.close()
    assert "\n".join(unused) == ""


def _user(made: Installation, role: RoleName) -> str:
    """Whose sessions use the rights of a role."""
    users = {"access": "query", "administer": "operate"}
    return f"{made.prefix}_{users.get(role, role)}_user"


Probe = Callable[[Connection], Awaitable[object]]


def _can_be_explained(statement: str) -> bool:
    return statement.lstrip(" (\n").split()[0].upper() in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}


def _explained(statement: str) -> Probe:
    """PostgreSQL checks the rights of a statement also where it only explains it."""

    async def probe(session: Connection) -> None:
        await session.execute(f"EXPLAIN (GENERIC_PLAN) {statement}")

    probe.__doc__ = statement
    return probe


def _executed(statement: str) -> Probe:
    """For what functions and triggers execute, and indexes."""

    async def probe(session: Connection) -> None:
        await session.execute(statement)

    probe.__doc__ = statement
    return probe


_ACCEPT = """
SELECT outbox_accept_group(
    ARRAY['{id}'], ARRAY['/probe'], ARRAY['t'], ARRAY['s'], ARRAY['2026-01-01T00:00:00Z'], ARRAY[true], ARRAY['s'],
    ARRAY[1], ARRAY['{{}}']::json[], ARRAY['']::bytea[]
)
"""
EXECUTED: Mapping[RoleName, tuple[str, ...]] = {
    "ingest": (_ACCEPT.format(id="new"), _ACCEPT.format(id="waits"), _ACCEPT.format(id="stored")),
    "relay": ("SELECT event_as_text('{}')",),
    "project": (
        "SELECT event_as_text('{}')",
        "INSERT INTO projections (projection, key, state, position, version) VALUES ('devices', 'new', '{}', 1, 1)",
        "INSERT INTO progress (projection, partition, position) VALUES ('devices', 999, 0)",
    ),
    "query": ("SELECT event_as_text('{}')",),
    "operate": (
        "SELECT event_as_text('{}')",
        "INSERT INTO projections (projection, key, state, position, version) VALUES ('devices', 'new', '{}', 1, 1)",
        "INSERT INTO progress (projection, partition, position) VALUES ('devices', 999, 0)",
        "DELETE FROM parked WHERE projection = 'probe'",
    ),
    "verify": ("SELECT event_as_text('{}')",),
}
PREPARE = """
INSERT INTO outbox (id, source, event_type, event_time, partition_key, key_hash, event, content_digest)
VALUES ('waits', '/probe', 't', '2026-01-01', 's', 1, '{}', '');
INSERT INTO event_store (position, id, source, event_type, event_time, received_at, partition, event, content_digest)
VALUES (1000000, 'stored', '/probe', 't', '2026-01-01', '2026-01-01', 0, '{}', '');
INSERT INTO parked (projection, position, key, key_is_known, error, attempts)
VALUES ('probe', 1, 'k', true, 'e', 1);
CREATE INDEX probe ON projections ((instant_of(key)));
"""


async def _rights(session: Connection, made: Installation, role: RoleName) -> list[str]:
    """What revokes each right of a role on what this version has; the functions of a name together."""
    name, found = f"{made.prefix}_{role}", []
    for one in privileges(role):
        if one.table not in table_names():
            continue
        columns = one.columns or ("",)
        found += [
            f"REVOKE {one.kind}{f' ({column})' if column else ''} ON {one.table} FROM {name}" for column in columns
        ]
    for function in FUNCTIONS[role]:
        of_name = "SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc WHERE proname = $1"
        found.append(f"REVOKE EXECUTE ON FUNCTION {await session.fetchval(of_name, function)} FROM {name}")
    return found


async def _is_permitted(session: Connection, made: Installation, role: RoleName, right: str, probe: Probe) -> bool:
    transaction = session.transaction()
    await transaction.start()
    try:
        await session.execute(f"{PREPARE}{right}; SET LOCAL ROLE {_user(made, role)}")
        await probe(session)
    except asyncpg.InsufficientPrivilegeError:
        return False
    finally:
        await transaction.rollback()
    return True
