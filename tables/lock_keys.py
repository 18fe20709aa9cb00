"""The keys of the advisory locks, chosen to be unlikely to collide with other software in the database."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class LockKey(IntEnum):
    """An advisory lock. All keys are here, so that no two are equal."""

    MIGRATE = 4_852_736_001
    RELAY = 4_852_736_002
    FIELD_INDEXES = 4_852_736_003
    DISK_IS_FULL = 4_852_736_004
