"""Headrace. `faust -A app worker` finds the Faust app here; it is created on first access."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from headrace.errors import InvalidProjectionError


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Faust has the folder of `app` on the path only while it imports `app` itself.
    root = str(Path(__file__).parents[1])
    if root not in sys.path:
        sys.path.append(root)
    # To import a part of the package must not create the whole app.
    try:
        from app.main import app  # noqa: PLC0415
    except InvalidProjectionError as error:
        from app.worker.faust_app import refuse  # noqa: PLC0415

        refuse(error)
    return app
