"""docs/settings.md says what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.settings import Settings
from scripts.document_settings import meanings

ROOT = Path(__file__).parents[2]
MIN_WORDS = 3


def test_the_page_is_what_the_code_makes() -> None:
    script = "import scripts.document_settings as made; print(made.text(), end='')"
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "settings.md").read_text("utf-8"), "run make docs"


def test_every_setting_says_what_it_does() -> None:
    silent = [name for name in Settings.__struct_fields__ if len(meanings(Settings).get(name, "").split()) < MIN_WORDS]
    assert silent == [], "write what each of these does below its field in app/settings.py"
