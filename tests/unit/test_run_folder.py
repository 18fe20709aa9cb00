"""What is left of a run of the tests in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.run_folder import clear

SLEEPING = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")


@pytest.mark.parametrize("how", ["argument", "setting"])
def test_what_runs_in_the_folder_is_ended_with_the_run(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    arguments = (str(folder / "data"),) if how == "argument" else ()
    settings = {"DATABASE_URL": f"postgresql://?host={folder}/postgres"} if how == "setting" else {}
    ours = subprocess.Popen([*SLEEPING, *arguments], env={**os.environ, **settings}, stdout=subprocess.PIPE)
    other = subprocess.Popen([*SLEEPING, f"{folder}-of-another-run/data"], stdout=subprocess.PIPE)
    for process in (ours, other):
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
    watched = psutil.Process(ours.pid)
    try:
        clear(folder)
        assert not watched.is_running()
        assert not folder.exists()
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()
