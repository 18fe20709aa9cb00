"""Ends the worker when its event loop does not turn: a handler that never returns stops everything else with it.

Guarantee: when nothing was run by the loop for `stall_seconds`, the process ends, and its last lines name the place.
Looks are counted, not seconds, so that a process that was frozen as a whole is not taken for a stuck one. Code that
does not even let other threads run (C code that keeps the interpreter's lock) is ended after five times as long, and so
is a process that was frozen for that long.
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

MOST_INTERVAL_SECONDS = 1.0
LOOKS = 10
BACKSTOP_TIMES = 5
EXIT_CODE = 1


class LoopWatchdog(Service):
    """The loop counts, a thread watches that it does."""

    def __init__(self, stall_seconds: float, log_format: LogFormat = "text") -> None:
        super().__init__()
        self._log_format = log_format
        self._stall_seconds = stall_seconds
        self._interval_seconds = min(stall_seconds / LOOKS, MOST_INTERVAL_SECONDS)
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
        seen, looks = self._turns, 0
        while not self._ended.wait(self._interval_seconds):
            looks = looks + 1 if self._turns == seen else 0
            seen = self._turns
            if looks * self._interval_seconds >= self._stall_seconds:
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
