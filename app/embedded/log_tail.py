"""The line of a server's log that best explains a failure."""

from __future__ import annotations

import re
from pathlib import Path

MAX_BYTES = 65_536
MAX_CHARACTERS = 300
FAILURE = re.compile(r"PANIC|FATAL|ERROR|Caused by|Exception|Could not")


class LogTail:
    """The text that a server writes to its log folder after the creation of this object."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lengths = {path: path.stat().st_size for path in self._files()}

    def last_line(self) -> str:
        """The last line about a failure, else the last line, else a note that the log is empty."""
        lines = [line for path in self._files() for line in self._new_text(path).splitlines() if line.strip()]
        failures = [line for line in lines if FAILURE.search(line) and not line[0].isspace()]
        chosen = (failures or lines or ["it wrote nothing"])[-1]
        return chosen.strip()[:MAX_CHARACTERS]

    def _files(self) -> list[Path]:
        """The log files, the most recently written last."""
        return sorted(self.folder.glob("*.log"), key=lambda path: path.stat().st_mtime)

    def _new_text(self, path: Path) -> str:
        length = path.stat().st_size
        known = self._lengths.get(path, 0)
        start = max(known if known <= length else 0, length - MAX_BYTES)
        with path.open("rb") as file:
            file.seek(start)
            return file.read().decode(errors="replace")
