"""docs/roles.md says what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_what_the_code_grants() -> None:
    script = "import scripts.document_roles as made; print(made.text(), end='')"
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "roles.md").read_text("utf-8"), "run make docs"
