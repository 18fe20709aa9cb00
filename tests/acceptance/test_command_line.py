"""Faust's command line as Headrace's: no option that does nothing, and the version of Headrace."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.servers.worker_process import ROOT, WorkerProcess

IGNORED = {
    "--without-web": [],
    "--web-port": ["6066"],
    "--web-bind": ["127.0.0.1"],
    "--web-host": ["localhost"],
    "--web-transport": ["tcp:"],
    "--logfile": ["worker.log"],
    "--loglevel": ["debug"],
}
IGNORED_BEFORE = {"--datadir": ["."], "--json": [], "--loglevel": ["debug"], "--quiet": [], "--loop": ["uvloop"]}


def faust(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "faust", *arguments],
        cwd=ROOT,
        env=WorkerProcess(tmp_path)._environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("option", IGNORED)
def test_an_option_of_the_worker_that_does_nothing_is_refused(tmp_path: Path, option: str) -> None:
    code, told = faust(tmp_path, "-A", "app", "worker", option, *IGNORED[option])
    assert code != 0
    assert "does nothing in Headrace" in told


@pytest.mark.parametrize("option", IGNORED_BEFORE)
def test_an_option_before_the_command_that_does_nothing_is_refused(tmp_path: Path, option: str) -> None:
    code, told = faust(tmp_path, "-A", "app", option, *IGNORED_BEFORE[option], "migrate")
    assert code != 0
    assert f"{option} does nothing in Headrace" in told


@pytest.mark.parametrize("command", [["worker"], []])
def test_the_help_has_no_option_that_does_nothing(tmp_path: Path, command: list[str]) -> None:
    code, told = faust(tmp_path, "-A", "app", *command, "--help")
    assert code == 0
    assert [option for option in IGNORED | IGNORED_BEFORE if option in told] == []
    assert [name for name in ("livecheck", "reset", "tables") if f"\n  {name} " in told] == []


def test_the_version_is_that_of_headrace(tmp_path: Path) -> None:
    code, told = faust(tmp_path, "-A", "app", "version")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (code, told.split(",")[0]) == (0, f"Headrace {wanted}")
