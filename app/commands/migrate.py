"""`faust -A app migrate`: applies missing migrations, creates declared indexes, and with `--roles` the roles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
from faust.cli.base import option

from app.commands.connecting import connected
from app.commands.terminal import say
from app.settings import Settings
from app.worker.faust_app import Headrace, refuse
from headrace.errors import HeadraceError, StartError
from headrace.projection import Projection
from tables.database import Connection
from tables.migrate import migrate
from tables.projections import field_indexes
from tables.projections.pages import path_of
from tables.refusals import no_rights
from tables.rights import may_alter
from tables.roles import statements
from tables.roles.grants import ROLE_NAMES

RETRY_SECONDS = 1.0


def add_migrate(app: Headrace, settings: Settings, projections: Sequence[Projection[Any]]) -> None:
    """Add the command to the app."""

    @app.command(
        option("--roles", is_flag=True, help="Also create a role for each service, and grant it what it needs."),
        option(
            "--prefix",
            default=statements.PREFIX,
            show_default=True,
            help="The names of the roles begin with it: a cluster needs another one for each installation.",
        ),
        option("--print", "only_print", is_flag=True, help="Only print the SQL of --roles, for a superuser."),
        name="migrate",
    )
    async def migrate_command(_: Any, *, roles: bool, prefix: str, only_print: bool) -> None:
        """Apply the migrations that the database lacks, create declared indexes, and print what was done.

        Safe to run again. Fails if the database has a newer migration than this version knows. Run it as the owner of
        the tables; after each upgrade again with --roles, if you use roles. docs/roles.md describes them.

        \b
        Examples:
          faust -A app migrate
          faust -A app migrate --roles
          faust -A app migrate --roles --prefix north --print
        """
        try:
            if only_print and not roles:
                raise StartError("--print prints the SQL of --roles: add --roles.")
            if only_print:
                say(*await script(settings, prefix))
                return
            lines = await run(settings, projections, prefix=prefix if roles else None)
        except HeadraceError as error:
            refuse(error)
        say(*lines or ["OK, nothing to do"])


async def run(settings: Settings, projections: Sequence[Projection[Any]], *, prefix: str | None) -> list[str]:
    """Migrate the database of the settings, or the embedded one if none is set. Returns lines that say what was done.

    With a prefix, also make the roles. Raises HeadraceError.
    """
    async with connected(settings) as connection:
        try:
            lines = [f"applied {name}" for name in await migrate(connection)]
            lines += await _create_indexes(connection, projections)
            if prefix is not None:
                lines += await _make_roles(connection, prefix)
        except asyncpg.InsufficientPrivilegeError as error:
            raise no_rights(error) from error
    return lines


async def script(settings: Settings, prefix: str) -> list[str]:
    """The SQL that makes the roles, line by line. Raises HeadraceError."""
    async with connected(settings) as connection:
        return (await statements.plan(connection, prefix)).script


async def _create_indexes(connection: Connection, projections: Sequence[Projection[Any]]) -> list[str]:
    fields = field_indexes.declared_fields(projections)
    if not await may_alter(connection, "projections") and not await field_indexes.missing(connection, fields):
        return []
    try:
        while (changed := await field_indexes.sync(connection, fields)) is None:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(RETRY_SECONDS)
    except asyncpg.ProgramLimitExceededError as error:
        return [f"a declared index cannot be created: {error}; queries by its field stay slow"]
    return [
        *(f"created the index on {'.'.join(path_of(field.member))} of {field.projection}" for field in changed.created),
        *(f"dropped the index {name}, which is not declared or was not finished" for name in changed.dropped),
    ]


async def _make_roles(connection: Connection, prefix: str) -> list[str]:
    done = await statements.execute(connection, prefix)
    names = ", ".join(f"{prefix}_{name}" for name in ROLE_NAMES)
    lines = [f"granted to {names} what each needs"]
    if done.not_owned:
        lines.append("left to the owner of the database and of the schema:")
        lines += [f"  {statement};" for statement in done.not_owned]
    return lines
