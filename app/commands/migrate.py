"""`faust -A app migrate`."""

from __future__ import annotations

from typing import Any

from app.commands.connecting import connected
from app.settings import Settings
from app.worker.faust_app import Headrace, refuse
from headrace.errors import HeadraceError
from tables.migrate import migrate


def add_migrate(app: Headrace, settings: Settings) -> None:
    """Add the command to the app."""

    @app.command(name="migrate")
    async def migrate_command(self: Any) -> None:
        """Bring the tables of the database to this version."""
        try:
            names = await run(settings)
        except HeadraceError as error:
            refuse(error)
        self.say("\n".join(f"applied {name}" for name in names) or "nothing to do")


async def run(settings: Settings) -> list[str]:
    """Migrate the database of the settings, the embedded one if they name none. Raises HeadraceError."""
    async with connected(settings) as connection:
        return await migrate(connection)
