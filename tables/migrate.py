"""Migrations: numbered files of SQL, applied once each, in order, one worker at a time."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

from headrace.errors import StartError
from tables.database import AnyConnection
from tables.lock_keys import LockKey

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
APPLIED = "SELECT number FROM schema_migrations ORDER BY number"
RECORD = "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)"
LOCK = "SELECT pg_advisory_xact_lock($1)"

# A migration may rewrite a table; the pool's timeout is meant for requests.
TIMEOUT_SECONDS = 600.0


class Migration(NamedTuple):
    """One file of `tables/migrations`."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations that this version knows, in order."""
    found = [
        Migration(int(file.name[:3]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in resources.files("tables").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


async def migrate(connection: AnyConnection) -> list[str]:
    """Apply what is missing and return the names; all of it in one transaction, under a lock.

    Raises StartError when the database was made by a newer version.
    """
    async with connection.transaction():
        await connection.execute(LOCK, LockKey.MIGRATE, timeout=TIMEOUT_SECONDS)
        await connection.execute(CREATE_TABLE)
        applied = {row["number"] for row in await connection.fetch(APPLIED)}
        known = migrations()
        if unknown := applied - {one.number for one in known}:
            raise StartError(
                f"The database has migration {max(unknown)}, which this version does not know. "
                "Run the version that made it, or a newer one."
            )
        missing = [one for one in known if one.number not in applied]
        for one in missing:
            await connection.execute(one.sql, timeout=TIMEOUT_SECONDS)
            await connection.execute(RECORD, one.number, one.name)
    return [one.name for one in missing]
