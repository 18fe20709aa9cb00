"""What the roles of the workers may do in their database, checked before anything is changed there."""

from __future__ import annotations

from collections.abc import Collection

from tables.database import AnyConnection
from tables.migrate import INSTALLED, migrations
from tables.roles.grants import FUNCTIONS, RoleName, privileges

MIN_VERSION = 14
APPLIED = "SELECT count(*) FROM schema_migrations"
MAY_READ = "SELECT has_any_column_privilege('schema_migrations', 'SELECT')"
MAY_CREATE = """
SELECT current_schema()::text AS schema, current_user::text AS role,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create
"""
MAY_ALTER = """
SELECT pg_has_role(relowner, 'MEMBER') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
FROM pg_class WHERE oid = to_regclass($1)
"""
# A table that a later migration creates is not there yet.
LACKING_TABLES = """
SELECT needed.tab || ' (' || needed.shown || ')'
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS needed (tab, kind, col, shown)
WHERE to_regclass(needed.tab) IS NOT NULL
  AND NOT CASE WHEN needed.col = '' THEN has_table_privilege(to_regclass(needed.tab), needed.kind)
               ELSE has_column_privilege(to_regclass(needed.tab), needed.col, needed.kind) END
ORDER BY 1
"""
LACKING_FUNCTIONS = """
SELECT proname || ' (EXECUTE)' FROM pg_proc
WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND proname = ANY ($1::text[]) AND NOT has_function_privilege(oid, 'EXECUTE')
ORDER BY 1
"""
ROLE = "SELECT quote_ident(current_user)"


async def lacking_rights(connection: AnyConnection, roles: Collection[RoleName]) -> list[str]:
    """What the session's role lacks of these roles and for missing migrations, each with what to do; usually empty."""
    version = connection.get_server_version()
    if version.major < MIN_VERSION:
        return [f"PostgreSQL {version.major}.{version.minor} is too old: Headrace needs version {MIN_VERSION} or later"]
    if not await _is_current(connection):
        row = await connection.fetchrow(MAY_CREATE)
        if row is not None and not row["may_create"]:
            return [_no_schema(row["role"], row["schema"])]
    lacking = await lacks(connection, roles)
    if not lacking:
        return []
    role = await connection.fetchval(ROLE)
    groups = " and ".join(f"headrace_{name}" for name in roles)
    told = (
        f"The role of DATABASE_URL lacks rights: {', '.join(lacking)}. GRANT them to it, or run faust -A app migrate "
    )
    return [f"{told}--roles as the owner of the tables, and then GRANT {groups} TO {role}"]


async def _is_current(connection: AnyConnection) -> bool:
    """Whether no migration is missing, or the role may not know: then that is a right that it lacks."""
    if not await connection.fetchval(INSTALLED):
        return False
    if not await connection.fetchval(MAY_READ):
        return True
    applied: int = await connection.fetchval(APPLIED)
    return applied >= len(migrations())


async def lacks(connection: AnyConnection, roles: Collection[RoleName]) -> list[str]:
    """The rights of these roles that the session's role lacks, as `table (privilege)`, each once."""
    needed = [
        (one.table, one.kind, column, f"{one.kind} of {column}" if column else one.kind)
        for role in roles
        for one in privileges(role)
        for column in one.columns or ("",)
    ]
    functions = [name for role in roles for name in FUNCTIONS[role]]
    found = [
        *await connection.fetch(LACKING_TABLES, *map(list, zip(*needed, strict=True))),
        *await connection.fetch(LACKING_FUNCTIONS, functions),
    ]
    return list(dict.fromkeys(row[0] for row in found))


async def may_alter(connection: AnyConnection, table: str) -> bool:
    """Whether the session's role may change the definition of this table: it owns it, or may become its owner."""
    found: bool | None = await connection.fetchval(MAY_ALTER, table)
    return bool(found)


def _no_schema(role: str, schema: str | None) -> str:
    if schema is None:
        return (
            f"The role {role} has no schema in its search_path that it may use: CREATE SCHEMA, GRANT USAGE ON SCHEMA, "
            "or correct search_path"
        )
    return (
        f"The database lacks migrations, and the role {role} may not create tables in the schema {schema}: run "
        f"faust -A app migrate as the owner of the tables, or GRANT CREATE ON SCHEMA {schema} TO {role}"
    )
