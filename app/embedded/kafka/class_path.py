"""The jars of Apache Kafka: which they are (kafka.toml) and where they lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.embedded.kafka.download import fetch
from app.embedded.kafka.jar import Jar
from headrace.errors import StartError

LOCK_FILE = Path(__file__).with_name("kafka.toml")


class Lock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The class path of a broker."""

    kafka: str
    jars: tuple[Jar, ...]


def read_lock(text: str) -> Lock:
    """The content of kafka.toml. Raises msgspec.DecodeError."""
    return msgspec.toml.decode(text, type=Lock)


def provide(fallback: Path) -> list[Path]:
    """The class path: every file of it is there and is the one that kafka.toml names. Blocks, for long if it downloads.

    The files lie in the user's Maven repository, or in `fallback` where that cannot be written. Raises StartError.
    """
    lock = read_lock(LOCK_FILE.read_text(encoding="utf-8"))
    repositories = [*_user_repository(), fallback]
    for repository in repositories:
        if not missing_in(repository, lock.jars):
            break
    else:
        repository = _first_writable(repositories)
        fetch(f"Apache Kafka {lock.kafka}", missing_in(repository, lock.jars), repository)
    return [repository / jar.path for jar in lock.jars]


def missing_in(repository: Path, jars: Sequence[Jar]) -> list[Jar]:
    """Those that are not there, or not whole, or not what they should be."""
    return [jar for jar in jars if not jar.is_at(repository / jar.path)]


def _user_repository() -> list[Path]:
    """Where Maven and jgo keep what they fetch."""
    if chosen := os.environ.get("M2_REPO"):
        return [Path(chosen).absolute()]
    try:
        return [Path.home() / ".m2" / "repository"]
    except RuntimeError:  # a user without a home
        return []


def _first_writable(repositories: Sequence[Path]) -> Path:
    refusals = []
    for repository in repositories:
        try:
            repository.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=repository):
                return repository
        except OSError as error:
            refusals.append(f"{repository}: {error.strerror}")
    raise StartError(
        f"Apache Kafka cannot be kept on disk ({'; '.join(refusals)}): set M2_REPO to a folder that can be written"
    )
