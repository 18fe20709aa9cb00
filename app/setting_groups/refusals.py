"""The error for a setting with a value that is not allowed."""

from __future__ import annotations

from app.secret_files import URLS
from headrace.errors import InvalidSettingError
from headrace.process.secrets import redacted


def refused(field: str, value: str, allowed: str) -> InvalidSettingError:
    """The error for a value that is not allowed. Of a URL it shows what is no secret."""
    shown = redacted(value) if field.upper() in URLS or "://" in value else value
    return InvalidSettingError(f"{field.upper()}={shown}: not allowed; allowed: {allowed}")
