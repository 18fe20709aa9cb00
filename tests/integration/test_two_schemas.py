"""Two installations in two schemas of one database: neither notices the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest

from agents.kafka.access import KafkaAccess
from agents.relay.publisher import Publisher
from agents.relay.relay import Relay
from headrace.process.waiting import WakeUp
from tables import database as databases
from tables.database import Connection, Database
from tables.history.snapshot import snapshot
from tables.intake import disk_space, outbox
from tables.lock_keys import LOCK, LockKey
from tables.migrate import migrate, migrations
from tables.projections import field_indexes
from tables.session import settle

from tests.support.data.events import event
from tests.support.servers.fresh import new_topic
from tests.support.waiting import until

SECONDS = 20.0
DISCARD = "DELETE FROM parked WHERE projection = 'sums'"
PARK = (
    "INSERT INTO parked (projection, position, key, error, key_is_known, attempts)"
    " VALUES ('sums', 1, 'k', 'no', true, 1)"
)
# What a worker of an earlier version does.
OLD_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"


class Installation(NamedTuple):
    """One of them."""

    dsn: str
    first: Connection
    second: Connection


async def connect(dsn: str) -> Connection:
    return await databases.connect(dsn, timeout_seconds=10)


@pytest.fixture
async def installations(connection: Connection, database_dsn: str) -> AsyncIterator[list[Installation]]:
    """Each is chosen by its address; a third is in the schema `public`."""
    made = []
    for schema in ("north", '"South Side"'):
        await connection.execute(f"CREATE SCHEMA {schema}")
        dsn = f"{database_dsn}&search_path={schema.replace(' ', '%20')}"
        first = await connect(dsn)
        dsn = await settle(first, dsn)
        assert await migrate(first) == [one.name for one in migrations()]
        made.append(Installation(dsn, first, await connect(dsn)))
    yield made
    for one in made:
        databases.drop(one.first)
        databases.drop(one.second)


async def test_each_has_a_relay_of_its_own(installations: list[Installation]) -> None:
    for one in installations:
        assert await outbox.try_lock(one.first, LockKey.RELAY)
        assert not await outbox.try_lock(one.second, LockKey.RELAY)
    north, south = installations
    await north.first.close()
    assert not await outbox.try_lock(south.second, LockKey.RELAY)

    async def taken_over() -> bool:
        return await outbox.try_lock(north.second, LockKey.RELAY)

    await until(taken_over, SECONDS)


async def test_events_are_stored_where_they_were_accepted(installations: list[Installation]) -> None:
    north, south = installations
    assert await outbox.accept(north.first, [event(1)]) == {}
    assert await outbox.accept(south.first, [event(1, data="other")]) == {}
    for one in installations:
        assert [row.position for row in await outbox.store_next(one.second, [], at_most=10, partitions=4)] == [1]


async def test_each_relay_stores_and_publishes_what_its_door_accepted(
    installations: list[Installation], kafka: str
) -> None:
    databases_of, relays, topics = [], [], [new_topic() for _ in installations]
    for one, topic in zip(installations, topics, strict=True):
        database = Database(pool_size=4, timeout_seconds=10)
        await database.open(one.dsn)
        publisher = Publisher(KafkaAccess(kafka.removeprefix("kafka://")), topic, partitions_if_new=1)
        databases_of.append(database)
        relays.append(Relay(database, publisher, WakeUp(), batch_events=100, watchdog_seconds=0.1))
    try:
        for relay in relays:
            await relay.start()
        for number, one in enumerate(installations):
            await outbox.accept(one.first, [event(f"{number}-{count}") for count in range(number + 1)])

        async def both_are_empty() -> bool:
            return not any([await one.first.fetchval("SELECT count(*) FROM outbox") for one in installations])

        await until(both_are_empty, SECONDS)
        assert [relay.is_active for relay in relays] == [True, True]
        assert [relay.events for relay in relays] == [1, 2]
    finally:
        for relay, database in zip(relays, databases_of, strict=True):
            await relay.stop()
            database.close()


async def test_a_relay_of_an_earlier_version_and_ours_exclude_each_other(
    installations: list[Installation], connection: Connection
) -> None:
    north, south = installations
    assert await connection.fetchval(OLD_TRY_LOCK, LockKey.RELAY)
    assert not await outbox.try_lock(north.first, LockKey.RELAY)
    await connection.execute("SELECT pg_advisory_unlock_all()")
    assert await outbox.try_lock(north.first, LockKey.RELAY)
    assert await outbox.try_lock(south.first, LockKey.RELAY)
    assert not await connection.fetchval(OLD_TRY_LOCK, LockKey.RELAY)
    north.first.terminate()
    south.first.terminate()

    async def taken_over() -> bool:
        return bool(await connection.fetchval(OLD_TRY_LOCK, LockKey.RELAY))

    await until(taken_over, SECONDS)


async def test_indexes_and_migrations_of_one_do_not_wait_for_the_other(installations: list[Installation]) -> None:
    north, south = installations
    async with north.first.transaction():
        await north.first.execute(LOCK, LockKey.MIGRATE)
        assert await migrate(south.first) == []
        assert await outbox.try_lock(north.second, LockKey.FIELD_INDEXES)
        assert await field_indexes.sync(south.first, []) is not None
    other = await connect(north.dsn)
    assert await field_indexes.sync(other, []) is None
    databases.drop(other)


async def test_an_installation_stays_where_it_is_when_the_role_gets_another_search_path(
    installations: list[Installation], connection: Connection, database_dsn: str
) -> None:
    north, _ = installations
    superuser = await asyncpg.connect(database_dsn, user="postgres")
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER ROLE headrace IN DATABASE {name} SET search_path = 'South Side', north")
    database = Database(pool_size=4, timeout_seconds=10)
    await database.open(north.dsn)
    async with database.acquire() as pooled:
        assert await pooled.fetchval("SELECT current_schema()") == "north"
    database.close()
    chosen = await connect(database_dsn)  # by the role
    settled = await connect(await settle(chosen, database_dsn))
    assert await settled.fetchval("SELECT current_schema()") == "South Side"
    for one in (chosen, settled, superuser):
        databases.drop(one)


async def test_functions_and_types_of_other_schemas_do_not_shadow_ours(
    installations: list[Installation], connection: Connection, database_dsn: str
) -> None:
    await connection.execute("CREATE FUNCTION public.cardinality(bigint[]) RETURNS integer LANGUAGE sql AS 'SELECT 99'")
    dsn = f"{database_dsn}&search_path=north,public,pg_catalog"
    session = await connect(dsn)
    await settle(session, dsn)
    assert await session.fetchval("SELECT cardinality('{1,2}'::bigint[])") == 2
    databases.drop(session)


async def test_a_notification_wakes_the_relay_of_its_installation_alone(
    installations: list[Installation], connection: Connection
) -> None:
    north, south = installations
    woken: list[str] = []
    await outbox.on_new_rows(north.first, lambda: woken.append("north"))
    await outbox.on_new_rows(south.first, lambda: woken.append("south"))
    await outbox.wake_relay(south.second)
    await connection.execute("SELECT pg_notify('headrace_outbox', '')")  # as earlier versions do

    async def last_came() -> bool:
        await north.first.execute("SELECT 1")
        await south.first.execute("SELECT 1")
        return woken.count("north") == 1 and woken.count("south") == 2

    await until(last_came, SECONDS, lambda: f"{woken}")


async def test_a_discard_does_not_announce_a_full_disk(installations: list[Installation]) -> None:
    north, south = installations
    await north.first.execute(PARK)
    async with north.first.transaction():
        await north.first.execute(DISCARD)
        for one in (north.second, south.second):
            assert not await disk_space.is_announced(one)
        # Two discards of one installation wait for each other; those of two do not.
        await south.first.execute(PARK)
        await asyncio.wait_for(south.first.execute(DISCARD), SECONDS)


async def test_what_leaves_parked_is_recorded_beside_it_whatever_the_search_path(
    installations: list[Installation], connection: Connection
) -> None:
    north, south = installations
    await north.first.execute(PARK)
    await connection.execute("SET search_path = 'South Side'")
    await connection.execute("DELETE FROM north.parked")
    assert [await one.first.fetchval("SELECT count(*) FROM unparked") for one in (north, south)] == [1, 0]


async def test_each_event_store_has_a_guard_of_its_own(installations: list[Installation]) -> None:
    north, south = installations
    await north.first.execute("ALTER TABLE event_store DISABLE TRIGGER event_store_is_append_only")
    for one, guarded in ((north, False), (south, True)):
        async with snapshot(one.first) as moment:
            assert await moment.is_guarded() is guarded
