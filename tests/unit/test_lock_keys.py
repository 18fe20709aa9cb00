"""No two advisory locks have one number, wherever it is written: in LockKey or in the functions of the database."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tables.lock_keys import LockKey
from tables.migrate import migrations

ROOT = Path(__file__).parents[2]
PER_INSTALLATION = 1_000_000_000
"""Modulo this, a LockKey is the first number of a lock of two numbers."""
LOCK = re.compile(r"pg_(?:try_)?advisory_(?:xact_)?(?:un)?lock(?:_shared)?\s*\(\s*([^),]*)")
FUNCTION = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (\w+).*?\$\$(.*?)\$\$", re.DOTALL)


def functions() -> dict[str, str]:
    """The functions of the database as they are after all migrations: the last definition of a name counts."""
    return {name: body for one in migrations() for name, body in FUNCTION.findall(one.sql)}


def keys_in(text: str) -> list[str]:
    return [key.strip() for key in LOCK.findall(text)]


def test_no_function_of_the_database_locks_a_number_of_another_lock() -> None:
    found = {name: keys_in(body) for name, body in functions().items()}
    numbers = Counter(int(key.replace("_", "")) % PER_INSTALLATION for keys in found.values() for key in set(keys))
    numbers.update(key % PER_INSTALLATION for key in LockKey)
    assert [number for number, times in numbers.items() if times > 1] == [], found
    assert len(numbers) == len(LockKey) + 1, "a lock of a function was not found"


def test_migrations_lock_in_functions_alone() -> None:
    for one in migrations():
        bodies = "".join(body for _, body in FUNCTION.findall(one.sql))
        assert len(keys_in(one.sql)) == len(keys_in(bodies)), one.name


def test_python_locks_nothing_but_lock_keys() -> None:
    for file in sorted((ROOT / "tables").rglob("*.py")):
        assert [key for key in keys_in(file.read_text()) if not key.startswith(("$1", "{OF_SCHEMA}"))] == [], file
    for folder in ("agents", "app", "headrace", "web"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            assert keys_in(file.read_text()) == [], file
