"""What other languages have to say: Node and Go with packages from a lock, in a folder that goes with the run."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.support.not_installed import skip_without

FOREIGN = Path(__file__).parents[2] / "foreign"
SECONDS = 900.0
"""A first build of Go compiles its library."""


@cache
def node_folder() -> Path:
    """A folder where `node FILE` finds the packages of tests/foreign/package-lock.json."""
    _require("node", "npm")
    folder = _copy()
    _run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    return folder


@cache
def go_program() -> Path:
    """The program that tests/foreign/send.go becomes."""
    _require("go")
    folder = _copy()
    _run(folder, "go", "build", "-mod=readonly", "-o", "send", "send.go")
    return folder / "send"


def _require(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        skip_without(*missing)


def _copy() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="headrace-foreign-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(FOREIGN, folder, dirs_exist_ok=True)
    return folder


def _run(folder: Path, *command: str) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}: {ended.stderr or ended.stdout}"
