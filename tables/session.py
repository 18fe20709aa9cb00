"""What our sessions rely on: settings that every connection sends, and what the first connection finds out.

A database, a role and postgresql.conf can each change the default of nearly every setting. Those that correctness rests
on are sent when a connection is opened, where nothing but a SET of ours overrides them. docs/deployment.md lists the
settings that are pinned, checked, and harmless.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from headrace.errors import StartError
from tables.database import SERVER_SETTINGS, Connection
from tables.migrate import table_names

# Where search_path changes, an installation must neither be left behind nor be mistaken for another. So the schema is
# found out once, and then sent by every connection. transaction_timeout is refused by servers before PostgreSQL 17.
FIND = """
SELECT current_setting('server_encoding') AS encoding, current_database()::text AS database, own.name AS schema,
       quote_ident(own.name) AS quoted, current_setting('search_path') AS search_path,
       (SELECT quote_ident(place.nspname) FROM pg_class AS found JOIN pg_namespace AS place
            ON place.oid = found.relnamespace WHERE found.oid = to_regclass('relay_state')) AS installed,
       ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = own.oid AND relkind = 'r'
             AND relname = ANY ($1::text[]) AND row_security_active(pg_class.oid) ORDER BY relname) AS filtered,
       ARRAY(SELECT name FROM unnest($2::text[], $3::text[]) AS sent (name, value)
             WHERE current_setting(name) <> value) AS lost,
       current_setting('transaction_timeout', true) IS NOT NULL AS has_transaction_timeout
FROM (SELECT current_schema()::text AS name) AS here
LEFT JOIN LATERAL (SELECT here.name, oid FROM pg_namespace WHERE nspname = here.name) AS own ON true
"""
PLACE = """
SELECT format('database %s, schema %s, installation %s', current_database(), current_schema(), encode(id, 'hex'))
FROM installation
"""
PIN = "SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS pinned (name, value)"


class _FoundDatabase(NamedTuple):
    encoding: str
    database: str
    schema: str | None
    quoted: str | None
    search_path: str
    installed: str | None
    """The schema of the search path that has an installation, if any."""
    filtered: list[str]
    """Our tables whose rows a row-level security policy may hide from us."""
    lost: list[str]
    """Settings that were sent, and that do not apply."""
    has_transaction_timeout: bool


async def settle(connection: Connection, dsn: str) -> str:
    """Check that the database can be used, and pin the schema on this connection; return the address for all others.

    The returned address has the schema too. Raises StartError with a line that says what is wrong and what to do.
    """
    row = await connection.fetchrow(FIND, table_names(), list(SERVER_SETTINGS), list(SERVER_SETTINGS.values()))
    assert row is not None  # it has no WHERE
    found = _FoundDatabase(*row)
    _check(found)
    pinned = {"search_path": f"{found.quoted}, pg_temp"}
    if found.has_transaction_timeout:
        pinned["transaction_timeout"] = "0"
    await connection.execute(PIN, list(pinned), list(pinned.values()))
    return _with_parameters(dsn, pinned)


async def place_of_installation(connection: Connection) -> str:
    """Which installation the session works with, in words that differ for another."""
    place: str = await connection.fetchval(PLACE)
    return place


def _check(found: _FoundDatabase) -> None:
    if found.encoding != "UTF8":
        raise StartError(
            f"The database {found.database} has the encoding {found.encoding}; Headrace needs UTF8. Use another "
            f"database (CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0), and set DATABASE_URL."
        )
    if found.schema is None:
        raise StartError(
            f"The database {found.database} has no schema of search_path ({found.search_path}). Create the schema, or "
            "name an existing schema: DATABASE_URL=…?options=-csearch_path%3Dname."
        )
    if found.installed not in (None, found.quoted):
        raise StartError(
            f"search_path ({found.search_path}) begins with the schema {found.quoted}, which has no tables of "
            f"Headrace, but {found.installed} has. Name one schema only, with DATABASE_URL=…?options=-csearch_path%3D"
            f"name: {found.installed} for the existing installation, {found.quoted} for a new installation."
        )
    if found.lost:
        raise StartError(
            f"Something between this worker and PostgreSQL drops session settings ({', '.join(found.lost)}), on which "
            "correctness rests. Set DATABASE_URL to the address of PostgreSQL itself, not of a pooler."
        )
    if found.filtered:
        raise StartError(
            f"Row-level security hides rows of {', '.join(found.filtered)} from this role. ALTER TABLE … DISABLE ROW "
            "LEVEL SECURITY, or let the role that owns the tables connect, without FORCE ROW LEVEL SECURITY."
        )


def _with_parameters(dsn: str, settings: dict[str, str]) -> str:
    """The address with these session settings, which replace those of the same name in it."""
    parameters = "&".join(f"{name}={quote(value, safe='')}" for name, value in settings.items())
    return f"{dsn.rstrip('?&')}{'&' if urlsplit(dsn).query else '?'}{parameters}"
