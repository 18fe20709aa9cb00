"""Headrace. `faust -A app worker` finds the Faust app here; it is made when it is asked for."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "app":
        from app.main import app  # noqa: PLC0415 - importing a part of the package must not make the whole app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
