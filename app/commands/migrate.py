"""`faust -A app migrate`."""

from __future__ import annotations

from typing import Any

from app.embedded.servers import EmbeddedServers
from app.errors import DependencyAwayError, HeadraceError
from app.settings import Settings, data_folder
from app.worker import Headrace, refuse
from tables import database
from tables.migrate import migrate

CONNECT_SECONDS = 10.0


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
    servers = None if settings.database_url else EmbeddedServers(data_folder(settings))
    try:
        dsn = settings.database_url or (await servers.start_postgres() if servers else "")
        try:
            connection = await database.connect(dsn, timeout_seconds=CONNECT_SECONDS)
        except Exception as error:
            if not database.is_away(error):
                raise
            raise DependencyAwayError(f"PostgreSQL does not answer: {error}. Look at DATABASE_URL.") from error
        try:
            return await migrate(connection)
        finally:
            database.drop(connection)
    finally:
        if servers is not None:
            await servers.stop()
