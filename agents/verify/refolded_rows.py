"""Rows that `verify` folds: in a temporary SQLite file, so that memory stays small however many there are."""

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
# The file is worth nothing after a crash.
PRAGMAS = ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -65536")
READ = "SELECT state, position FROM folded WHERE projection = ? AND key = ?"
WRITE = "INSERT OR REPLACE INTO folded (projection, key, state, position) VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM folded WHERE projection = ? AND key = ?"
# BINARY collation: by bytes of UTF-8, as COLLATE "C" in PostgreSQL.
IN_ORDER = "SELECT key, state, position FROM folded WHERE projection = ? ORDER BY key"


class FoldedRow(NamedTuple):
    """A row as it should be."""

    key: str
    state: str
    position: int


class FoldedRows:
    """The file lasts as long as the context, in the folder for temporary files (TMPDIR)."""

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
        """Those of the rows that exist."""
        found = {}
        for key in keys:
            row = self._rows.execute(READ, (projection, key)).fetchone()
            if row is not None:
                found[key] = FoldedRow(key, *row)
        return found

    def write(self, projection: str, rows: Sequence[FoldedRow], gone: Sequence[str]) -> None:
        """Put these rows there, and take those keys away."""
        self._rows.execute("BEGIN")
        self._rows.executemany(WRITE, [(projection, *row) for row in rows])
        self._rows.executemany(DELETE, [(projection, key) for key in gone])
        self._rows.execute("COMMIT")

    def in_order(self, projection: str) -> Iterator[FoldedRow]:
        """All rows, in order of key."""
        for row in self._rows.execute(IN_ORDER, (projection,)):
            yield FoldedRow(*row)
