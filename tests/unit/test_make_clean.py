"""`make clean` keeps the events; `make clean-data` removes them only after a yes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which a worker has run."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for file in (".venv/bin/faust", ".headrace/postgres/PG_VERSION", ".headrace/bench/venv/bench.done"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    return tmp_path


def make(checkout: Path, target: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", target],
        cwd=checkout,
        env=environment,
        input=answer,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_clean_removes_what_was_installed_and_keeps_the_data(checkout: Path) -> None:
    assert make(checkout, "clean").returncode == 0
    assert sorted(one.name for one in checkout.iterdir()) == [".headrace", "Makefile"]
    assert [one.name for one in (checkout / ".headrace").iterdir()] == ["postgres"]


@pytest.mark.parametrize("answer", ["", "\n", "no\n", "y\n", "yes please\n"])
def test_without_a_yes_the_data_stays(checkout: Path, answer: str) -> None:
    ended = make(checkout, "clean-data", answer)
    assert ended.returncode != 0
    assert "Nothing was removed." in ended.stderr
    assert (checkout / ".headrace" / "postgres" / "PG_VERSION").exists()


def test_with_a_yes_the_data_is_removed_and_nothing_else(checkout: Path) -> None:
    ended = make(checkout, "clean-data", "yes\n")
    assert ended.returncode == 0, ended.stderr
    assert sorted(one.name for one in checkout.iterdir()) == [".venv", "Makefile"]
    assert make(checkout, "clean-data").stdout == "There is no .headrace.\n"


def test_the_data_of_a_server_that_runs_stays(checkout: Path) -> None:
    (checkout / ".headrace" / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    ended = make(checkout, "clean-data", "yes\n")
    assert ended.returncode != 0
    assert f"pid {os.getpid()}" in ended.stderr
    assert (checkout / ".headrace" / "postgres").exists()
