"""The roles of the services: who may do what, as PostgreSQL itself says, and who may make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from headrace.errors import StartError
from tables.database import Connection
from tables.migrate import function_names, table_names
from tables.rights import lacks, may_alter
from tables.roles import statements
from tables.roles.grants import FUNCTIONS, NEVER_CHANGED, ROLE_NAMES, TABLES, privileges

from tests.support.servers.installations import Installation, as_user, installation

FORBIDDEN = (
    "ALTER TABLE {table} ADD COLUMN more text",
    "ALTER TABLE {table} DISABLE TRIGGER ALL",
    "ALTER TABLE {table} OWNER TO CURRENT_USER",
    "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
    "CREATE TRIGGER spy BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE silent AS ON INSERT TO {table} DO INSTEAD NOTHING",
    "CREATE INDEX spy ON {table} ((1))",
    "DROP TABLE {table}",
    "TRUNCATE {table}",
    "DELETE FROM {table}",
    "UPDATE {table} SET {column} = {column}",
    "SELECT FROM {table} FOR UPDATE",
    "LOCK TABLE {table} IN SHARE MODE",
)
COLUMN = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND attidentity = '' ORDER BY attnum
"""
OPEN_TO_EVERYONE = """
SELECT EXISTS (SELECT FROM pg_class, aclexplode(relacl) AS acl WHERE relname = 'event_store' AND acl.grantee = 0)
"""
ELSEWHERE = (
    "SET session_replication_role = replica",
    "CREATE TABLE more (n integer)",
    "CREATE TEMPORARY TABLE more (n integer)",
    "CREATE VIEW more AS SELECT 1",
    "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION require_unchanged(unchanged boolean) RETURNS void LANGUAGE sql AS 'SELECT'",
    "DROP FUNCTION require_unchanged(boolean)",
    "DROP FUNCTION event_store_refuses_change() CASCADE",
    "DROP TRIGGER event_store_is_append_only ON event_store",
    "CREATE SCHEMA more",
    "DROP SCHEMA public CASCADE",
    "CREATE ROLE more",
    "COPY event_store TO PROGRAM 'cat'",
    "SELECT pg_read_file('/etc/passwd')",
)
# Everything that is granted on tables to this role or to everyone, with the columns of a part of a table.
GRANTED = """
SELECT found.relname::text AS tab, privilege_type AS kind, NULL AS col
FROM pg_class AS found, aclexplode(found.relacl) AS acl
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') AND acl.grantee = ANY ($1::oid[])
UNION ALL
SELECT found.relname::text, privilege_type, attname::text
FROM pg_class AS found JOIN pg_attribute ON attrelid = found.oid, aclexplode(attacl) AS acl
WHERE relnamespace = 'public'::regnamespace AND acl.grantee = ANY ($1::oid[])
"""
EXECUTABLE = """
SELECT proname::text FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND has_function_privilege($1::text, oid, 'EXECUTE')
"""


@pytest.fixture
async def here(postgres_dsn: str) -> AsyncIterator[Installation]:
    async with installation(postgres_dsn) as made:
        yield made


@pytest.fixture
async def owner(here: Installation) -> AsyncIterator[Connection]:
    opened: Connection = await asyncpg.connect(here.owner_dsn)
    yield opened
    await opened.close()


async def test_no_role_can_change_what_is_written_once(here: Installation) -> None:
    """Each statement is refused by PostgreSQL for lack of rights, not by a trigger, and not for another error."""
    wrong = []
    for role in ROLE_NAMES:
        session: Connection = await asyncpg.connect(here.dsn(role))
        present = [table for table in NEVER_CHANGED if await session.fetchval("SELECT to_regclass($1)", table)]
        assert {"event_store", "schema_migrations"} <= set(present)
        for table in present:
            column = await session.fetchval(COLUMN, table)
            for statement in FORBIDDEN:
                wrong += await _permitted(session, role, statement.format(table=table, column=column))
        for statement in ELSEWHERE:
            wrong += await _permitted(session, role, statement)
        # It may not pass on what it has: PostgreSQL warns, or refuses where it has nothing.
        with suppress(asyncpg.InsufficientPrivilegeError):
            await session.execute("GRANT SELECT ON event_store TO PUBLIC")
        assert not await session.fetchval(OPEN_TO_EVERYONE)
        assert not await may_alter(session, "event_store")
        await session.close()
    assert wrong == []


async def _permitted(session: Connection, role: str, statement: str) -> list[str]:
    try:
        async with session.transaction():
            await session.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return []
    except asyncpg.PostgresError as error:
        return [f"{role}: {statement}: {error}"]
    return [f"{role}: {statement}: done"]


async def test_each_role_has_what_the_table_says_and_nothing_else(here: Installation, owner: Connection) -> None:
    for role in ROLE_NAMES:
        name = f"{here.prefix}_{role}"
        oid = await owner.fetchval("SELECT oid FROM pg_roles WHERE rolname = $1", name)
        has = {tuple(row) for row in await owner.fetch(GRANTED, [oid, 0])}
        listed = {
            (one.table, one.kind, column)
            for one in privileges(role)
            for column in one.columns or (None,)
            if one.table in table_names()
        }
        assert has == listed
        assert {row[0] for row in await owner.fetch(EXECUTABLE, name)} == set(FUNCTIONS[role])


def test_the_grants_name_tables_and_functions_that_exist() -> None:
    assert {table for tables in TABLES.values() for table in tables} <= set(table_names())
    assert {name for names in FUNCTIONS.values() for name in names} <= set(function_names())


async def test_query_may_only_read(here: Installation) -> None:
    assert {one.kind for one in privileges("query")} == {"SELECT"}
    session: Connection = await asyncpg.connect(here.dsn("query"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="installation"):
        await session.fetch("SELECT secret FROM installation")
    await session.close()


async def test_roles_are_made_again_without_a_change_and_lose_what_is_not_listed(
    here: Installation, owner: Connection
) -> None:
    await owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {here.prefix}_query")
    await owner.execute(f"GRANT CREATE ON SCHEMA public TO {here.prefix}_query")
    planned = await statements.plan(owner, here.prefix)
    assert (planned.create, planned.not_owned) == ([], [])
    for _ in range(2):
        await statements.execute(owner, here.prefix)
    session: Connection = await asyncpg.connect(here.dsn("query"))
    assert await lacks(session, ["query"]) == []
    assert "projections (INSERT of key)" in await lacks(session, ["operate"])
    for statement in ("DELETE FROM progress", "CREATE TABLE more (n integer)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await session.execute(statement)
    await session.close()


async def test_a_new_table_is_named_until_it_is_granted(here: Installation, owner: Connection) -> None:
    await owner.execute("CREATE TABLE made (LIKE dead_letters); DROP TABLE dead_letters")
    await owner.execute("ALTER TABLE made RENAME TO dead_letters")
    session: Connection = await asyncpg.connect(here.dsn("query"))
    assert await lacks(session, ["query"]) == ["dead_letters (SELECT)"]
    await statements.execute(owner, here.prefix)  # by the command, after the migration
    assert await lacks(session, ["query"]) == []
    await session.close()


async def test_roles_of_another_installation_are_refused(postgres_dsn: str, here: Installation) -> None:
    async with installation(postgres_dsn) as other:
        session: Connection = await asyncpg.connect(other.owner_dsn)
        with pytest.raises(StartError, match=r"_\w+ has rights in another database or schema.*--prefix"):
            await statements.execute(session, here.prefix)
        await session.close()
    session = await asyncpg.connect(here.superuser_dsn)
    await session.execute(f"CREATE SCHEMA north AUTHORIZATION {here.owner}")
    await session.execute(f"GRANT USAGE ON SCHEMA north TO {here.prefix}_query")
    with pytest.raises(StartError, match=r"_query has rights in another database or schema"):
        await statements.plan(session, here.prefix)
    await session.close()


async def test_a_role_that_has_powers_of_its_own_is_refused(here: Installation) -> None:
    session: Connection = await asyncpg.connect(here.superuser_dsn)
    await session.execute(f"GRANT pg_write_all_data TO {here.prefix}_query")
    with pytest.raises(StartError, match=r"_query exists and has rights of its own"):
        await statements.plan(session, here.prefix)
    await session.execute(f"REVOKE pg_write_all_data FROM {here.prefix}_query")
    await session.execute(f"ALTER ROLE {here.prefix}_relay CREATEDB")
    with pytest.raises(StartError, match=r"_relay exists and has rights of its own"):
        await statements.plan(session, here.prefix)
    await session.close()


@pytest.mark.parametrize("prefix", ["", "pg_x", "North", "a-b", "x; DROP", "1x", "x" * 51])
async def test_a_prefix_that_is_no_plain_name_is_refused(connection: Connection, prefix: str) -> None:
    with pytest.raises(StartError, match=r"^--prefix .*: not allowed"):
        await statements.plan(connection, prefix)


async def test_an_owner_that_may_not_create_roles_is_told_how_to_go_on(
    postgres_dsn: str, connection: Connection, database_dsn: str
) -> None:
    prefix = f"printed_{connection.get_server_pid()}"
    with pytest.raises(StartError, match=rf"may not create roles.*migrate --roles --prefix {prefix} --print prints"):
        await statements.execute(connection, prefix)
    script = (await statements.plan(connection, prefix)).script
    server: Connection = await asyncpg.connect(as_user(database_dsn, "postgres"))
    try:
        await server.execute("".join(script))
        again = await statements.execute(connection, prefix)  # the roles exist: the owner may grant
        assert again.create == []
        found = await connection.fetchval("SELECT has_table_privilege($1, 'outbox', 'INSERT')", f"{prefix}_ingest")
        assert found is True
    finally:
        names = ", ".join(statements.role_names(prefix).values())
        await server.execute(f"DROP OWNED BY {names}; DROP ROLE {names}")
        await server.close()


async def test_an_old_schema_gets_no_roles(connection: Connection) -> None:
    await connection.execute("DELETE FROM schema_migrations WHERE number > 10")
    with pytest.raises(StartError, match=r"lacks migrations.*migrate first"):
        await statements.plan(connection)


@pytest.mark.parametrize("role", ["owner", "superuser", "member"])
async def test_who_may_alter_the_event_store_is_found(here: Installation, role: str) -> None:
    member = f"{here.prefix}_member"
    dsns = {
        "owner": here.owner_dsn,
        "superuser": here.superuser_dsn,
        "member": as_user(here.superuser_dsn, member),
    }
    server: Connection = await asyncpg.connect(here.superuser_dsn)
    await server.execute(f"CREATE ROLE {member} LOGIN NOINHERIT; GRANT {here.owner} TO {member}")
    session: Connection = await asyncpg.connect(dsns[role])
    try:
        assert await may_alter(session, "event_store")
    finally:
        await session.close()
        await server.execute(f"DROP ROLE {member}")
        await server.close()
