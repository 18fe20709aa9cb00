"""`api_keys`: making, rotating and revoking keys, and what the database itself refuses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from headrace.access import key_text
from headrace.access.key_request import checked
from headrace.access.scopes import Scope
from tables.access import keys
from tables.access.keys import KeyExistsError, UnknownKeyError
from tables.database import Connection

DAY = timedelta(days=1)
TRIGGERS = """
SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = 'api_keys'::regclass AND NOT tgisinternal
"""


async def test_a_key_is_stored_as_a_hash_only(connection: Connection) -> None:
    made, secret = await keys.create(connection, checked("ops", ["write", "read"], sources=["/a/"]), "host:me")
    assert key_text.id_of(secret) == made.id
    stored = str(dict(await connection.fetchrow("SELECT * FROM api_keys") or {}))
    assert secret[16:] not in stored
    found = (await keys.find(connection, [made.id]))[made.id]
    assert found.hash == key_text.digest(secret)
    assert found.caller.scopes == {Scope.WRITE, Scope.READ}
    assert found.caller.grant.sources is not None
    assert found.caller.grant.sources.has("/a/b")
    assert found.caller.grant.subjects is None
    assert timedelta(days=364) < timedelta(seconds=found.seconds_left) <= timedelta(days=365)


async def test_a_name_has_one_live_key_unless_it_is_rotated(connection: Connection) -> None:
    made, _ = await keys.create(connection, checked("ops", ["admin"]), "host:me")
    with pytest.raises(KeyExistsError):
        await keys.create(connection, checked("ops", ["read"]), "host:me")
    await keys.revoke(connection, made.id)
    await keys.create(connection, checked("ops", ["read"]), "host:me")


async def test_a_rotated_key_leaves_two_that_are_live_until_the_overlap_ends(connection: Connection) -> None:
    request = checked("ops", ["write"], subjects=["a"], types=["t/"], certificate="dns:ops.example.com")
    old, _ = await keys.create(connection, request, "host:me")
    new, secret = await keys.rotate(connection, "ops", "key:x", expires=30 * DAY, overlap=7 * DAY)
    assert key_text.id_of(secret) == new.id != old.id
    after = {one.id: one for one in await keys.list_keys(connection)}
    assert set(after) == {old.id, new.id}
    week = datetime.now(UTC) + 7 * DAY
    assert abs(after[old.id].expires_at - week) < timedelta(minutes=5)
    copied = ("name", "scopes", "sources", "subjects", "types")
    assert [getattr(new, one) for one in copied] == [getattr(old, one) for one in copied]
    assert (after[old.id].certificate, new.certificate) == (None, "dns:ops.example.com")
    assert new.created_by == "key:x"
    assert await keys.id_of_certificate(connection, ["dns:other", "dns:ops.example.com"]) == new.id


async def test_an_overlap_does_not_make_a_key_last_longer(connection: Connection) -> None:
    old, _ = await keys.create(connection, checked("ops", ["write"], expires="1d"), "host:me")
    await keys.rotate(connection, old.id, "host:me", expires=DAY, overlap=7 * DAY)
    shown = {one.id: one for one in await keys.show(connection, "ops")}
    assert shown[old.id].expires_at == old.expires_at


async def test_a_name_is_revoked_with_all_its_keys(connection: Connection) -> None:
    await keys.create(connection, checked("ops", ["write"]), "host:me")
    await keys.rotate(connection, "ops", "host:me", expires=DAY, overlap=DAY)
    assert len(await keys.revoke(connection, "ops")) == 2
    assert await keys.revoke(connection, "ops") == []
    assert await keys.list_keys(connection) == []
    assert {one.state for one in await keys.list_keys(connection, with_ended=True)} == {"revoked"}
    with pytest.raises(UnknownKeyError):
        await keys.rotate(connection, "ops", "host:me", expires=DAY, overlap=DAY)
    with pytest.raises(UnknownKeyError):
        await keys.revoke(connection, "nobody")


async def test_keys_of_one_name_that_are_made_at_the_same_time_are_one(database_dsn: str) -> None:
    connections = [await asyncpg.connect(database_dsn) for _ in range(4)]
    made = await asyncio.gather(
        *(keys.create(one, checked("ops", ["write"]), "host:me") for one in connections), return_exceptions=True
    )
    for one in connections:
        await one.close()
    assert sorted(isinstance(one, KeyExistsError) for one in made) == [False, True, True, True]


@pytest.mark.parametrize(
    "change",
    [
        "hash = sha256('x')",
        "scopes = '{admin}'",
        "sources = NULL",
        "name = 'x'",
        "id = 'aaaaaaaaaaaa'",
        "expires_at = expires_at + interval '1 second'",
    ],
)
async def test_the_database_refuses_a_key_that_may_do_more(connection: Connection, change: str) -> None:
    await keys.create(connection, checked("ops", ["write"], sources=["/a/"]), "host:me")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(f"UPDATE api_keys SET {change}")


async def test_a_revoked_key_stays_revoked(connection: Connection) -> None:
    await keys.create(connection, checked("ops", ["write"]), "host:me")
    await keys.revoke(connection, "ops")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("UPDATE api_keys SET revoked_at = NULL")


async def test_every_trigger_of_keys_also_fires_in_a_replica_session(connection: Connection) -> None:
    found = await connection.fetch(TRIGGERS)
    assert {row[0]: row[1] for row in found} == {"api_keys_do_not_change": "A", "api_keys_tell_change": "A"}


async def test_uses_are_written_and_never_go_back(connection: Connection) -> None:
    made, _ = await keys.create(connection, checked("ops", ["write"]), "host:me")
    await keys.write_uses(connection, {made.id: 10.0, "aaaaaaaaaaaa": 0.0})
    (first,) = await keys.list_keys(connection)
    await keys.write_uses(connection, {made.id: 60.0})
    (second,) = await keys.list_keys(connection)
    assert first.last_used_at is not None
    assert first.last_used_at == second.last_used_at
