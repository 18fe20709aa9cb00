"""Every fuzz test again, for ten minutes instead of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_fuzz_*.py"))
SECONDS = 3_600.0


@pytest.mark.faults
@pytest.mark.slow_faults
@pytest.mark.parametrize("path", TESTS)
def test_ten_times_as_many_examples_find_nothing(path: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_PROFILE": "thorough"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-8_000:]
