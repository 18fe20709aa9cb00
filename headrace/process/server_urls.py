"""Checks the addresses of PostgreSQL and Kafka, because with a wrong one a worker would wait indefinitely."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

SCHEMES = frozenset({"postgresql", "postgres"})
SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
BROKER_SCHEMES = frozenset({"kafka", "kafka+ssl"})
NO_LOGIN = (
    "kafka://host:port[,host:port] or kafka+ssl://…, without user and password: set KAFKA_SASL_MECHANISM, "
    "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
)

_PORT = re.compile(r"[0-9]{1,5}")
_BROKER_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[^\s/?#@\[\]]+")
# A host may be absent: then it is a parameter or a socket.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:]*)(?::(?P<port>[^:]*))?")


def is_database_url(url: str) -> bool:
    """Whether it is `postgresql://user:password@host:port[,host:port]/database?parameter=value`, or a part of it."""
    try:
        parts = urlsplit(url)
        parameters = parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        return False
    ports = parameters.get("port", [""])[-1].split(",")
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return (
        parts.scheme in SCHEMES
        and all(host is not None and _is_port(host["port"] or "") for host in map(_HOST.fullmatch, hosts))
        and all(map(_is_port, ports))
        and SSL_MODES.issuperset(parameters.get("sslmode", ()))
    )


def is_broker_url(url: str) -> bool:
    """Whether it is `kafka://host:port[,host:port]`, or the same with kafka+ssl."""
    scheme, _, rest = url.partition("://")
    addresses = [address.rpartition(":") for address in rest.split(",")]
    return scheme in BROKER_SCHEMES and all(
        _BROKER_HOST.fullmatch(host) and port and _is_port(port) for host, _, port in addresses
    )


def _is_port(text: str) -> bool:
    """Whether the text is a port, or empty, which means the default port."""
    return not text or (_PORT.fullmatch(text) is not None and 1 <= int(text) <= 65_535)  # noqa: PLR2004 - the maximum


def place_of(url: str) -> str:
    """The hosts and the database of an address of PostgreSQL, as `host:port/database`; nothing else of it."""
    parts = urlsplit(url)
    parameters = parse_qs(parts.query)
    host = parts.netloc.rpartition("@")[2] or parameters.get("host", [""])[0]
    database = parts.path.removeprefix("/") or parameters.get("dbname", parameters.get("database", [""]))[0]
    return f"{unquote(host)}/{unquote(database)}" if host or database else ""
