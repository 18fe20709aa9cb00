"""How clients of a test come in: with or without TLS, a key, a time-out."""

from __future__ import annotations

import ssl
from typing import NamedTuple

import aiohttp


class WayIn(NamedTuple):
    """What every session of these clients has."""

    key: str = ""
    """An API key; empty: none."""
    tls: ssl.SSLContext | None = None
    """None: plain HTTP."""

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def session(self, seconds: float | None = None) -> aiohttp.ClientSession:
        """A session whose requests take at most so long."""
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds),
            headers={"Authorization": f"Bearer {self.key}"} if self.key else {},
            connector=aiohttp.TCPConnector(ssl=True if self.tls is None else self.tls),
        )


PLAIN = WayIn()
