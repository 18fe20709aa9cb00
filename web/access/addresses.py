"""The address of a client, for limits and the access log."""

from __future__ import annotations

from aiohttp import web

from headrace.access.addresses import Network, as_limited, client_address

FORWARDED_FOR = "X-Forwarded-For"


class ClientAddresses:
    """Finds the client's address: of the connection, or as a trusted proxy reports it."""

    def __init__(self, trusted_proxies: tuple[Network, ...] = ()) -> None:
        self._trusted = trusted_proxies

    def of(self, request: web.BaseRequest) -> str:
        """The address; empty if the connection is gone, or has none."""
        peer = request.remote or ""
        if not self._trusted:
            return peer
        return client_address(peer, request.headers.getall(FORWARDED_FOR, ()), self._trusted)

    def limited(self, request: web.BaseRequest) -> str:
        """What limits of an address apply to; in IPv6 a network of 64 bits."""
        return as_limited(self.of(request))
