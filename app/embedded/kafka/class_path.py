"""The jars of Apache Kafka, as listed in kafka.toml, and their place on disk."""

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
    """The content of kafka.toml: the version of Kafka and the class path of a broker."""

    kafka: str
    jars: tuple[Jar, ...]


def read_lock(text: str) -> Lock:
    """Parse kafka.toml. Raises msgspec.DecodeError."""
    return msgspec.toml.decode(text, type=Lock)


def provide(fallback: Path) -> list[Path]:
    """The class path; every file exists and matches kafka.toml. Blocks, possibly for minutes if it must download.

    The files are in the user's Maven repository, or in `fallback` if that is not writable. Raises StartError.
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
    """The jars that are missing, incomplete or different from kafka.toml."""
    return [jar for jar in jars if not jar.is_at(repository / jar.path)]


def _user_repository() -> list[Path]:
    """The local repository of Maven and jgo; empty if there is no home folder."""
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
    raise StartError(f"Apache Kafka cannot be stored on disk ({'; '.join(refusals)}): set M2_REPO to a writable folder")
