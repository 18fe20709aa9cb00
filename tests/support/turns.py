"""Turns of the processes of pytest-xdist: while a test that is marked `alone` runs, the others start none.

tests/conftest.py registers this module. Without pytest-xdist there is one process, and nothing to wait for.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.servers.fresh import RUN


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait until a test may run, alone or beside others. A test that waits to be alone lets no other pass."""
    with (folder / "room").open("w") as room:
        with (folder / "door").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold the turn from a test's setup to its teardown."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with turn(Path(tempfile.gettempdir()) / os.environ[RUN], alone=item.get_closest_marker("alone") is not None):
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that run alone come last, and with them the others of their file, so that the processes share the rest."""
    alone = {item.path for item in items if item.get_closest_marker("alone") and not item.get_closest_marker("faults")}
    items.sort(
        key=lambda item: (
            item.path in alone or bool(item.get_closest_marker("faults") and item.get_closest_marker("alone"))
        )
    )
