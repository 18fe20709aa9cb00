"""Who sends a request, by the certificate that the client has shown (mTLS)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from headrace.access.caller import Caller
from tables.access.key_cache import KeyCache
from tables.database import is_away
from web.server.connections import Connection

KINDS = (("URI", "uri"), ("DNS", "dns"), ("email", "email"))
"""Which subject alternative name counts: the first of the first kind that the certificate has."""
MAX_CHARACTERS = 1_024
KNOWN_SECONDS = 30.0
MOST_KNOWN = 10_000

LookUp = Callable[[str], Awaitable[str | None]]


class Peer(NamedTuple):
    """The client of a connection."""

    identity: str | None
    ends: float
    """When its certificate expires, in seconds since 1970."""


NOBODY = Peer(None, 0.0)


def peer_identity(request: web.BaseRequest) -> str | None:
    """The name in the certificate of the client, such as `uri:spiffe://x/y` or `dns:device-1`.

    None without a certificate that the port has checked, without such a name in it, and when it has expired.
    """
    protocol = request.protocol
    if not isinstance(protocol, Connection) or protocol.transport is None:
        return None
    peer = protocol.certificate_of
    if not isinstance(peer, Peer):
        peer = protocol.certificate_of = peer_of(protocol.transport.get_extra_info("peercert"))
    return peer.identity if peer is NOBODY or time.time() < peer.ends else None


def peer_of(certificate: Mapping[str, Any] | None) -> Peer:
    """The client by its certificate, as `ssl.SSLSocket.getpeercert` describes it."""
    if not certificate:
        return NOBODY
    names = certificate.get("subjectAltName", ())
    found = next((f"{kind}:{value}" for type_, kind in KINDS for of, value in names if of == type_), None)
    if found is None or not found.isprintable() or len(found) > MAX_CHARACTERS:
        return NOBODY
    identity = found.lower() if found.startswith("dns:") else found
    return Peer(identity, ssl.cert_time_to_seconds(certificate["notAfter"]))


class _FoundKey(NamedTuple):
    key_id: str
    at: float


class CertificateVerifier:
    """Finds whose key row names the certificate of a client, for requests without a bearer token."""

    def __init__(self, cache: KeyCache, look_up: LookUp, clock: Callable[[], float] = time.monotonic) -> None:
        """`look_up`: the id of the live key whose certificate has this name, or None.

        It may raise an error that `tables.database.is_away` accepts.
        """
        self._cache = cache
        self._look_up = look_up
        self._clock = clock
        self._found: dict[str, _FoundKey] = {}

    def known(self, request: web.BaseRequest) -> Caller | None:
        """The caller if that is known without a query."""
        identity = peer_identity(request)
        found = None if identity is None else self._found.get(identity)
        if found is None or self._clock() - found.at >= KNOWN_SECONDS:
            return None
        held = self._cache.held(found.key_id)
        now = self._clock()
        return None if held is None or now >= held.fresh_until else held.use(now)

    async def caller(self, request: web.BaseRequest) -> Caller | None:
        """The caller; None if no live key has this certificate.

        Raises an error that `tables.database.is_away` accepts when nobody can tell now.
        """
        identity = peer_identity(request)
        key_id = None if identity is None else await self._key_id(identity)
        held = None if key_id is None else await self._cache.find(key_id)
        return None if held is None else held.use(self._clock())

    async def _key_id(self, identity: str) -> str | None:
        found = self._found.pop(identity, None)
        try:
            key_id = await self._look_up(identity)
        except Exception as error:
            if found is None or not is_away(error):
                raise
            # Whether the key is still valid, and for how long without PostgreSQL, the cache of keys decides.
            self._found[identity] = found
            return found.key_id
        if key_id is not None:
            while len(self._found) >= MOST_KNOWN:
                del self._found[next(iter(self._found))]
            self._found[identity] = _FoundKey(key_id, self._clock())
        return key_id
