"""What the role of the workers may do in its database, checked before anything is changed there."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tables.database import AnyConnection
from tables.migrate import INSTALLED, migrations

MIN_VERSION = 14
APPLIED = "SELECT count(*) FROM schema_migrations"
MAY_CREATE = """
SELECT current_schema()::text AS schema, current_user::text AS role,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
"""
# A table that a later migration creates is not there yet.
LACKING = """
SELECT needed.tab || ' (' || needed.privilege || ')'
FROM unnest($1::text[], $2::text[]) AS needed (tab, privilege)
WHERE to_regclass(needed.tab) IS NOT NULL AND NOT has_table_privilege(to_regclass(needed.tab), needed.privilege)
ORDER BY 1
"""
NEEDED: Mapping[str, Mapping[str, str]] = {
    "ingestion": {
        "outbox": "SELECT INSERT DELETE",
        "event_store": "SELECT INSERT",
        "relay_state": "SELECT UPDATE",
        "topic_partitions": "SELECT INSERT UPDATE",
    },
    "event_handler": {
        "event_store": "SELECT",
        "projections": "SELECT INSERT UPDATE DELETE",
        "progress": "SELECT INSERT UPDATE",
        "parked": "SELECT INSERT DELETE",
    },
    "query": {"event_store": "SELECT", "projections": "SELECT", "progress": "SELECT", "parked": "SELECT"},
}
"""By service, its tables with the privileges without which it does not work at all."""


async def lacking_rights(connection: AnyConnection, services: Collection[str]) -> list[str]:
    """What the role lacks for these services and for missing migrations, each with what to do; usually empty."""
    version = connection.get_server_version()
    if version.major < MIN_VERSION:
        return [f"PostgreSQL {version.major}.{version.minor} is too old: Headrace needs version {MIN_VERSION} or later"]
    applied = await connection.fetchval(APPLIED) if await connection.fetchval(INSTALLED) else 0
    if applied < len(migrations()):
        row = await connection.fetchrow(MAY_CREATE)
        if row is not None and not row["may_create"]:
            return [_no_schema(row["role"], row["schema"])]
    needed = [
        (table, privilege)
        for service in services
        for table, privileges in NEEDED[service].items()
        for privilege in privileges.split()
    ]
    tables, privileges = [table for table, _ in needed], [privilege for _, privilege in needed]
    lacking = [row[0] for row in await connection.fetch(LACKING, tables, privileges)]
    if not lacking:
        return []
    return [f"The role of DATABASE_URL lacks rights: {', '.join(dict.fromkeys(lacking))}. GRANT them to it"]


def _no_schema(role: str, schema: str | None) -> str:
    if schema is None:
        return f"The role {role} has no schema in its search_path: CREATE SCHEMA, or correct search_path"
    return (
        f"The role {role} may not create tables in the schema {schema}: GRANT CREATE ON SCHEMA {schema} TO {role}, "
        "or apply the migrations with a role that may: faust -A app migrate"
    )
