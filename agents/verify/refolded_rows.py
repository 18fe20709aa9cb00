"""The rows that `verify` folds, in a temporary SQLite file, so that memory use does not grow with their number."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

CREATE = """
CREATE TABLE folded (
    projection TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (projection, key)
) WITHOUT ROWID
"""
# Fast and without durability: the file is useless after a crash.
PRAGMAS = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -65536")
READ = "SELECT state, position FROM folded WHERE projection = ? AND key = ?"
WRITE = "INSERT OR REPLACE INTO folded (projection, key, state, position) VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM folded WHERE projection = ? AND key = ?"
# The default BINARY collation compares UTF-8 bytes, like COLLATE "C" in PostgreSQL.
IN_ORDER = "SELECT key, state, position FROM folded WHERE projection = ? ORDER BY key"


class FoldedRow(NamedTuple):
    """The row that a projection should have."""

    key: str
    state: str
    position: int


class FoldedRows:
    """A context manager for the file, which lies in the folder for temporary files (TMPDIR)."""

    def __enter__(self) -> FoldedRows:
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-verify-")
        self._rows = sqlite3.connect(Path(self._folder.name) / "rows", isolation_level=None)
        for pragma in PRAGMAS:
            self._rows.execute(pragma)
        self._rows.execute(CREATE)
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()
        self._folder.cleanup()

    def read(self, projection: str, keys: Iterable[str]) -> dict[str, FoldedRow]:
        """The existing rows of these keys, by key."""
        found = {}
        for key in keys:
            row = self._rows.execute(READ, (projection, key)).fetchone()
            if row is not None:
                found[key] = FoldedRow(key, *row)
        return found

    def write(self, projection: str, rows: Sequence[FoldedRow], gone: Sequence[str]) -> None:
        """Insert or replace these rows, and delete the keys in `gone`."""
        self._rows.execute("BEGIN")
        self._rows.executemany(WRITE, [(projection, *row) for row in rows])
        self._rows.executemany(DELETE, [(projection, key) for key in gone])
        self._rows.execute("COMMIT")

    def in_order(self, projection: str) -> Iterator[FoldedRow]:
        """All rows of a projection, in order of the UTF-8 bytes of their keys."""
        for row in self._rows.execute(IN_ORDER, (projection,)):
            yield FoldedRow(*row)
