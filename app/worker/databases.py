"""The connections of a worker: a pool for each address of PostgreSQL, so that each service can have its own role."""

from __future__ import annotations

from collections.abc import Sequence

from agents.upkeep.database_opener import DatabaseOpener, OneInstallation
from app.setting_groups.postgres import Part, parts_of
from app.settings import Settings
from headrace.process.parts import OK, Condition
from tables.database import Database
from tables.roles.grants import RoleName

ROLES: dict[Part, RoleName] = {
    "ingestion": "ingest",
    "relay": "relay",
    "event_handler": "project",
    "query": "query",
    "operation": "operate",
}
OPTIONAL: frozenset[Part] = frozenset({"operation"})
"""A query service without this right answers reads, and refuses to retry and to discard."""
# The relay has a connection of its own beside the pool; operators send one request at a time.
SMALL: frozenset[Part] = frozenset({"relay", "operation"})
SMALL_POOL = 2


class Databases:
    """The pools, of which several parts may share one; and the services that open them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts = parts_of(settings.runs)
        self._pools: dict[str, Database] = {}
        one = OneInstallation()
        self.openers: list[DatabaseOpener] = []
        for part in self._parts:
            if (dsn := settings.database_of(part)) not in self._pools:
                self._pools[dsn] = self._pool(dsn)
                variable, is_own = settings.variable_of(part), bool(dsn)
                self.openers.append(DatabaseOpener(self._pools[dsn], dsn, variable, one=one, is_embedded=not is_own))

    def _pool(self, dsn: str) -> Database:
        settings = self._settings
        is_small = all(part in SMALL for part in self._parts if settings.database_of(part) == dsn)
        return Database(
            pool_size=SMALL_POOL if is_small else settings.database_pool_size,
            timeout_seconds=settings.database_timeout_seconds,
        )

    def of(self, part: Part) -> Database:
        """The pool that this part uses; a part that does not run has none."""
        return self._pools[self._settings.database_of(part)]

    @property
    def main(self) -> Database:
        """What is not of one service, such as health and metrics, is asked as the service that reads most."""
        order: Sequence[Part] = ("query", "event_handler", "ingestion")
        return self.of(next(part for part in order if part in self._parts))

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded PostgreSQL is used, by all parts."""
        return not self._settings.database_of(self._parts[0])

    def set_embedded(self, dsn: str) -> None:
        """Pass on the address of the embedded server, when it has started."""
        self.openers[0].set_dsn(dsn)

    def needed(self) -> list[tuple[str, str, list[RoleName]]]:
        """For each address: its variable, itself, and the roles whose rights it needs."""
        found: dict[str, tuple[str, str, list[RoleName]]] = {}
        for part in self._parts:
            dsn, variable = self._settings.database_of(part), self._settings.variable_of(part)
            _, _, roles = found.setdefault(dsn, (variable, dsn, []))
            if part not in OPTIONAL or variable == "DATABASE_URL_OPERATION":
                roles.append(ROLES[part])
        # Requests are authenticated and noted in the access log with the connections of `main`.
        return [
            (variable, dsn, [*roles, "access"] if self._pools[dsn] is self.main else roles)
            for variable, dsn, roles in found.values()
        ]

    def condition(self) -> Condition:
        """Whether all of them have been opened."""
        return next((found for one in self.openers if (found := one.condition()) != OK), OK)
