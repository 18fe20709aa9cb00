"""Settings: where PostgreSQL is, and as which role each service connects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Literal, get_args

from msgspec import Meta

from app.setting_groups.mqtt import MqttSettings
from app.setting_groups.refusals import refused
from headrace.process.server_urls import is_database_url

Part = Literal["ingestion", "relay", "event_handler", "query", "operation"]
"""A part of a worker with an address of its own."""
PARTS_OF: Mapping[str, Sequence[Part]] = {
    "ingestion": ("ingestion", "relay"),
    "event_handler": ("event_handler",),
    "query": ("query", "operation"),
}
INSTEAD: Mapping[Part, Part] = {"relay": "ingestion", "operation": "query"}
"""Whose address a part uses that has none."""
PARTS: Sequence[Part] = get_args(Part)


class PostgresSettings(MqttSettings, frozen=True, kw_only=True):
    """Where PostgreSQL is, and as which role each service connects."""

    database_url: Annotated[str, Meta(description="postgresql://…; empty: embedded PostgreSQL")] = ""
    """Address of PostgreSQL, for all services that have no address of their own, and for commands."""
    database_url_ingestion: Annotated[str, Meta(description="postgresql://…; empty: DATABASE_URL")] = ""
    """The same database, with the role of the ingestion service; see docs/roles.md."""
    database_url_relay: Annotated[
        str, Meta(description="postgresql://…; empty: DATABASE_URL_INGESTION, else DATABASE_URL")
    ] = ""
    """The same database, with the role of the relay, which runs in the ingestion service."""
    database_url_event_handler: Annotated[str, Meta(description="postgresql://…; empty: DATABASE_URL")] = ""
    """The same database, with the role of the event handler."""
    database_url_query: Annotated[str, Meta(description="postgresql://…; empty: DATABASE_URL")] = ""
    """The same database, with the role of the query service."""
    database_url_operation: Annotated[
        str, Meta(description="postgresql://…; empty: DATABASE_URL_QUERY, else DATABASE_URL")
    ] = ""
    """The same database, with the role in which the query service retries and discards parked events."""

    def database_of(self, part: Part) -> str:
        """The address that a part uses; empty for the embedded server."""
        own: str = getattr(self, f"database_url_{part}")
        if own:
            return own
        return self.database_of(INSTEAD[part]) if part in INSTEAD else self.database_url

    def variable_of(self, part: Part) -> str:
        """The variable that has this address."""
        if getattr(self, f"database_url_{part}"):
            return f"DATABASE_URL_{part.upper()}"
        return self.variable_of(INSTEAD[part]) if part in INSTEAD else "DATABASE_URL"

    @property
    def has_own_databases(self) -> bool:
        """Whether any part has an address of its own."""
        return any(getattr(self, f"database_url_{part}") for part in PARTS)


def parts_of(services: Collection[str]) -> list[Part]:
    """The parts of these services."""
    return [part for service, parts in PARTS_OF.items() if service in services for part in parts]


def check_postgres(settings: PostgresSettings, services: Collection[str], allowed: str) -> None:
    """Raises InvalidSettingError; `allowed` describes DATABASE_URL."""
    for field in ("database_url", *(f"database_url_{part}" for part in PARTS)):
        url = getattr(settings, field)
        if url and not is_database_url(url):
            raise refused(field, url, allowed)
    without = [part for part in parts_of(services) if not settings.database_of(part)]
    if without and settings.has_own_databases:
        other = next(part for part in PARTS if settings.database_of(part))
        raise refused(
            f"database_url_{without[0]}",
            "",
            f"an address, because {settings.variable_of(other)} has one: no service may use another database",
        )
