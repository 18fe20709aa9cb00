"""Settings: TLS of the HTTP ports."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from app.setting_groups.limits import LimitSettings
from app.setting_groups.refusals import refused

TlsPort = Literal["ingestion", "query", "health"]
PORTS: tuple[TlsPort, ...] = ("ingestion", "query", "health")

Certificate = Annotated[str, Meta(description="PEM file; empty: plain HTTP")]
Key = Annotated[str, Meta(description="PEM file without a password; empty: the key is in the file of the certificate")]
ClientAuthorities = Annotated[str, Meta(description="PEM file; empty: clients need no certificate")]


class TlsSettings(LimitSettings, frozen=True, kw_only=True):
    """TLS of the HTTP ports. The files are read again when they change, and at SIGHUP; see docs/tls.md."""

    ingestion_tls_certificate: Certificate = ""
    """Certificate of the ingestion port, followed by the certificates between it and its authority. With it, the port
    speaks HTTPS only."""
    ingestion_tls_key: Key = ""
    """Private key of INGESTION_TLS_CERTIFICATE."""
    ingestion_tls_client_ca: ClientAuthorities = ""
    """Certificate authorities of the clients of the ingestion port. With it, every client needs a certificate."""
    query_tls_certificate: Certificate = ""
    """The same for the query port."""
    query_tls_key: Key = ""
    """Private key of QUERY_TLS_CERTIFICATE."""
    query_tls_client_ca: ClientAuthorities = ""
    """Certificate authorities of the clients of the query port."""
    health_tls_certificate: Certificate = ""
    """The same for HEALTH_PORT."""
    health_tls_key: Key = ""
    """Private key of HEALTH_TLS_CERTIFICATE."""
    health_tls_client_ca: ClientAuthorities = ""
    """Certificate authorities of the clients of HEALTH_PORT."""

    def scheme(self, port: TlsPort) -> str:
        """How clients address a port: `http` or `https`."""
        return "https" if tls_paths(self, port)[0] else "http"


def tls_paths(settings: TlsSettings, port: TlsPort) -> tuple[str, str, str]:
    """The files of a port: certificate, key, and authorities of clients; empty where not set."""
    match port:
        case "ingestion":
            return settings.ingestion_tls_certificate, settings.ingestion_tls_key, settings.ingestion_tls_client_ca
        case "query":
            return settings.query_tls_certificate, settings.query_tls_key, settings.query_tls_client_ca
        case "health":
            return settings.health_tls_certificate, settings.health_tls_key, settings.health_tls_client_ca


def check_tls(settings: TlsSettings) -> None:
    """Raises InvalidSettingError. The files themselves are checked when a worker starts: commands need none."""
    for port in PORTS:
        certificate, key, authorities = tls_paths(settings, port)
        for name, value in ("key", key), ("client_ca", authorities):
            if value and not certificate:
                raise refused(f"{port}_tls_{name}", value, f"only with {port.upper()}_TLS_CERTIFICATE")
