"""Writes the table of grants in docs/roles.md from `tables.roles.grants` (make docs); a test compares them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tables.roles.grants import FUNCTIONS, OF_WORKERS, PURPOSES, ROLE_NAMES, TABLES, privileges  # noqa: E402
from tables.roles.statements import PREFIX  # noqa: E402

PAGE = ROOT / "docs" / "roles.md"
HEAD = """| role | table | privileges |
| --- | --- | --- |
"""
END = """
Nobody but the owner has rights on sequences. Roles do not protect against a service that misuses what it needs: the
relay can delete accepted events before they are stored, and the event handler can write wrong rows. PostgreSQL permits
every role to take advisory locks and to send notifications, with which it can delay the relay.
"""


def text() -> str:
    """The page: what stands before the table as it is, the table, and what it does not say."""
    before, _, _ = PAGE.read_text("utf-8").partition(HEAD)
    rows = []
    for role in ROLE_NAMES:
        rows.append(f"| **`{PREFIX}_{role}`** | | {PURPOSES[role]} |\n")
        for table in TABLES[role]:
            found = ", ".join(one.text for one in privileges(role) if one.table == table)
            rows.append(f"| | `{table}` | {found} |\n")
        if FUNCTIONS[role]:
            rows.append(f"| | functions | EXECUTE on {', '.join(f'`{name}`' for name in FUNCTIONS[role])} |\n")
    assert set(OF_WORKERS) == {"schema_migrations", "installation"}, "the page names them above the table"
    return before + HEAD + "".join(rows) + END


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
