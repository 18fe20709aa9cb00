"""Tests whose programs are missing are skipped, and the summary says in one line what to install; in CI they fail.

tests/conftest.py registers this module.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REASON = "not installed: "
SCRIPT = "scripts/install_test_packages.sh"
# Names of Debian packages.
BY_SCRIPT = ("faketime", "mosquitto", "mosquitto-clients", "postgresql")


def skip_without(*missing: str) -> NoReturn:
    """Skip the test, for these are not installed; fail it in CI, which installs them."""
    reason = REASON + ", ".join(missing)
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; see {SCRIPT}")
    pytest.skip(reason)


def summary(reasons: list[str]) -> str:
    """The line for tests that were skipped for these reasons; empty when nothing is missing."""
    lacking = [reason.partition(REASON)[2].split(", ") for reason in reasons if REASON in reason]
    names = sorted({name for found in lacking for name in found})
    if not names:
        return ""
    by_script = [name for name in names if name in BY_SCRIPT]
    how = f" ({SCRIPT} installs {', '.join(by_script)})" if by_script else ""
    return f"Not installed: {', '.join(names)}{how}. Tests skipped for it: {len(lacking)}."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What to install, so that nothing is skipped."""
    skipped = terminalreporter.stats.get("skipped", [])
    line = summary([str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)])
    if line:
        terminalreporter.write_line(line, yellow=True)
