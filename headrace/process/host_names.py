"""Names of hosts and origins, as settings list them and as requests carry them in `Host` and `Origin`."""

from __future__ import annotations

import ipaddress
import re

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251})"
_IPV6 = r"\[[0-9A-Fa-f:.]{2,45}\]"
_HOST = rf"(?:\.?{_NAME}|{_IPV6})"
_ORIGIN = rf"https?://(?:{_NAME}|{_IPV6})(?::[0-9]{{1,5}})?"

HOSTS_PATTERN = rf"^(?:(?:\*|{_HOST})(?: *, *(?:\*|{_HOST}))*)?$"
ORIGINS_PATTERN = rf"^(?:{_ORIGIN}(?: *, *{_ORIGIN})*)?$"

_HOST_AND_PORT = re.compile(rf"(?P<host>{_NAME}|{_IPV6})(?::(?P<port>[0-9]{{0,5}}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def listed(text: str) -> frozenset[str]:
    """The entries of a comma-separated list, in lower case."""
    return frozenset(entry.strip().lower() for entry in text.split(",") if entry.strip())


def listed_origins(text: str) -> frozenset[str]:
    """The origins of a comma-separated list, as browsers send them: without the default port of their scheme."""
    return frozenset(f"{scheme}://{authority}" for scheme, authority in map(_split, listed(text)))


def host_of(header: str) -> str | None:
    """The host in a `Host` header, in lower case, without its port and a final dot; None where it is malformed."""
    match = _HOST_AND_PORT.fullmatch(header.strip())
    return None if match is None else match["host"].lower().removesuffix(".")


def is_same_origin(origin: str, host_header: str) -> bool:
    """Whether an `Origin` is that of the requested host, over http or https."""
    scheme, authority = _split(origin.lower())
    host = host_header.strip().lower()
    return scheme in _DEFAULT_PORTS and authority == _without_port(host, _DEFAULT_PORTS[scheme])


def address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address, with or without brackets or a scope; None for a name. An IPv4 address in IPv6 is IPv4."""
    try:
        found = ipaddress.ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _split(origin: str) -> tuple[str, str]:
    scheme, _, authority = origin.partition("://")
    return scheme, _without_port(authority, _DEFAULT_PORTS.get(scheme, ""))


def _without_port(authority: str, port: str) -> str:
    return authority.removesuffix(f":{port}") if port else authority


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself."""
    if host == "localhost":
        return True
    found = address(host)
    return found is not None and found.is_loopback
