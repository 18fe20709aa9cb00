"""Whether what a setting names is a file."""

from __future__ import annotations

from pathlib import Path


def is_file(path: str) -> bool:
    """Whether there is a file; for a name that no file can have, `Path.is_file` raises OSError."""
    try:
        return Path(path).is_file()
    except OSError:
        return False
