"""Headrace's errors. The docstring of each class is its default message."""

from __future__ import annotations


class HeadraceError(Exception):
    """Headrace could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidSettingError(HeadraceError):
    """A setting has a value that is not allowed."""


class DependencyAwayError(HeadraceError):
    """A required server does not answer; the same request may succeed later."""


class StartError(HeadraceError):
    """The worker cannot start."""


class UnknownProjectionError(HeadraceError):
    """There is no projection of this name."""


class InvalidProjectionError(HeadraceError, ValueError):
    """A projection is declared in a way that cannot work."""
