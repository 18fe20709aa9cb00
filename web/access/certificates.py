"""Who sends a request, by the certificate that the client has shown (mTLS)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from headrace.access.caller import Caller
from tables.database import is_away
from web.server.connections import Connection

KINDS = (("URI", "uri"), ("DNS", "dns"), ("email", "email"))
"""Which subject alternative name counts: the first of the first kind that the certificate has."""
MAX_CHARACTERS = 1_024
KNOWN_SECONDS = 30.0
AWAY_SECONDS = 300.0
"""What was known is valid for longer while PostgreSQL is away."""
MOST_KNOWN = 10_000

LookUp = Callable[[str], Awaitable[Caller | None]]


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


class _Known(NamedTuple):
    caller: Caller
    since: float


class CertificateVerifier:
    """Finds who has the certificate with a name; the same shape as `web.access.credentials.Verifier`."""

    def __init__(self, look_up: LookUp, clock: Callable[[], float] = time.monotonic) -> None:
        """`look_up`: the caller whose key row has this name as its certificate, or None.

        It may raise an error that `tables.database.is_away` accepts.
        """
        self._look_up = look_up
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._times_forgotten = 0

    def is_meant(self, identity: str) -> bool:
        """Whether this is the name of a certificate, as `peer_identity` returns it."""
        return identity.startswith(("uri:", "dns:", "email:"))

    def known(self, identity: str) -> Caller | None:
        """The caller if that is known without a query."""
        known = self._known.get(identity)
        return known.caller if known is not None and self._clock() - known.since < KNOWN_SECONDS else None

    async def caller(self, identity: str) -> Caller | None:
        """The caller; None if no valid key has this name.

        Raises an error that `tables.database.is_away` accepts when nobody can tell now.
        """
        if (caller := self.known(identity)) is not None:
            return caller
        times_forgotten = self._times_forgotten
        try:
            caller = await self._look_up(identity)
        except Exception as error:
            known = self._known.get(identity)
            if known is not None and is_away(error) and self._clock() - known.since < AWAY_SECONDS:
                return known.caller
            raise
        self._known.pop(identity, None)
        if caller is not None and times_forgotten == self._times_forgotten:
            while len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[identity] = _Known(caller, self._clock())
        return caller

    def forget(self) -> None:
        """Ask again for everybody: a key was revoked or changed."""
        self._times_forgotten += 1
        self._known.clear()
