"""The folder of a run in several processes: whatever runs in it is ended with the run, also with one that is cut short.

pytest-xdist kills its processes some seconds after Ctrl-C or the end of `-x`, and their servers would stay.
tests/conftest.py registers this module.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support.servers.fresh import RUN, quick_folder

GONE_SECONDS = 10.0


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """In the process that starts the others: make the folder, on the disk and in memory, and tell them its name."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        on_disk = Path(tempfile.mkdtemp(prefix="headrace-run-"))
        folders = [on_disk, *([memory / on_disk.name] if (memory := quick_folder()) else [])]
        for folder in folders:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)  # PostgreSQL may be another user
        os.environ[RUN] = on_disk.name

        def end() -> None:
            del os.environ[RUN]
            for folder in folders:
                clear(folder)

        config.add_cleanup(end)


def clear(folder: Path) -> None:
    """End what was started in this folder, or with it in its settings, and remove the folder."""
    left = [process for process in psutil.process_iter() if process.pid != os.getpid() and _mentions(process, folder)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=GONE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def _mentions(process: psutil.Process, folder: Path) -> bool:
    name = f"{folder}{os.sep}"
    try:
        return any(name in text for text in (*process.cmdline(), *process.environ().values()))
    except psutil.Error:
        return False  # another user's, or gone
