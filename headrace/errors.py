"""Headrace's errors. The docstring of each class is its default message."""

from __future__ import annotations

from collections.abc import Sequence


class HeadraceError(Exception):
    """Headrace could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidSettingError(HeadraceError):
    """A setting has a value that is not allowed."""


class DependencyAwayError(HeadraceError):
    """A required server does not answer; the same request may succeed later."""


class TokenKeysAwayError(DependencyAwayError):
    """The keys that verify tokens cannot be read now."""


class StartError(HeadraceError):
    """The worker cannot start."""


class StartProblemsError(StartError):
    """The worker cannot start, for several reasons."""

    def __init__(self, problems: Sequence[str]) -> None:
        """`problems`: each says what is wrong, where, and what to do."""
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class UnknownProjectionError(HeadraceError):
    """There is no projection of this name."""


class InvalidProjectionError(HeadraceError, ValueError):
    """A projection is declared in a way that cannot work."""
