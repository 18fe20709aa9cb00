"""The line of a server's log that tells best what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

MAX_BYTES = 65_536
MAX_CHARACTERS = 300
TELLING = re.compile(r"PANIC|FATAL|ERROR|Caused by|Exception|Could not")


class LogTail:
    """What a server writes to the files of its log folder from now on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lengths = {path: path.stat().st_size for path in self._files()}

    def last_line(self) -> str:
        """The last line about an error, else the last line, else a word that there is none."""
        lines = [line for path in self._files() for line in self._new_text(path).splitlines() if line.strip()]
        telling = [line for line in lines if TELLING.search(line) and not line[0].isspace()]
        chosen = (telling or lines or ["it wrote nothing"])[-1]
        return chosen.strip()[:MAX_CHARACTERS]

    def _files(self) -> list[Path]:
        """Those that were written last come last."""
        return sorted(self.folder.glob("*.log"), key=lambda path: path.stat().st_mtime)

    def _new_text(self, path: Path) -> str:
        length = path.stat().st_size
        known = self._lengths.get(path, 0)
        start = max(known if known <= length else 0, length - MAX_BYTES)
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")
