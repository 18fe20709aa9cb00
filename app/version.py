"""The version of Headrace and of Python."""

from __future__ import annotations

import platform

VERSION = "0.1.0"
"""A test compares it with pyproject.toml, which containers do not have."""


def python_version() -> str:
    """The version of Python, as 3.13.1."""
    return platform.python_version()
