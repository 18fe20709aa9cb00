"""Logging with an action and fields: the text of a line is made from its fields, so that both say the same.

log = ActionLog(__name__)
log.info(LogAction.MIGRATION_APPLIED, "Applied migration {migration}", migration=name)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from headrace.process.log_actions import LogAction

Field = str | int | float | bool | Mapping[str, int] | None


class ActionLog:
    """Writes to the logger of a module. `text` is a template of `str.format`, filled from the fields alone.

    A field that is None is left out of the line's fields."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(name)

    def info(self, action: LogAction, text: str, /, **fields: object) -> None:
        """What an operator may want to know."""
        self._write(logging.INFO, action, text, fields)

    def warning(self, action: LogAction, text: str, /, **fields: object) -> None:
        """What an operator may have to act on."""
        self._write(logging.WARNING, action, text, fields)

    def error(self, action: LogAction, text: str, /, **fields: object) -> None:
        """What does not work."""
        self._write(logging.ERROR, action, text, fields)

    def exception(self, action: LogAction, text: str, error: BaseException, /, **fields: object) -> None:
        """What failed unexpectedly, with the traceback of `error`."""
        self._write(logging.ERROR, action, text, fields, error)

    def _write(
        self,
        level: int,
        action: LogAction,
        text: str,
        fields: Mapping[str, object],
        raised: BaseException | None = None,
    ) -> None:
        if self._log.isEnabledFor(level):
            shown = {name: _as_field(value) for name, value in fields.items()}
            extra = {"action": action, "fields": {name: value for name, value in shown.items() if value is not None}}
            self._log.log(level, text.format_map(shown), exc_info=raised, extra=extra, stacklevel=3)


def in_words(error: BaseException) -> str:
    """The kind of an error and what it says, which may be nothing."""
    name, text = type(error).__name__, str(error)
    return text if name in text else f"{name}: {text}".removesuffix(": ")


def _as_field(value: object) -> Field:
    if isinstance(value, BaseException):
        return in_words(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such number
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): int(number) for name, number in value.items()}
    return str(value)
