"""A steady rate, come what may: nothing waits for the answer to what came before.

Times are seconds from when something was due, so that waiting for a free connection, or for this program, counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.client import KeepAlive, event, post
from benchmarks.wrk import RoundFailedError

CONNECTIONS = 32


async def at_rate(per_second: float, times: int, act: Callable[[int, float], Awaitable[None]]) -> None:
    """Call `act` with 0, 1, … and when it is due; return when all calls have. Raises RoundFailedError when one does."""
    start = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as acting:
            for number in range(times):
                due = start + number / per_second
                if (early := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early)
                acting.create_task(_one(act, number, due))
    except ExceptionGroup as errors:
        raise RoundFailedError(
            f"posting {per_second:.0f} events per second failed: {errors.exceptions[0]!r}"
        ) from errors


async def _one(act: Callable[[int, float], Awaitable[None]], number: int, due: float) -> None:
    await act(number, due)


def percentile_ms(seconds: list[float], percent: float) -> float:
    """The value that `percent` of them do not exceed, in milliseconds."""
    ordered = sorted(seconds)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Posting:
    """Posts events at a steady rate over a few connections."""

    def __init__(
        self,
        run: str,
        device_of: Callable[[int], str],
        posted: Callable[[int, float], None] = lambda _number, _due: None,
    ) -> None:
        """`posted` is called with the number of each event and the time at which it was due."""
        self.accepted: list[float] = []
        self.late: list[float] = []
        self._run = run
        self._device_of = device_of
        self._posted = posted
        self._free: asyncio.Queue[KeepAlive] = asyncio.Queue()

    async def run(self, port: int, events: int, *, per_second: float) -> None:
        """Post so many; returns when all are answered. Raises RoundFailedError when one is not answered 2xx."""
        connections = [await KeepAlive.connect(port) for _ in range(CONNECTIONS)]
        for connection in connections:
            self._free.put_nowait(connection)
        try:
            await at_rate(per_second, events, self._post)
        finally:
            for connection in connections:
                connection.close()

    async def _post(self, number: int, due: float) -> None:
        request = post(event(self._run, number, self._device_of(number)), "application/cloudevents+json")
        connection = await self._free.get()
        self.late.append(time.perf_counter() - due)
        self._posted(number, due)
        await connection.send(request)
        self.accepted.append(time.perf_counter() - due)
        self._free.put_nowait(connection)
