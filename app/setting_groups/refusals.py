"""The error for a setting with a value that is not allowed."""

from __future__ import annotations

from app.secret_files import PASSWORDS, URLS
from headrace.errors import InvalidSettingError
from headrace.process.secrets import HIDDEN, redacted


def refused(field: str, value: str, allowed: str) -> InvalidSettingError:
    """The error for a value that is not allowed. It shows what is no secret."""
    return InvalidSettingError(f"{field.upper()}={shown_value(field, value)}: not allowed; allowed: {allowed}")


def shown_value(field: str, value: str) -> str:
    """What may be shown of the value of a setting."""
    if field.upper() in PASSWORDS and value:
        return HIDDEN
    return redacted(value) if (field.upper() in URLS and value != "off") or "://" in value else value
