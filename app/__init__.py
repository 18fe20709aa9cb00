"""Headrace. `faust -A app worker` finds the Faust app here; it is created on first access."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Faust has the folder of `app` on the path only while it imports `app` itself.
    root = str(Path(__file__).parents[1])
    if root not in sys.path:
        sys.path.append(root)
    from app.main import app  # noqa: PLC0415 - to import a part of the package must not create the whole app

    return app
