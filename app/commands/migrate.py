"""`faust -A app migrate`: applies the migrations that the database lacks."""

from __future__ import annotations

from typing import Any

from app.commands.connecting import connected
from app.commands.terminal import say
from app.settings import Settings
from app.worker.faust_app import Headrace, refuse
from headrace.errors import HeadraceError
from tables.migrate import migrate


def add_migrate(app: Headrace, settings: Settings) -> None:
    """Add the command to the app."""

    @app.command(name="migrate")
    async def migrate_command(_: Any) -> None:
        """Apply the migrations that the database lacks, and print the name of each.

        Safe to run again. Fails if the database has a newer migration than this version knows.

        \b
        Example:
          faust -A app migrate
        """
        try:
            names = await run(settings)
        except HeadraceError as error:
            refuse(error)
        say(*[f"applied {name}" for name in names] or ["OK, nothing to do"])


async def run(settings: Settings) -> list[str]:
    """Migrate the database of the settings, or the embedded one if none is set. Returns the names of the migrations.

    Raises HeadraceError.
    """
    async with connected(settings) as connection:
        return await migrate(connection)
