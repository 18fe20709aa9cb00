"""The keys of the advisory locks, chosen to be unlikely to collide with other software in the database.

Advisory locks belong to a database, and a database may hold several installations, each in a schema of its own. So a
lock of an installation has two numbers: one of LockKey, without its first digit, and that of the schema.

Earlier versions lock the number alone, exclusively. Their workers may run beside ours during an upgrade, so whoever
holds a lock of an installation also holds that number, shared: it excludes them, and not other installations.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class LockKey(IntEnum):
    """An advisory lock. All keys are here, except those of triggers, so that no two are equal."""

    MIGRATE = 4_852_736_001
    RELAY = 4_852_736_002
    FIELD_INDEXES = 4_852_736_003
    DISK_IS_FULL = 4_852_736_004
    """Without a schema: all installations of a database share its disk."""
    API_KEYS = 4_852_736_018
    """Of those who make or rotate a key, the second sees what the first has made."""


OF_SCHEMA = """($1::bigint % 1000000000)::integer,
    (SELECT oid::integer FROM pg_namespace WHERE nspname = current_schema())"""
"""The two numbers of a lock of this installation; $1: a LockKey."""

TRY_LOCK = f"SELECT CASE WHEN pg_try_advisory_lock({OF_SCHEMA}) THEN pg_try_advisory_lock_shared($1) ELSE false END"
"""Until the session ends. May be repeated: what was acquired is acquired once more."""
UNLOCK = f"SELECT pg_advisory_unlock_shared($1), pg_advisory_unlock({OF_SCHEMA})"
LOCK = f"SELECT pg_advisory_xact_lock({OF_SCHEMA}), pg_advisory_xact_lock_shared($1)"
"""Waits for the lock, and holds it until the transaction ends."""
