"""Defaults of the database or the role change nothing: no (source, id) gets two contents, whatever they are."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from app.commands.connecting import connect, opened
from app.settings import read_settings
from headrace.events.envelope import ParsedEvent
from headrace.events.outcome import Outcome
from tables import database as databases
from tables.database import READ_SECONDS, SERVER_SETTINGS, AnyConnection, Connection, Database, Share
from tables.intake import outbox
from tables.intake.group_commit import GroupCommit
from tables.migrate import migrate, migrations
from tables.session import settle

from tests.support.data.events import event
from tests.support.data.hostile_defaults import HOSTILE, make_hostile
from tests.support.servers.fresh import database_url

PARTITIONS = 4
ROUNDS = 60
SHARES: tuple[Share, ...] = ("door", "rows", "work", "reads")
SEARCH_PATHS = ("public, pg_temp", '"public", pg_temp')  # the latter by quote_all_identifiers
SETTING = "SELECT current_setting($1)"
# The settings that are not pinned are those that docs/deployment.md calls harmless.
PINNED = {**SERVER_SETTINGS, "client_encoding": "UTF8"}


@pytest.fixture(params=["repeatable read", "serializable"])
async def hostile_dsn(request: pytest.FixtureRequest, database_dsn: str) -> str:
    """A database whose role has hostile defaults."""
    name = urlsplit(database_dsn).path.removeprefix("/")
    await make_hostile(database_dsn, name, HOSTILE | {"default_transaction_isolation": f"'{request.param}'"})
    return database_dsn


@pytest.fixture
async def hostile(hostile_dsn: str) -> AsyncIterator[list[Database]]:
    """The database of two workers, opened as they do."""
    connection = await databases.connect(hostile_dsn, timeout_seconds=10)
    dsn = await settle(connection, hostile_dsn)
    databases.drop(connection)
    opened = [Database(pool_size=5, timeout_seconds=10) for _ in range(2)]
    for one in opened:
        await one.open(dsn)
    yield opened
    for one in opened:
        one.close()


async def settings_of(connection: AnyConnection) -> dict[str, str]:
    return {name: await connection.fetchval(SETTING, name) for name in PINNED}


async def test_every_connection_pins_what_correctness_rests_on(hostile: list[Database], hostile_dsn: str) -> None:
    for share in SHARES:
        async with hostile[0].acquire(share) as connection:
            found = await settings_of(connection)
            timeout = f"{READ_SECONDS:.0f}s" if share == "reads" else "0"
            assert found == PINNED | {"statement_timeout": timeout}, share
            assert await connection.fetchval(SETTING, "search_path") in SEARCH_PATHS
            assert await connection.fetchval(SETTING, "transaction_timeout") == "0"
    for idle_seconds, shown in ((0.0, "0"), (20.0, "20s")):
        own = await databases.connect(hostile[0].dsn, timeout_seconds=10, idle_seconds=idle_seconds)
        assert await settings_of(own) == PINNED | {"idle_session_timeout": shown}
        databases.drop(own)
    unlimited = {"idle_session_timeout": "0", "statement_timeout": "0"}
    unpinned = await asyncpg.connect(hostile_dsn, server_settings=unlimited)
    assert [await unpinned.fetchval(SETTING, name) for name in ("row_security", "timezone")] == ["on", "Asia/Kolkata"]
    await unpinned.close()


async def test_commands_pin_it_too(hostile_dsn: str) -> None:
    connection = await connect(hostile_dsn)
    assert await settings_of(connection) == PINNED
    assert await connection.fetchval(SETTING, "search_path") in SEARCH_PATHS
    databases.drop(connection)
    async with opened(read_settings({"DATABASE_URL": hostile_dsn})) as pool, pool.acquire() as pooled:
        assert await settings_of(pooled) == PINNED
        assert await pooled.fetchval(SETTING, "search_path") in SEARCH_PATHS


async def test_parameters_of_the_address_do_not_replace_what_is_pinned(database_dsn: str) -> None:
    options = quote("-c statement_timeout=1 -c default_transaction_isolation=serializable -c search_path=public")
    dsn = f"{database_dsn}&synchronous_commit=off&options={options}"
    connection = await databases.connect(dsn, timeout_seconds=10)
    settled = await settle(connection, dsn)
    again = await databases.connect(settled, timeout_seconds=10)
    for one in (connection, again):
        assert await settings_of(one) == PINNED
        assert await one.fetchval(SETTING, "search_path") in SEARCH_PATHS
        databases.drop(one)


async def test_an_event_that_left_the_outbox_during_a_transaction_is_known(hostile: list[Database]) -> None:
    async with hostile[0].acquire() as late, hostile[1].acquire() as early, late.transaction():
        await late.fetchval("SELECT count(*) FROM outbox")  # at REPEATABLE READ, the snapshot of all that follows
        assert await outbox.accept(early, [event(1)]) == {}
        (stored,) = await outbox.store_next(early, [], at_most=10, partitions=PARTITIONS)
        await outbox.delete(early, [stored.seq])
        assert await outbox.accept(late, [event(1, data="other")]) == {0: False}


class Answers:
    """What two doors answered."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.texts: dict[str, str] = {}

    async def post(self, door: GroupCommit, events: list[ParsedEvent]) -> None:
        for one, outcome in zip(events, await door.submit(events), strict=True):
            if outcome is Outcome.ACCEPTED:
                self.accepted[one.id] += 1
                self.texts[one.id] = one.text


async def relay(connection: AnyConnection, done: asyncio.Event) -> None:
    """Store and delete what the doors accept, as the relay does."""
    published: list[int] = []
    while True:
        ending = done.is_set()
        rows = await outbox.store_next(connection, published, at_most=20, partitions=PARTITIONS)
        published = [row.seq for row in rows]
        if ending and not rows:
            return
        await asyncio.sleep(0)


async def test_no_id_of_two_doors_has_two_contents(hostile: list[Database]) -> None:
    chance, answers, done = random.Random(5), Answers(), asyncio.Event()
    doors = [GroupCommit(one, max_queued_events=10_000, committed=lambda: None) for one in hostile]
    async with hostile[0].acquire() as connection:
        relaying = asyncio.create_task(relay(connection, done))
        for number in range(ROUNDS):
            ids = [str(chance.randrange(number * 5, number * 5 + 20)) for _ in range(20)]
            await asyncio.gather(
                *(
                    answers.post(door, [event(id_, data=chance.random())])
                    for id_ in ids
                    for door in chance.sample(doors, 2)
                )
            )
        done.set()
        await relaying
        stored = await connection.fetch("SELECT id, event FROM event_store")
        expected = {id_: await connection.fetchval("SELECT $1::jsonb", text) for id_, text in answers.texts.items()}
    assert len(expected) > ROUNDS * 3
    assert set(answers.accepted.values()) == {1}, "an id was accepted twice"
    assert {row["id"]: row["event"] for row in stored} == expected
    assert len(stored) == len(expected)


async def test_a_refused_value_does_not_end_the_session_of_the_door(hostile: list[Database]) -> None:
    async with hostile[0].acquire("door") as connection:
        for _ in range(2):
            with pytest.raises(asyncpg.DataError):
                await connection.fetchval("SELECT $1::jsonb", '"\\u0000"')
        assert await connection.fetchval("SELECT 1") == 1


async def test_an_empty_database_with_hostile_defaults_is_migrated(postgres_dsn: str) -> None:
    server: Connection = await asyncpg.connect(postgres_dsn)
    await server.execute("CREATE DATABASE hostile_from_the_start")
    dsn = database_url(postgres_dsn, "hostile_from_the_start")
    await make_hostile(postgres_dsn, "hostile_from_the_start")
    connection = await databases.connect(dsn, timeout_seconds=10)
    try:
        await settle(connection, dsn)
        assert await migrate(connection) == [one.name for one in migrations()]
        assert await outbox.accept(connection, [event(1)]) == {}
    finally:
        databases.drop(connection)
        await server.execute("DROP DATABASE hostile_from_the_start WITH (FORCE)")
        await server.close()


def test_all_pinned_settings_are_tried() -> None:
    assert set(SERVER_SETTINGS) - set(HOSTILE) == {"application_name"}


async def test_no_trigger_can_be_disabled_by_a_session(connection: Connection) -> None:
    triggers = "SELECT tgname, tgenabled = 'A' FROM pg_trigger WHERE NOT tgisinternal"
    found = await connection.fetch(triggers)
    assert found
    assert [name for name, always in found if not always] == []
