"""Writes the table of actions in docs/logs.md from `headrace.process.log_guide` (make docs); a test compares them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from headrace.process.log_actions import LogAction  # noqa: E402 - the path comes first
from headrace.process.log_guide import GUIDE  # noqa: E402

PAGE = ROOT / "docs" / "logs.md"
HEAD = """| action | level | fields | meaning | what to do |
| --- | --- | --- | --- | --- |
"""


def text() -> str:
    """The page: what stands before the table as it is, and the table."""
    before, _, _ = PAGE.read_text("utf-8").partition("| action |")
    rows = []
    for action in LogAction:
        fields = ", ".join(f"`{name}`" for name in action.fields)
        rows.append(f"| `{action}` | {action.level} | {fields} | {GUIDE[action].meaning} | {GUIDE[action].to_do} |\n")
    return before + HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
