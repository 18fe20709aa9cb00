"""Migrations: numbered SQL files, each applied once, in order, by one worker at a time."""

from __future__ import annotations

import re
from importlib import resources
from typing import NamedTuple

from headrace.errors import StartError
from tables.database import AnyConnection
from tables.lock_keys import LOCK, LockKey

CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
CREATED = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
CREATED_FUNCTION = re.compile(r"^CREATE (?:OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)
INSTALLED = "SELECT to_regclass('schema_migrations') IS NOT NULL"
APPLIED = "SELECT number FROM schema_migrations ORDER BY number"
RECORD = "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)"

# A migration may rewrite a table, which exceeds the pool's timeout for requests.
TIMEOUT_SECONDS = 600.0


class Migration(NamedTuple):
    """A file of `tables/migrations`: its number, its name without `.sql`, and its text."""

    number: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations of this version, in order of number."""
    found = [
        Migration(int(file.name[:3]), file.name.removesuffix(".sql"), file.read_text("utf-8"))
        for file in resources.files("tables").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def table_names() -> list[str]:
    """The tables of a migrated database."""
    return [name for one in (CREATE_TABLE, *(each.sql for each in migrations())) for name in CREATED.findall(one)]


def function_names() -> list[str]:
    """The functions that migrations create."""
    return sorted({name for each in migrations() for name in CREATED_FUNCTION.findall(each.sql)})


async def migrate(connection: AnyConnection) -> list[str]:
    """Apply the missing migrations in one transaction, under a lock, and return their names.

    Raises StartError if a newer version has migrated the database.
    """
    async with connection.transaction():
        await connection.execute(LOCK, LockKey.MIGRATE, timeout=TIMEOUT_SECONDS)
        if not await connection.fetchval(INSTALLED):  # to try needs the right to create, also where nothing is missing
            await connection.execute(CREATE_TABLE)
        applied = {row["number"] for row in await connection.fetch(APPLIED)}
        known = migrations()
        if unknown := applied - {one.number for one in known}:
            raise StartError(
                f"The database has migration {max(unknown)}, which this version does not know. "
                "Run the version that applied it, or a newer version."
            )
        missing = [one for one in known if one.number not in applied]
        for one in missing:
            await connection.execute(one.sql, timeout=TIMEOUT_SECONDS)
            await connection.execute(RECORD, one.number, one.name)
    return [one.name for one in missing]
