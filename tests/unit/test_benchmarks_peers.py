"""The peers run in an environment of their own; where it is missing, the one who runs the benchmarks is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import StartError

from benchmarks import peer_environment
from benchmarks.results import locked_versions
from benchmarks.textbook import PARTS


def test_a_missing_environment_is_told_with_what_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_environment, "ENVIRONMENT", tmp_path)
    with pytest.raises(StartError, match="make bench"):
        peer_environment.peer_python("quix_fold.py")


def test_the_versions_of_the_peers_are_told_from_their_lock() -> None:
    requirements = "anyio==4.16.0 \\\n    --hash=sha256:1\nfastapi==0.165.0 \\\n    --hash=sha256:2\n    # via x==1\n"
    assert locked_versions(requirements, ["fastapi"]) == {"fastapi": "0.165.0"}


@pytest.mark.parametrize("script", [*PARTS.values(), "quix_fold.py"])
def test_every_peer_is_there(script: str) -> None:
    assert (peer_environment.PEERS / script).is_file()
