"""One file of Kafka's class path, and how it is recognised."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec


class Jar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the class path, as Maven names it."""

    group: str
    artifact: str
    version: str
    bytes: int
    sha256: str

    @property
    def path(self) -> Path:
        """Its place in a Maven repository."""
        return Path(*self.group.split("."), self.artifact, self.version, f"{self.artifact}-{self.version}.jar")

    def is_at(self, path: Path) -> bool:
        """Whether this very file lies there."""
        try:
            return path.stat().st_size == self.bytes and sha256_of(path) == self.sha256
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
