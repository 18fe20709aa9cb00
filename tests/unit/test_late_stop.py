"""The deadline of an orderly stop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Somebody holds the lock of the log's handlers for good, as one does who writes to a full pipe.
STUCK = """
import logging
import threading
from types import SimpleNamespace
from app.worker.faust_app import Headrace

def hold():
    with handler.lock:
        held.set()
        threading.Event().wait()

handler, held = logging.StreamHandler(), threading.Event()
logging.getLogger().addHandler(handler)
threading.Thread(target=hold, daemon=True).start()
held.wait()
Headrace._end_at_once(SimpleNamespace(_shutdown_seconds=8.0))
"""


def test_a_log_that_is_stuck_does_not_hold_up_the_end() -> None:
    command = [sys.executable, "-c", STUCK]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 1
