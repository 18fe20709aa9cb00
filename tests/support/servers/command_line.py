"""Commands of `faust -A app`, as an operator runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.servers.worker_process import ROOT


def command(
    *arguments: str,
    settings: Mapping[str, str],
    source: Path = ROOT,
    stdin: int | None = None,
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `faust -A app` with these arguments in a checkout, until it ends; `settings` are its whole environment."""
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "app", *arguments],
        cwd=source,
        env=settings,
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
