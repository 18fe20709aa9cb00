"""The advisory locks of the product: numbers that no one else in the database uses, each with one meaning."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class LockKey(IntEnum):
    """All of them in one place, so that no two are the same."""

    MIGRATE = 4_852_736_001
    RELAY = 4_852_736_002
    FIELD_INDEXES = 4_852_736_003
    DISK_IS_FULL = 4_852_736_004
