"""The keys of a worker that are in use, kept in memory: a request costs no query, and an outage stops no known client.

Guarantees: what is known of a key was read at most FRESH_SECONDS ago, or AWAY_SECONDS longer while PostgreSQL is away.
A change that is heard of (`forget`) takes effect with the next request, also if a query was in flight. Ids that
nobody has cost at most one query at a time and one each PAUSE_SECONDS, and a bounded amount of memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TypeVar

from headrace.access.caller import Caller
from tables.access import keys
from tables.access.keys import KnownKey
from tables.database import AnyConnection, Database, is_away

FRESH_SECONDS = 30.0
AWAY_SECONDS = 300.0
RETRY_SECONDS = 1.0
"""Between two attempts to look up a key again while PostgreSQL is away; meanwhile no request waits for it."""
UNKNOWN_SECONDS = 5.0
LOOK_UP_SECONDS = 2.0
PAUSE_SECONDS = 0.01
USE_SECONDS = 60.0
"""A use is written at most this often for each key."""
MOST_KEYS = 10_000
MOST_UNKNOWN = 10_000
MOST_CHANGES = 1_000

Value = TypeVar("Value")


class HeldKey:
    """A key in memory. Times are those of `time.monotonic`."""

    __slots__ = (
        "caller",
        "confirmed_at",
        "ends_at",
        "fresh_until",
        "hash",
        "is_revoked",
        "used_at",
        "written_at",
    )

    def __init__(self, found: KnownKey, now: float) -> None:
        self.used_at = self.written_at = float("-inf")
        self.confirm(found, now)

    def confirm(self, found: KnownKey, now: float) -> None:
        """Take over what was just read."""
        self.caller: Caller = found.caller
        self.hash = found.hash
        self.is_revoked = found.is_revoked
        self.ends_at = float("-inf") if found.is_revoked else now + found.seconds_left
        self.confirmed_at = now
        self.fresh_until = now + FRESH_SECONDS

    def use(self, now: float) -> Caller | None:
        """Who uses the key now, which is noted; None if it has expired or was revoked."""
        if now >= self.ends_at:
            return None
        self.used_at = now
        return self.caller


class KeyCache:
    """Looks up keys by id, and remembers them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, HeldKey] = {}
        self.held = self._held.get
        """The key with this id, if it is in memory; its times say whether it can be relied on."""
        self._by_text: dict[str, HeldKey] = {}
        self.held_by_text = self._by_text.get
        """The same, by a text that was compared with the hash since keys were last read or changed."""
        self._unknown: dict[str, float] = {}
        """Ids that nobody has, and until when that is believed."""
        self._changed: dict[str, float] = {}
        """When a change was heard of: what was asked before that may be out of date."""
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> HeldKey | None:
        """The key, perhaps expired or revoked; None if nobody has this id.

        Raises an error that `is_away` accepts if PostgreSQL is away and the key was not known, or for too long.
        """
        key, now = self._held.get(key_id), monotonic()
        if key is not None and now < key.fresh_until:
            return key
        if key is None and self._unknown.get(key_id, now) > now:
            return None
        try:
            await self._look_up(key_id)
        except Exception as error:
            key, now = self._held.get(key_id), monotonic()
            if not is_away(error) or key is None or now > key.confirmed_at + FRESH_SECONDS + AWAY_SECONDS:
                raise
            key.fresh_until = now + RETRY_SECONDS
            return key
        return self._held.get(key_id)

    def note_text(self, key: HeldKey, text: str) -> None:
        """The text has the hash of the key, which is in memory."""
        self._by_text[text] = key

    def forget(self, key_id: str) -> None:
        """The key was made or changed: read it before it is used again."""
        self._by_text.clear()
        self._held.pop(key_id, None)
        self._unknown.pop(key_id, None)
        self._changed[key_id] = monotonic()
        _bound(self._changed, MOST_CHANGES)

    async def refresh(self, connection: AnyConnection) -> None:
        """Read again all keys in memory."""
        asked_at, ids = monotonic(), list(self._held)
        self._learn(ids, await keys.find(connection, ids), asked_at)

    async def write_uses(self, connection: AnyConnection) -> None:
        """Note in the database when keys were last used, for each at most once in USE_SECONDS."""
        now = monotonic()
        used = {
            key_id: key
            for key_id, key in self._held.items()
            if key.used_at > key.written_at and now - key.written_at > USE_SECONDS
        }
        if used:
            await keys.write_uses(connection, {key_id: now - key.used_at for key_id, key in used.items()})
        for key in used.values():
            key.written_at = now

    async def _look_up(self, key_id: str) -> None:
        """Wait for the next query: those that wait together share it."""
        if key_id not in self._waiting:
            self._waiting[key_id] = asyncio.get_running_loop().create_future()
        future = self._waiting[key_id]
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        await asyncio.shield(future)

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                await self._ask_for(batch)
        finally:
            self._asking = None

    async def _ask_for(self, batch: Mapping[str, asyncio.Future[None]]) -> None:
        asked_at = monotonic()
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS), self._database.acquire("rows") as connection:
                found = await keys.find(connection, list(batch))
        except Exception as error:  # noqa: BLE001 - whatever it is: those that wait raise it
            for future in batch.values():
                future.set_exception(error)
                future.exception()  # there may be nobody left to raise it
            return
        outdated = self._learn(batch, found, asked_at)
        for key_id, future in batch.items():
            if key_id in outdated and key_id not in self._waiting:
                self._waiting[key_id] = future
            else:
                future.set_result(None)
        if len(found) < len(batch):
            await asyncio.sleep(PAUSE_SECONDS)

    def _learn(self, ids: Iterable[str], found: Mapping[str, KnownKey], asked_at: float) -> set[str]:
        """Remember what was found for these ids; return those that have changed since it was asked."""
        now, outdated = monotonic(), set()
        self._by_text.clear()
        for key_id in ids:
            if self._changed.get(key_id, float("-inf")) >= asked_at:
                outdated.add(key_id)
            elif key_id not in found:
                self._held.pop(key_id, None)
                self._unknown[key_id] = now + UNKNOWN_SECONDS
            elif key_id in self._held:
                self._held[key_id].confirm(found[key_id], asked_at)
            else:
                self._held[key_id] = HeldKey(found[key_id], asked_at)
        _bound(self._held, MOST_KEYS)
        _bound(self._unknown, MOST_UNKNOWN)
        return outdated


def _bound(remembered: dict[str, Value], most: int) -> None:
    while len(remembered) > most:
        del remembered[next(iter(remembered))]
