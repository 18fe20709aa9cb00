"""The SQL that makes the roles of an installation and grants them what `tables.roles.grants` lists.

Roles belong to a cluster, and installations to a schema. So the names of an installation's roles have a prefix of its
own, and roles that another installation uses are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from headrace.errors import StartError
from tables.database import AnyConnection
from tables.lock_keys import LOCK, LockKey
from tables.migrate import function_names, migrations, table_names
from tables.roles.grants import FUNCTIONS, ROLE_NAMES, RoleName, privileges

PREFIX = "headrace"
PREFIXES = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,49}")

PLACE = """
SELECT current_user::text AS role, quote_ident(current_user) AS quoted_role, quote_ident(space.nspname) AS schema,
       quote_ident(base.datname) AS database,
       (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_create_roles,
       pg_has_role(space.nspowner, 'USAGE') AS owns_schema, pg_has_role(base.datdba, 'USAGE') AS owns_database,
       (SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass('event_store')) AS owns_tables
FROM pg_namespace AS space, pg_database AS base
WHERE space.nspname = current_schema() AND base.datname = current_database()
"""
APPLIED = "SELECT count(*) FROM schema_migrations"
INSTALLED = "SELECT to_regclass('schema_migrations') IS NOT NULL"
TABLES = """
SELECT relname::text FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND relkind = 'r'
  AND relname = ANY ($1::text[])
ORDER BY 1
"""
FUNCTIONS_HERE = """
SELECT proname::text, pg_get_function_identity_arguments(oid) FROM pg_proc
WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND proname = ANY ($1::text[])
ORDER BY 1, 2
"""
# A role of ours has no other power, and privileges in this schema alone; those on databases have no dbid.
FOUND = """
SELECT rolname::text AS name,
       rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
           OR EXISTS (SELECT FROM pg_auth_members WHERE member = role.oid) AS has_powers,
       EXISTS (
           SELECT FROM pg_shdepend
           WHERE refclassid = 'pg_authid'::regclass AND refobjid = role.oid AND deptype IN ('a', 'o')
             AND (dbid NOT IN (0, here.oid) OR dbid = here.oid AND classid = 'pg_namespace'::regclass
                  AND objid <> (SELECT oid FROM pg_namespace WHERE nspname = current_schema()))
       ) AS is_used_elsewhere
FROM pg_roles AS role, pg_database AS here
WHERE rolname = ANY ($1::text[]) AND here.datname = current_database()
ORDER BY 1
"""


class _Place(NamedTuple):
    role: str
    quoted_role: str
    schema: str
    database: str
    may_create_roles: bool
    owns_schema: bool
    owns_database: bool
    owns_tables: bool


class Plan(NamedTuple):
    """What is to be executed, in order."""

    create: list[str]
    """For the roles that the cluster lacks."""
    grant: list[str]
    not_owned: list[str]
    """What only the owner of the database or of the schema may do."""
    place: _Place

    @property
    def script(self) -> list[str]:
        """All of it for psql, in one transaction; a statement in each line."""
        return [f"{one};" for one in ("BEGIN", *self.create, *self.grant, *self.not_owned, "COMMIT")]


async def plan(connection: AnyConnection, prefix: str = PREFIX) -> Plan:
    """What makes the roles with this prefix. Raises StartError where they cannot be those of this installation."""
    if not PREFIXES.fullmatch(prefix):
        raise StartError(f"--prefix {prefix}: not allowed; allowed: 1 to 50 letters a-z, digits and _, but not pg_…")
    applied = await connection.fetchval(APPLIED) if await connection.fetchval(INSTALLED) else 0
    if applied < len(migrations()):
        raise StartError("The database lacks migrations, and with them tables: run faust -A app migrate first.")
    row = await connection.fetchrow(PLACE)
    assert row is not None, "where a schema is missing, settle() has refused"
    place, names = _Place(*row), role_names(prefix)
    found = [tuple(role) for role in await connection.fetch(FOUND, list(names.values()))]
    _check(found, prefix)
    known = {name for name, *_ in found}
    functions = [tuple(one) for one in await connection.fetch(FUNCTIONS_HERE, function_names())]
    tables = [row[0] for row in await connection.fetch(TABLES, table_names())]
    create = [f"CREATE ROLE {name} NOLOGIN" for name in names.values() if name not in known]
    closed = _closed(place)
    grant = [
        *_revoked(place.schema, names, tables, functions),
        *_granted(place.schema, names, tables, functions),
        *(statement for statement, is_owned in closed if is_owned),
    ]
    roles = ", ".join(names.values())
    not_owned = [statement for statement, is_owned in closed if not is_owned]
    (grant if place.owns_schema else not_owned).append(f"GRANT USAGE ON SCHEMA {place.schema} TO {roles}")
    (grant if place.owns_database else not_owned).append(f"GRANT CONNECT ON DATABASE {place.database} TO {roles}")
    return Plan(create, grant, not_owned, place)


async def execute(connection: AnyConnection, prefix: str = PREFIX) -> Plan:
    """Make the roles and grant what they need, in one transaction; other rights that they have here are revoked.

    Returns what was executed, and what the role may not do. Raises StartError where it may not do what is necessary.
    """
    async with connection.transaction():
        await connection.execute(LOCK, LockKey.MIGRATE)
        planned = await plan(connection, prefix)
        place = planned.place
        if not place.owns_tables:
            raise StartError(f"The role {place.role} does not own the tables: run migrate --roles as their owner.")
        if planned.create and not place.may_create_roles:
            raise StartError(
                f"The role {place.role} may not create roles. Let a superuser execute what "
                f"faust -A app migrate --roles --prefix {prefix} --print prints."
            )
        for statement in (*planned.create, *planned.grant):
            await connection.execute(statement)
    return planned


def role_names(prefix: str) -> dict[RoleName, str]:
    """The names of the roles of an installation."""
    return {name: f"{prefix}_{name}" for name in ROLE_NAMES}


def _check(found: Sequence[tuple[str, bool, bool]], prefix: str) -> None:
    for name, has_powers, is_used_elsewhere in found:
        if has_powers:
            raise StartError(
                f"The role {name} exists and has rights of its own (attributes, or a role that it is a member of). "
                "DROP it, or choose another name with --prefix."
            )
        if is_used_elsewhere:
            raise StartError(
                f"The role {name} has rights in another database or schema: it belongs to another installation. "
                f"Choose another name with --prefix, which is {prefix} here."
            )


def _closed(place: _Place) -> list[tuple[str, bool]]:
    """What PostgreSQL lets everyone do by default, and whether the owner may close it."""
    return [
        (f"REVOKE CREATE ON SCHEMA {place.schema} FROM PUBLIC", place.owns_schema),
        (f"REVOKE CREATE, TEMPORARY ON DATABASE {place.database} FROM PUBLIC", place.owns_database),
    ]


def _revoked(
    schema: str, names: dict[RoleName, str], tables: Sequence[str], functions: Sequence[tuple[str, str]]
) -> list[str]:
    roles = ", ".join(names.values())
    on_tables = ", ".join(f"{schema}.{table}" for table in tables)
    on_functions = ", ".join(f"{schema}.{name}({arguments})" for name, arguments in functions)
    return [
        f"REVOKE ALL ON SCHEMA {schema} FROM {roles}",
        f"REVOKE ALL ON TABLE {on_tables} FROM {roles}",
        f"REVOKE ALL ON FUNCTION {on_functions} FROM PUBLIC, {roles}",
    ]


def _granted(
    schema: str, names: dict[RoleName, str], tables: Sequence[str], functions: Sequence[tuple[str, str]]
) -> list[str]:
    made: list[str] = []
    for role, name in names.items():
        of_tables: dict[str, list[str]] = {}
        for privilege in privileges(role):
            of_tables.setdefault(privilege.table, []).append(privilege.text)
        made += [
            f"GRANT {', '.join(kinds)} ON TABLE {schema}.{table} TO {name}"
            for table, kinds in of_tables.items()
            if table in tables
        ]
        of_functions = [f"{schema}.{one}({arguments})" for one, arguments in functions if one in FUNCTIONS[role]]
        if of_functions:
            made.append(f"GRANT EXECUTE ON FUNCTION {', '.join(of_functions)} TO {name}")
    return made
