"""Ends the worker when its event loop is blocked, because a handler that never returns stops everything else.

Guarantee: if the loop has run nothing for `stall_seconds`, the process ends, and its last lines name the place in the
code. Checks are counted, not seconds, so that a process that was suspended is not mistaken for a blocked one. C code
that holds the interpreter's lock also blocks the watchdog's thread: then the process ends after five times as long.
A process that was suspended for that long ends too.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import traceback

from mode import Service

from app.worker.log_formats import LogFormat, last_line

MAX_INTERVAL_SECONDS = 1.0
CHECKS = 10
BACKSTOP_TIMES = 5
EXIT_CODE = 1


class LoopWatchdog(Service):
    """The loop increments a counter; a thread checks that the counter changes."""

    def __init__(self, stall_seconds: float, log_format: LogFormat = "text") -> None:
        super().__init__()
        self._log_format = log_format
        self._stall_seconds = stall_seconds
        self._interval_seconds = min(stall_seconds / CHECKS, MAX_INTERVAL_SECONDS)
        self._turns = 0
        self._ended = threading.Event()
        self._loop_thread = threading.get_ident()

    async def on_start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._ended.clear()
        threading.Thread(target=self._watch, name="loop watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._ended.set()
        faulthandler.cancel_dump_traceback_later()

    @Service.task
    async def _turn(self) -> None:
        while not self.should_stop:
            self._turns += 1
            faulthandler.dump_traceback_later(self._stall_seconds * BACKSTOP_TIMES, exit=True)
            await asyncio.sleep(self._interval_seconds)

    def _watch(self) -> None:
        seen, unchanged = self._turns, 0
        while not self._ended.wait(self._interval_seconds):
            unchanged = unchanged + 1 if self._turns == seen else 0
            seen = self._turns
            if unchanged * self._interval_seconds >= self._stall_seconds:
                self._end()

    def _end(self) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        place = "".join(traceback.format_stack(frame)) if frame else "nobody knows where\n"
        text = (
            f"Nothing else has run in this worker for {self._stall_seconds:g} s; it is stuck in the place above "
            "(the last line) and ends."
        )
        # Past the handlers, because the loop may be stuck in one.
        sys.stderr.write(last_line(self._log_format, text, place))
        sys.stderr.flush()
        os._exit(EXIT_CODE)
