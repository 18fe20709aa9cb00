"""The keys of tokens as they are known now: when they are read again, and how long old keys are used."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from math import inf

from headrace.errors import TokenKeysAwayError
from headrace.process.action_log import ActionLog, in_words
from headrace.process.log_actions import LogAction
from headrace.process.throttled_log import ThrottledLog
from web.access.key_set import KeySet, SigningKey, read_key_set
from web.access.key_sources import KeySource

READ_SECONDS = 3.0
STALE_SECONDS = 24 * 3600.0
"""How long keys are used while newer keys cannot be read."""
MISSING_PAUSE_SECONDS = 5.0
"""The least time between two reads while there are no keys."""
_MAX_REASON = 500

log = ActionLog(__name__)


class TokenKeys:
    """The keys of a source. Any number of requests that need them share one read."""

    def __init__(
        self,
        source: KeySource,
        algorithms: frozenset[str],
        *,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """After `refresh_seconds` keys are read again beside requests; after twice that time requests wait for it."""
        self._source = source
        self._algorithms = algorithms
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._keys: KeySet | None = None
        self._read_at = -inf
        self._tried_at = -inf
        self._failure = "not read yet"
        self._throttled = ThrottledLog(log)
        self._reading: asyncio.Task[None] | None = None
        self.version = 0
        """Counts the changes of the keys: what was verified with an earlier version may no longer be valid."""

    def start(self) -> None:
        """Begin to read, so that the first request finds the keys, and the log says what is wrong with them."""
        if self._reading is None:
            self._tried_at = self._clock()
            self._reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """End a read that is in flight."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """The key of a token; None if there is none. Raises TokenKeysAwayError if that cannot be known now."""
        keys = await self._current()
        if not keys.has(kid):
            await self._read_again()
            keys = self._keys or keys
            if not keys.has(kid) and self._failure:
                raise TokenKeysAwayError
        return keys.find(kid, algorithm)

    async def _current(self) -> KeySet:
        age = self._clock() - self._read_at
        if age >= 2 * self._refresh_seconds or self._source.has_changed():
            await self._read_again()
        elif age >= self._refresh_seconds and self._may_try():
            self.start()
        if self._keys is None or self._clock() - self._read_at >= STALE_SECONDS:
            raise TokenKeysAwayError
        return self._keys

    def _may_try(self) -> bool:
        pause = self._source.pause_seconds
        if self._keys is None:
            pause = min(pause, MISSING_PAUSE_SECONDS)
        return self._clock() - self._tried_at >= pause

    async def _read_again(self) -> None:
        """Wait for a read, unless the last was begun so recently that another is not allowed yet."""
        if self._may_try():
            self.start()
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await self._source.read()
            # Many keys take milliseconds.
            found = await asyncio.to_thread(read_key_set, body, self._algorithms)
        except TimeoutError:
            self._note_failure(f"no answer within {READ_SECONDS:.0f} s")
        except Exception as error:  # noqa: BLE001 - whatever the source answers: the keys that are known remain
            self._note_failure(in_words(error))
        else:
            self._accept(found)
        finally:
            self._reading = None

    def _note_failure(self, reason: str) -> None:
        self._failure = reason
        text = "The keys of tokens cannot be read from {source}: {error}"
        self._throttled.warning(LogAction.TOKEN_KEYS_UNAVAILABLE, text, source=self._source.name, error=reason)

    def _accept(self, found: KeySet) -> None:
        self._failure = ""
        self._read_at = self._clock()
        if found == self._keys:
            return
        self._keys = found
        self.version += 1
        source = self._source.name
        log.info(
            LogAction.TOKEN_KEYS_READ, "{keys} keys of {source} verify tokens", keys=len(found.keys), source=source
        )
        wrong = [key for key in found.ignored if not key.is_expected or not found.keys]
        if wrong or not found.keys:
            reason = "; ".join(f"{key.name}: {key.reason}" for key in wrong)[:_MAX_REASON] or "it has none"
            text = "Keys of {source} are ignored: {reason}"
            log.warning(LogAction.TOKEN_KEYS_IGNORED, text, source=source, reason=reason)
