"""Workers with roles that may do less, or more, than their services need: what they do, and what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from agents.parked.retrier import Retrier
from agents.upkeep.database_opener import DatabaseOpener, OneInstallation
from agents.upkeep.field_indexes import FieldIndexes
from app.commands.connecting import opened
from app.settings import read_settings
from app.worker.preflight import postgres_problems
from headrace.errors import StartError
from headrace.folding.parked_groups import Group, NotPermittedError
from headrace.projection import Field, Projection
from tables import database as databases
from tables.database import Connection, Database
from tables.intake import disk_space, outbox
from tables.lock_keys import LockKey
from tables.projections import field_indexes
from tables.roles.grants import WITH_ADDRESS, RoleName

from tests.support.data.numbers_projection import make_projection
from tests.support.servers.installations import Installation, as_user, installation


@pytest.fixture
async def here(postgres_dsn: str) -> AsyncIterator[Installation]:
    async with installation(postgres_dsn) as made:
        yield made


async def test_a_role_that_may_not_retry_is_told_so_before_anything_is_changed(here: Installation) -> None:
    owner: Connection = await asyncpg.connect(here.owner_dsn)
    await owner.execute(
        "INSERT INTO parked (projection, position, key, key_is_known, error, attempts)"
        " VALUES ('numbers', 1, 'a', true, 'e', 1)"
    )
    async with opened(read_settings({"DATABASE_URL": here.dsn("query")})) as database:
        retrier = Retrier([make_projection("numbers")], database)
        for group in (Group("a"), None):
            with pytest.raises(NotPermittedError, match="DATABASE_URL_OPERATION"):
                await retrier.retry("numbers", group)
        for what in (Group("a"), 1):
            with pytest.raises(NotPermittedError, match=r"docs/roles\.md"):
                await retrier.discard("numbers", what, reason="r", by="b")
    assert await owner.fetchval("SELECT count(*) FROM parked WHERE attempts = 1") == 1
    await owner.close()


async def test_a_worker_without_the_right_names_the_indexes_that_are_missing(
    here: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    class Thing(msgspec.Struct):
        color: str

    fields = {"color": Field("text", indexed=True)}
    things = Projection("things", state=Thing, key=lambda event: event.source, description="Things.", fields=fields)

    async def started(role: RoleName) -> None:
        async with opened(read_settings({"DATABASE_URL": here.dsn(role)})) as database:
            service = FieldIndexes(database, [things])
            await service._sync()

    await started("query")
    assert "There is no index on color of projection things" in caplog.text
    assert "faust -A app migrate" in caplog.text
    caplog.clear()
    session: Connection = await asyncpg.connect(here.owner_dsn)
    await field_indexes.sync(session, field_indexes.declared_fields([things]))
    await session.close()
    await started("project")
    assert "There is no index" not in caplog.text


async def _open(
    database: Database, dsn: str, one: OneInstallation, variable: str, *, is_embedded: bool = False
) -> None:
    opener = DatabaseOpener(database, dsn, variable, one=one, is_embedded=is_embedded)
    opener.wake()  # it ends as soon as the pool is open
    await opener.run()


async def test_addresses_of_two_installations_are_refused(postgres_dsn: str, here: Installation) -> None:
    one, databases = OneInstallation(), [Database(pool_size=2, timeout_seconds=5) for _ in range(3)]
    await _open(databases[0], here.dsn("ingest"), one, "DATABASE_URL_INGESTION")
    await _open(databases[1], here.dsn("query"), one, "DATABASE_URL_QUERY")
    async with installation(postgres_dsn) as other:
        with pytest.raises(StartError, match=r"^DATABASE_URL_INGESTION and DATABASE_URL_RELAY lead to different"):
            await _open(databases[2], other.dsn("relay"), one, "DATABASE_URL_RELAY")
    for database in databases:
        database.close()


@pytest.mark.parametrize(("is_owner", "is_embedded", "warnings"), [(1, 0, 1), (1, 1, 0), (0, 0, 0)])
async def test_a_role_that_may_alter_the_event_store_is_warned_of(
    here: Installation, caplog: pytest.LogCaptureFixture, is_owner: int, is_embedded: int, warnings: int
) -> None:
    database = Database(pool_size=2, timeout_seconds=5)
    dsn = here.owner_dsn if is_owner else here.dsn("query")
    await _open(database, dsn, OneInstallation(), "DATABASE_URL_QUERY", is_embedded=bool(is_embedded))
    database.close()
    told = [line.getMessage() for line in caplog.records if "may alter the event store" in line.getMessage()]
    assert len(told) == warnings
    assert all("DATABASE_URL_QUERY" in line and "docs/roles.md" in line for line in told)


async def test_a_service_without_its_rights_is_told_what_to_grant(here: Installation) -> None:
    found = await postgres_problems("DATABASE_URL_RELAY", here.dsn("ingest"), ["relay"])
    assert len(found) == 1
    assert found[0].startswith("The role of DATABASE_URL_RELAY lacks rights: ")
    assert "event_store (INSERT)" in found[0]
    assert f"GRANT headrace_relay TO {here.prefix}_ingest_user" in found[0]
    stranger = f"{here.prefix}_stranger"
    server: Connection = await asyncpg.connect(here.superuser_dsn)
    await server.execute(f"CREATE ROLE {stranger} LOGIN")
    try:
        (told,) = await postgres_problems("DATABASE_URL", as_user(here.superuser_dsn, stranger), ["query"])
        assert "schema_migrations (SELECT of number)" in told
    finally:
        await server.execute(f"DROP ROLE {stranger}")
        await server.close()
    for role in WITH_ADDRESS:
        assert await postgres_problems("DATABASE_URL", here.dsn(role), [role]) == []


async def test_no_role_needs_more_rights_for_locks_notifications_and_the_disk(here: Installation) -> None:
    heard = asyncio.Event()
    for role in WITH_ADDRESS:
        heard.clear()
        async with opened(read_settings({"DATABASE_URL": here.dsn(role)})) as database:
            listening = await databases.connect(database.dsn, timeout_seconds=10)
            try:
                await outbox.on_new_rows(listening, heard.set)
                async with database.acquire() as connection:
                    await outbox.wake_relay(connection)
                async with asyncio.timeout(10):
                    await heard.wait()
                assert await outbox.try_lock(listening, LockKey.RELAY)
                assert await disk_space.has_space(listening)
                await disk_space.announce(listening)
                async with database.acquire() as connection:
                    assert await disk_space.is_announced(connection)
            finally:
                await listening.close()
