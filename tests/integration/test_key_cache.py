"""Keys in memory: what a request costs, when a change takes effect, and what happens while PostgreSQL is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from agents.upkeep.key_watch import KeyWatch
from headrace.access import key_text
from headrace.access.caller import Caller
from headrace.access.grant import EVERYTHING
from headrace.access.key_request import checked
from headrace.access.refusals import Refusals
from tables.access import key_cache, keys
from tables.access.key_cache import KeyCache
from tables.access.keys import KnownKey
from tables.database import AnyConnection, Connection, Database, is_away
from web.access import keys as verifying
from web.access.keys import KeyVerifier

from tests.support.waiting import until


class Asked:
    """The ids of each query."""

    def __init__(self) -> None:
        self.queries: list[list[str]] = []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Counts the queries; they are still sent."""
    counted, find = Asked(), keys.find

    async def counting(connection: AnyConnection, ids: Sequence[str]) -> dict[str, KnownKey]:
        counted.queries.append(list(ids))
        return await find(connection, ids)

    monkeypatch.setattr(keys, "find", counting)
    return counted


@pytest.fixture
def refusals() -> Refusals:
    return Refusals()


@pytest.fixture
def cache(database: Database) -> KeyCache:
    return KeyCache(database)


@pytest.fixture
def verifier(cache: KeyCache, refusals: Refusals) -> KeyVerifier:
    return KeyVerifier(cache, refusals)


async def key_of(connection: Connection, name: str = "ops", expires: str = "1d") -> str:
    return (await keys.create(connection, checked(name, ["read"], expires=expires), "host:me"))[1]


def wrong(secret: str) -> str:
    """A key with the same id and a right checksum."""
    other = key_text.make()
    body = secret[:16] + other.key[16:-6]
    return body + key_text._checksum(body)


@asynccontextmanager
async def watched(database: Database, cache: KeyCache) -> AsyncIterator[None]:
    watch = KeyWatch(database, cache)
    await watch.start()
    try:
        yield
    finally:
        await watch.stop()


async def test_a_key_is_looked_up_once(connection: Connection, verifier: KeyVerifier, asked: Asked) -> None:
    secret = await key_of(connection)
    assert verifier.known(secret) is None
    caller = await verifier.caller(secret)
    assert isinstance(caller, Caller)
    assert caller.name == "ops"
    assert verifier.known(secret) == caller == await verifier.caller(secret)
    assert len(asked.queries) == 1


async def test_a_wrong_secret_is_refused_without_a_query(
    connection: Connection, verifier: KeyVerifier, refusals: Refusals, asked: Asked
) -> None:
    secret = await key_of(connection)
    await verifier.caller(secret)
    assert verifier.known(wrong(secret)) is None
    assert await verifier.caller(wrong(secret)) is None
    assert len(asked.queries) == 1
    assert refusals.by_cause == {"unknown": 1}


@pytest.mark.parametrize("token", ["", "hr_", "hr_é", "hr_" + "a" * 62, "hr_" + "\udcff" * 62, "x" * 65])
async def test_a_malformed_key_costs_no_query(verifier: KeyVerifier, asked: Asked, token: str) -> None:
    assert verifier.known(token) is None
    assert await verifier.caller(token) is None
    assert asked.queries == []


async def test_a_key_is_hashed_once_each_time_that_it_is_read(
    connection: Connection, cache: KeyCache, verifier: KeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, is_same = await key_of(connection), verifying._is_same
    hashed: list[str] = []

    def counting(token: str, known: bytes) -> bool:
        hashed.append(token)
        return is_same(token, known)

    await verifier.caller(secret)
    monkeypatch.setattr(verifying, "_is_same", counting)
    for _ in range(2):
        assert all(verifier.known(secret) is not None for _ in range(3))
        await cache.refresh(connection)
    assert hashed == [secret, secret]


async def test_the_text_of_a_key_is_in_memory_until_the_key_is_read_again(
    connection: Connection, cache: KeyCache, verifier: KeyVerifier
) -> None:
    secret = await key_of(connection)
    await verifier.caller(secret)
    verifier.known(secret)
    held = cache.held(secret[3:15])
    assert held is not None
    assert held is cache.held_by_text(secret)
    await cache.refresh(connection)
    assert cache.held_by_text(secret) is None


async def test_the_text_of_a_key_leaves_the_memory_with_the_key(
    connection: Connection, cache: KeyCache, verifier: KeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, removed, oldest = [await key_of(connection, name) for name in ("changed", "removed", "oldest")]
    for secret in (changed, removed, oldest):
        await verifier.caller(secret)
        assert verifier.known(secret) is not None
    cache.forget(changed[3:15])
    assert cache.held_by_text(changed) is None
    assert verifier.known(changed) is None
    await connection.execute("DELETE FROM api_keys WHERE id = $1", removed[3:15])
    await cache.refresh(connection)
    verifier.known(oldest)
    assert cache.held_by_text(removed) is None
    assert verifier.known(removed) is None
    assert cache.held_by_text(oldest) is not None
    monkeypatch.setattr(key_cache, "MOST_KEYS", 1)
    await verifier.caller(await key_of(connection, "newest"))
    assert cache.held_by_text(oldest) is None
    assert verifier.known(oldest) is None


async def test_after_the_right_key_other_texts_with_its_id_are_refused(
    connection: Connection, verifier: KeyVerifier
) -> None:
    secret = await key_of(connection)
    await verifier.caller(secret)
    assert verifier.known(secret) is not None
    for other in (
        wrong(secret),
        secret[:-1],
        secret + "x",
        secret[:-1] + "é",
        secret[:-1] + "\udcff",
        "xx_" + secret[3:],
    ):
        assert verifier.known(other) is None, other
    assert verifier.known(secret) is not None


async def test_a_key_without_limits_has_the_grant_that_is_recognized_at_once(
    connection: Connection, verifier: KeyVerifier
) -> None:
    caller = await verifier.caller(await key_of(connection))
    assert caller is not None
    assert caller.grant is EVERYTHING


async def test_unknown_ids_share_queries_and_are_bounded(
    verifier: KeyVerifier, cache: KeyCache, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "MOST_UNKNOWN", 100)
    tokens = [key_text.make().key for _ in range(500)]
    assert await asyncio.gather(*map(verifier.caller, tokens)) == [None] * 500
    assert len(asked.queries) <= 2
    assert len(cache._unknown) == 100
    assert not cache._held
    assert await verifier.caller(tokens[-1]) is None
    assert len(asked.queries) <= 2


async def test_expired_and_revoked_keys_are_refused(
    connection: Connection, verifier: KeyVerifier, refusals: Refusals
) -> None:
    expired, revoked = await key_of(connection, "expired"), await key_of(connection, "revoked")
    await connection.execute("UPDATE api_keys SET expires_at = created_at WHERE name = 'expired'")
    await keys.revoke(connection, "revoked")
    assert await verifier.caller(expired) is None
    assert await verifier.caller(revoked) is None
    assert verifier.known(expired) is verifier.known(revoked) is None
    assert refusals.by_cause == {"expired": 1, "revoked": 1}


async def test_a_revoked_key_is_refused_within_a_second(
    connection: Connection, database: Database, cache: KeyCache, verifier: KeyVerifier
) -> None:
    secret = await key_of(connection)
    async with watched(database, cache):
        await until(lambda: _listens(connection), 10)
        assert await verifier.caller(secret) is not None
        await keys.revoke(connection, "ops")
        await until(lambda: _refuses(verifier, secret), 1)
        assert await verifier.caller(secret) is None


async def test_a_key_that_was_unknown_works_once_it_is_made(
    connection: Connection, database: Database, cache: KeyCache, verifier: KeyVerifier
) -> None:
    async with watched(database, cache):
        await until(lambda: _listens(connection), 10)
        made = key_text.make()
        assert await verifier.caller(made.key) is None
        insert = """INSERT INTO api_keys (id, name, hash, scopes, created_by, expires_at)
                    VALUES ($1, 'x', $2, '{read}', 'me', clock_timestamp() + interval '1 day')"""
        await connection.execute(insert, made.id, key_text.digest(made.key))
        await until(lambda: _accepts(verifier, made.key), 1)


async def test_a_change_during_a_look_up_is_not_missed(
    connection: Connection, verifier: KeyVerifier, cache: KeyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, find = await key_of(connection), keys.find
    times = 0

    async def slow(used: AnyConnection, ids: Sequence[str]) -> dict[str, KnownKey]:
        nonlocal times
        found = await find(used, ids)
        if (times := times + 1) == 1:
            await keys.revoke(connection, "ops")
            cache.forget(secret[3:15])
        return found

    monkeypatch.setattr(keys, "find", slow)
    assert await verifier.caller(secret) is None
    assert times == 2


async def test_without_notifications_a_change_takes_effect_by_age(
    connection: Connection, verifier: KeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "FRESH_SECONDS", 0.2)
    secret = await key_of(connection)
    assert await verifier.caller(secret) is not None
    await keys.revoke(connection, "ops")
    await until(lambda: _refuses(verifier, secret), 5)


async def test_while_postgresql_is_away_a_known_key_is_served_for_minutes_and_others_not_at_all(
    connection: Connection, database: Database, verifier: KeyVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(key_cache, "RETRY_SECONDS", 0.0)
    secret, other = await key_of(connection), await key_of(connection, "other")
    assert await verifier.caller(secret) is not None
    database.close()
    assert await verifier.caller(secret) is not None
    assert await verifier.caller(wrong(secret)) is None
    with pytest.raises(Exception, match="not ready") as unknown:
        await verifier.caller(other)
    assert is_away(unknown.value)
    monkeypatch.setattr(key_cache, "AWAY_SECONDS", 0.0)
    with pytest.raises(Exception, match="not ready") as too_long:
        await verifier.caller(secret)
    assert is_away(too_long.value)


async def test_uses_are_written_at_most_once_a_minute_and_by_nobody_else(
    connection: Connection, cache: KeyCache, verifier: KeyVerifier
) -> None:
    secret = await key_of(connection)
    await verifier.caller(secret)
    await cache.write_uses(connection)
    (first,) = await keys.list_keys(connection)
    assert first.last_used_at is not None
    assert verifier.known(secret) is not None
    await cache.write_uses(connection)
    (second,) = await keys.list_keys(connection)
    assert second.last_used_at == first.last_used_at


async def _listens(connection: Connection) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'api_keys'"
    return bool(await connection.fetchval(query + " AND pid <> pg_backend_pid()"))


async def _accepts(verifier: KeyVerifier, token: str) -> bool:
    return (verifier.known(token) or await verifier.caller(token)) is not None


async def _refuses(verifier: KeyVerifier, token: str) -> bool:
    return not await _accepts(verifier, token)
