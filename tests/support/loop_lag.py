"""How long an event loop is held: in processor time, so that other programs on the machine hardly count.

Programs on the other half of a core still make the same work take up to twice the processor time. So it is compared
with a reference that is measured at the same time.
"""

from __future__ import annotations

import asyncio
import json
from time import process_time, thread_time

MOST_LAG_SECONDS = 0.05
TEXT = json.dumps([{"a": number, "b": str(number)} for number in range(10_000)])
REFERENCE_SECONDS = 0.004
"""Of processor time, to read TEXT on a machine of 2026 that does nothing else."""


class LoopLag:
    """What happens between two turns of a ticker of a millisecond."""

    def __init__(self) -> None:
        self.own = 0.0
        """The longest time for which the thread of the loop worked between two turns; as on a quiet machine."""
        self.all = 0.0
        """The same for all threads of the process: one that keeps the interpreter's lock holds the loop too.

        A busy machine may run another thread of ours while the loop waits for a processor: measure repeatedly.
        """
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            own, of_all = thread_time(), process_time()
            await asyncio.sleep(0.001)
            self.own = max(self.own, thread_time() - own)
            self.all = max(self.all, process_time() - of_all)

    def end(self) -> LoopLag:
        """Stop measuring."""
        self._task.cancel()
        slowness = max(min(_reading_seconds() for _ in range(3)) / REFERENCE_SECONDS, 1.0)
        self.own /= slowness
        self.all /= slowness
        return self


def _reading_seconds() -> float:
    started = thread_time()
    json.loads(TEXT)
    return thread_time() - started
