"""The variables that settings are read from: those of `.env`, overridden by those of the process."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dotenv import dotenv_values


def environment() -> Mapping[str, str]:
    """All variables, ours and others."""
    from_file = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return {**from_file, **os.environ}
