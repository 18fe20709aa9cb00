"""What a caller may do: scopes, of which each route needs one."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """A kind of request; no scope includes another."""

    WRITE = "write"
    """Post events."""
    READ = "read"
    """Read projections."""
    OPERATE = "operate"
    """Parked events, dead letters, rebuilds."""
    AUDIT = "audit"
    """Read the audit log."""
    METRICS = "metrics"
    """Metrics and the state of dependencies."""
    ADMIN = "admin"
    """Keys; also what METRICS allows."""


ALL_SCOPES = frozenset(Scope)
