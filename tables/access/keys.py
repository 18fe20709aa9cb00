"""`api_keys`: making, listing, rotating and revoking keys, and what a request needs to know of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import asyncpg
import msgspec

from headrace.access import key_text
from headrace.access.caller import Caller
from headrace.access.grant import Allowed, grant_of
from headrace.access.key_request import KeyRequest
from headrace.access.scopes import Scope
from headrace.errors import HeadraceError
from tables.database import AnyConnection, Connection
from tables.lock_keys import LOCK, LockKey

CHANNEL = "headrace_keys"
OWN_SCHEMA = "SELECT current_schema()::text"
COLUMNS = """
id, name, scopes, sources, subjects, types, certificate, created_at, created_by, expires_at, revoked_at, last_used_at,
CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= clock_timestamp() THEN 'expired' ELSE 'live' END
    AS state
"""
IS_LIVE = "revoked_at IS NULL AND expires_at > clock_timestamp()"
# An id comes before a name that is the same text.
IS_MEANT = "(id = $1 OR name = $1 AND NOT EXISTS (SELECT FROM api_keys WHERE id = $1))"


def _sql(text: str) -> str:
    return text.format(columns=COLUMNS, is_live=IS_LIVE, is_meant=IS_MEANT)


INSERT = _sql("""
INSERT INTO api_keys (id, name, hash, scopes, sources, subjects, types, certificate, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, clock_timestamp() + $10)
RETURNING {columns}
""")
LIST = _sql("SELECT {columns} FROM api_keys WHERE $1 OR {is_live} ORDER BY name, created_at, id LIMIT $2")
OF_NAME = _sql("SELECT {columns} FROM api_keys WHERE {is_meant} ORDER BY created_at DESC, id")
LIVE = _sql("SELECT {columns} FROM api_keys WHERE {is_meant} AND {is_live} ORDER BY created_at DESC, id")
LIVE_OF_NAME = _sql("SELECT EXISTS (SELECT FROM api_keys WHERE name = $1 AND {is_live})")
END_LATER = _sql("""
UPDATE api_keys SET expires_at = least(expires_at, clock_timestamp() + $2), certificate = NULL
WHERE name = $1 AND {is_live}
""")
REVOKE = _sql("""
UPDATE api_keys SET revoked_at = clock_timestamp() WHERE {is_meant} AND revoked_at IS NULL RETURNING {columns}
""")
# Seconds, because the clocks of the worker and of the server may differ.
FIND = """
SELECT id, name, hash, scopes, sources, subjects, types, revoked_at IS NOT NULL AS is_revoked,
       extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left
FROM api_keys WHERE id = ANY ($1::text[])
"""
BY_CERTIFICATE = _sql("SELECT id FROM api_keys WHERE certificate = ANY ($1::text[]) AND {is_live} ORDER BY id LIMIT 1")
# A row that another worker writes now is as good as written: no worker waits for another, and none can deadlock.
WRITE_USES = """
WITH used AS (SELECT * FROM unnest($1::text[], $2::float8[]) AS used (id, seconds_ago)),
free AS (SELECT id FROM api_keys WHERE id IN (SELECT id FROM used) FOR NO KEY UPDATE SKIP LOCKED)
UPDATE api_keys SET last_used_at = clock_timestamp() - make_interval(secs => used.seconds_ago)
FROM used JOIN free USING (id)
WHERE api_keys.id = used.id
  AND coalesce(api_keys.last_used_at < clock_timestamp() - make_interval(secs => used.seconds_ago), true)
"""


class UnknownKeyError(HeadraceError):
    """There is no such key."""


class KeyExistsError(HeadraceError):
    """A live key has this name or certificate."""


class Key(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[str]
    sources: list[str] | None
    """Prefixes that end in /, or exact values; null: all."""
    subjects: list[str] | None
    types: list[str] | None
    certificate: str | None
    """A subject alternative name of a client certificate that authenticates as this key."""
    created_at: datetime
    created_by: str
    """`host:USER` for the command, `key:ID` for a request."""
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    state: Literal["live", "expired", "revoked"]

    @property
    def summary(self) -> Mapping[str, str]:
        """What the access log says of it."""
        return {"id": self.id, "name": self.name, "scopes": ",".join(self.scopes)}


class KnownKey(NamedTuple):
    """What a request needs to know of a key."""

    caller: Caller
    hash: bytes
    is_revoked: bool
    seconds_left: float
    """Until the key expires, by the server's clock; negative if it has."""


async def create(connection: AnyConnection, request: KeyRequest, created_by: str) -> tuple[Key, str]:
    """Make a key; return it, and its text, which nobody can find out again.

    Raises KeyExistsError if a live key has this name, or a key that is not revoked has its certificate.
    """
    async with connection.transaction():
        await connection.execute(LOCK, LockKey.API_KEYS)
        if await connection.fetchval(LIVE_OF_NAME, request.name):
            raise KeyExistsError(f"A live key is named {request.name}: rotate or revoke it, or use another name.")
        return await _insert(connection, request, created_by)


async def rotate(
    connection: AnyConnection, key: str, created_by: str, *, expires: timedelta, overlap: timedelta
) -> tuple[Key, str]:
    """Make a key that may do what the newest live key of this id or name may do.

    All live keys of that name expire after `overlap`, if not before. Raises UnknownKeyError if none is live.
    """
    async with connection.transaction():
        await connection.execute(LOCK, LockKey.API_KEYS)
        old = await _newest_live(connection, key)
        await connection.execute(END_LATER, old.name, overlap)
        request = KeyRequest(
            old.name,
            tuple(Scope(scope) for scope in old.scopes),
            _patterns(old.sources),
            _patterns(old.subjects),
            _patterns(old.types),
            old.certificate,
            expires,
        )
        return await _insert(connection, request, created_by)


async def revoke(connection: AnyConnection, key: str) -> list[Key]:
    """End the key of this id, or all keys of this name, at once; return those that were not revoked before.

    Raises UnknownKeyError if there is no such key.
    """
    rows = await connection.fetch(REVOKE, key)
    if not rows and not await connection.fetch(OF_NAME, key):
        raise _unknown(key)
    return [Key(**row) for row in rows]


async def list_keys(connection: AnyConnection, *, with_ended: bool = False, at_most: int = 10_000) -> list[Key]:
    """Live keys, in order of name; with expired and revoked keys too if asked."""
    return [Key(**row) for row in await connection.fetch(LIST, with_ended, at_most)]


async def show(connection: AnyConnection, key: str) -> list[Key]:
    """The key of this id, or the keys of this name, newest first. Raises UnknownKeyError."""
    rows = await connection.fetch(OF_NAME, key)
    if not rows:
        raise _unknown(key)
    return [Key(**row) for row in rows]


async def find(connection: AnyConnection, ids: Sequence[str]) -> dict[str, KnownKey]:
    """The keys with these ids, also those that are expired or revoked."""
    return {row["id"]: _known(row) for row in await connection.fetch(FIND, ids)}


async def id_of_certificate(connection: AnyConnection, names: Sequence[str]) -> str | None:
    """The live key that a certificate with one of these subject alternative names stands for."""
    found: str | None = await connection.fetchval(BY_CERTIFICATE, names)
    return found


async def write_uses(connection: AnyConnection, seconds_ago: Mapping[str, float]) -> None:
    """Note when keys were last used."""
    await connection.execute(WRITE_USES, list(seconds_ago), list(seconds_ago.values()))


async def on_change(connection: Connection, changed: Callable[[str], None]) -> None:
    """LISTEN: call `changed` with the id of each key of this installation that is made or changed."""
    own = await connection.fetchval(OWN_SCHEMA)

    def notified(*notification: object) -> None:
        try:
            schema, key_id = json.loads(str(notification[-1]))
        except (ValueError, TypeError):
            return  # anybody in the database may send on the channel
        if schema == own and isinstance(key_id, str):
            changed(key_id)

    await connection.add_listener(CHANNEL, notified)


async def _insert(connection: AnyConnection, request: KeyRequest, created_by: str) -> tuple[Key, str]:
    secret = key_text.make()
    lists = request.sources, request.subjects, request.types
    try:
        row = await connection.fetchrow(
            INSERT,
            secret.id,
            request.name,
            key_text.digest(secret.key),
            [scope.value for scope in request.scopes],
            *lists,
            request.certificate,
            created_by,
            request.expires,
        )
    except asyncpg.UniqueViolationError as error:
        raise KeyExistsError(f"Another key has the certificate {request.certificate}: revoke it first.") from error
    assert row is not None  # INSERT … RETURNING
    return Key(**row), secret.key


async def _newest_live(connection: AnyConnection, key: str) -> Key:
    row = await connection.fetchrow(LIVE, key)
    if row is None:
        raise UnknownKeyError(f"No live key has the id or name {key}. faust -A app keys list shows the keys.")
    return Key(**row)


def _known(row: asyncpg.Record) -> KnownKey:
    scopes = frozenset(scope for scope in Scope if scope.value in row["scopes"])
    lists = (row["sources"], row["subjects"], row["types"])
    grant = grant_of(*(None if one is None else Allowed.of(tuple(one)) for one in lists))
    return KnownKey(Caller(row["id"], row["name"], scopes, grant), row["hash"], row["is_revoked"], row["seconds_left"])


def _patterns(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _unknown(key: str) -> UnknownKeyError:
    return UnknownKeyError(f"No key has the id or name {key}. faust -A app keys list shows the keys.")
