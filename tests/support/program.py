"""Programs that must succeed."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path


async def output_of(
    *command: str | Path,
    seconds: float,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
    with_complaints: bool = False,
) -> bytes:
    """What a program prints, `with_complaints` also on standard error; AssertionError with these when it fails."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=folder, env=settings, stdout=PIPE, stderr=STDOUT if with_complaints else PIPE
    )
    try:
        async with asyncio.timeout(seconds):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, (printed if with_complaints else complaints).decode()
    return printed
