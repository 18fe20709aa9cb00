"""Which client a request comes from, where proxies are between it and a worker."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
MOST_HOPS = 32
"""Of X-Forwarded-For that are read, from the right: a client can send any number."""


def networks(text: str) -> tuple[Network, ...]:
    """Comma-separated addresses and networks. Raises ValueError."""
    return tuple(ip_network(one.strip()) for one in text.split(",") if one.strip())


def is_in(address: Address | None, trusted: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    return address is not None and any(address in network for network in trusted)


def read_address(text: str) -> Address | None:
    """An address as a proxy writes it, perhaps with a port; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def client_address(peer: str, forwarded_for: Iterable[str], trusted: tuple[Network, ...]) -> str:
    """The address of the client: that of the connection, or what the last proxy that is trusted reports.

    `forwarded_for` are the `X-Forwarded-For` headers, in order. Each trusted proxy adds the address that it sees, at
    the right. So the client is the rightmost address that is not a trusted proxy; what is left of it may be forged.
    """
    found = read_address(peer)
    if not is_in(found, trusted):
        return peer if found is None else str(found)
    hops = ",".join(forwarded_for).rsplit(",", MOST_HOPS)[-MOST_HOPS:]
    for hop in reversed(hops):
        before = read_address(hop)
        if before is None:
            break
        found = before
        if not is_in(found, trusted):
            break
    return str(found)


def as_limited(address: str) -> str:
    """What limits of an address apply to: in IPv6, a network of 64 bits, because a client has a whole network."""
    found = read_address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Address(int(found) >> 64 << 64))
    return address if found is None else str(found)
