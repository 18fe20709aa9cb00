"""Programs that must succeed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.processes import finished


async def output_of(
    *command: str | Path, seconds: float, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> bytes:
    """What a program prints; AssertionError with that and its complaints when it fails."""
    ended = await finished(command, folder=folder, seconds=seconds, variables=variables)
    assert ended.code == 0, (ended.output + ended.complaints).decode()
    return ended.output
