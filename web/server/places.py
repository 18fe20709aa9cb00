"""How many connections a port and each of its clients have, from the moment they are accepted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from headrace.access.addresses import as_limited


class Places:
    """The places for connections: so many in all, and so many for one client."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken = 0
        self._by_remote: Counter[str] = Counter()

    def take(self, remote: str, *, is_of_many: bool = False) -> bool:
        """Take a place for a client; False if there is none. `is_of_many`: a proxy, which is no single client."""
        if self._taken >= self._most or (self._by_remote[remote] >= self._most_of_one and not is_of_many):
            return False
        self._taken += 1
        self._by_remote[remote] += 1
        return True

    def give_back(self, remote: str) -> None:
        """Free a place that was taken for a client."""
        self._taken -= 1
        self._by_remote[remote] -= 1
        if not self._by_remote[remote]:
            del self._by_remote[remote]


def remote_of(peer: Any) -> str:
    """The client of a connection; empty if the connection has no address, as of a Unix socket."""
    return as_limited(peer[0]) if isinstance(peer, tuple) else ""
