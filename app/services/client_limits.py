"""What a port allows its clients, from the settings."""

from __future__ import annotations

from pathlib import Path

from app.setting_groups.tls import TlsPort, tls_paths
from app.settings import Settings
from headrace.access.addresses import networks
from headrace.process.host_names import listed, listed_origins
from web.access.limits import Rates
from web.server.guard import Guard
from web.server.port import ConnectionLimits
from web.server.tls_files import TlsFiles


def guard(settings: Settings, host: str) -> Guard:
    """The hosts and origins that the port on this address answers."""
    return Guard(hosts=listed(settings.allowed_hosts), origins=listed_origins(settings.cors_origins), listens_on=host)


def connection_limits(settings: Settings) -> ConnectionLimits:
    """The connections and the memory that clients of a port may use."""
    most = settings.max_connections
    return ConnectionLimits(
        most=most,
        most_of_one=settings.max_connections_per_address or max(1, most // 2),
        unsent_bytes=settings.max_unsent_bytes,
        held_of_one=settings.key_held_requests,
        proxies=networks(settings.trusted_proxies),
    )


def rates(settings: Settings) -> Rates:
    """How much each caller may do."""
    return Rates(
        requests_per_second=settings.key_requests_per_second,
        events_per_second=settings.key_events_per_second,
        bytes_per_second=settings.key_bytes_per_second,
        burst_seconds=settings.key_burst_seconds,
        failures_per_minute=settings.auth_failures_per_minute,
    )


def tls_files(settings: Settings, port: TlsPort) -> TlsFiles | None:
    """The files with which a port speaks HTTPS; None for plain HTTP."""
    certificate, key, client_ca = tls_paths(settings, port)
    if not certificate:
        return None
    return TlsFiles(port.upper(), Path(certificate), Path(key) if key else None, Path(client_ca) if client_ca else None)
