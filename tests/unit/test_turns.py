"""Turns of tests in several processes."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.turns import turn

SECONDS = 20.0


class Other(threading.Thread):
    """A test of another process; it runs until it is ended."""

    def __init__(self, folder: Path, *, alone: bool) -> None:
        super().__init__(daemon=True)
        self.runs = threading.Event()
        self.is_over = threading.Event()
        self._turn = turn(folder, alone=alone)

    def run(self) -> None:
        with self._turn:
            self.runs.set()
            self.is_over.wait(SECONDS)

    def end(self) -> None:
        self.is_over.set()
        self.join(SECONDS)


def test_tests_run_beside_each_other(tmp_path: Path) -> None:
    other = Other(tmp_path, alone=False)
    with turn(tmp_path, alone=False):
        other.start()
        assert other.runs.wait(SECONDS)
        other.end()


def test_nothing_runs_beside_a_test_that_is_alone(tmp_path: Path) -> None:
    others = [Other(tmp_path, alone=alone) for alone in (False, True)]
    with turn(tmp_path, alone=True):
        for other in others:
            other.start()
        assert not any(other.runs.wait(0.05) for other in others)
        for other in others:  # which of the two runs first is not said
            other.is_over.set()
    for other in others:
        assert other.runs.wait(SECONDS)
        other.end()


def test_who_waits_to_be_alone_is_not_overtaken(tmp_path: Path) -> None:
    first, alone, late = (Other(tmp_path, alone=alone) for alone in (False, True, False))
    first.start()
    assert first.runs.wait(SECONDS)
    alone.start()
    assert not alone.runs.wait(0.05)
    late.start()
    assert not late.runs.wait(0.05)
    first.end()
    assert alone.runs.wait(SECONDS)
    assert not late.runs.is_set()
    alone.end()
    assert late.runs.wait(SECONDS)
    late.end()
