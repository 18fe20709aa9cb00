"""The guard of a port, from the settings."""

from __future__ import annotations

from app.settings import Settings
from headrace.process.host_names import listed, listed_origins
from web.server.guard import Guard


def guard(settings: Settings, host: str) -> Guard:
    """The hosts and origins that the port on this address answers."""
    return Guard(hosts=listed(settings.allowed_hosts), origins=listed_origins(settings.cors_origins), listens_on=host)
