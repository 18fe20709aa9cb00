"""Debezium Server's files: one archive, locked by debezium.toml, fetched on first use and kept in .headrace/bench."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app.embedded.kafka.jar import sha256_of
from headrace.errors import StartError

from benchmarks.processes import ROOT

LOCK_FILE = Path(__file__).with_name("debezium.toml")
KEPT = ROOT / ".headrace" / "bench"
PACKAGING = "tar.gz"
TOP = "debezium-server/"
NETWORK_SECONDS = 60
TELL_EVERY_BYTES = 100_000_000


class Archive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a Maven repository."""

    group: str
    artifact: str
    version: str
    bytes: int
    sha256: str


def read_lock(text: str) -> Archive:
    """The content of debezium.toml. Raises msgspec.DecodeError."""
    return msgspec.toml.decode(text, type=Archive)


def provide() -> list[str]:
    """The class path of Debezium Server. Blocks; the first call on a machine downloads 780 MB, of which 450 stay.

    Raises StartError when it cannot be had.
    """
    archive = read_lock(LOCK_FILE.read_text(encoding="utf-8"))
    folder = KEPT / f"debezium-server-{archive.version}"
    if not folder.exists():
        _make(folder, archive)
    (runner,) = folder.glob("*-runner.jar")
    return [str(runner), "config", f"{folder / 'lib'}/*"]


def wanted(path: str) -> bool:
    """Whether a file of the archive is needed: the server and the libraries that are always on its class path."""
    inside = path.removeprefix(TOP)
    return inside.startswith("lib/") or (inside.endswith("-runner.jar") and "/" not in inside)


def fetch(archive: Archive, repository: Path) -> Path:
    """Download the archive; it is what the lock names, if that has a hash. Raises StartError."""
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an optional package, and slow to import

    name = f"Debezium Server {archive.version}"
    try:
        context = MavenContext(PythonResolver(progress_callback=_progress), repository, timeout=NETWORK_SECONDS)
        component = context.project(archive.group, archive.artifact).at_version(archive.version)
        path: Path = component.artifact(packaging=PACKAGING).resolve()
    except Exception as error:
        raise StartError(f"{name} cannot be downloaded: {error!r}; look at the network and start again") from error
    if archive.sha256 and (path.stat().st_size != archive.bytes or sha256_of(path) != archive.sha256):
        raise StartError(f"{path.name} is not the file that {LOCK_FILE.name} names; make it anew if that is right")
    return path


def _make(folder: Path, archive: Archive) -> None:
    """All of it or nothing: unpacked elsewhere, then moved."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT, prefix="unfinished-") as scratch:
        with tarfile.open(fetch(archive, Path(scratch))) as packed:
            members = (member for member in packed if wanted(member.name))
            packed.extractall(Path(scratch) / "unpacked", members=members, filter="data")
        (Path(scratch) / "unpacked" / TOP).rename(folder)


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    done = 0

    def tell(received: int) -> None:
        nonlocal done
        if done // TELL_EVERY_BYTES != (done + received) // TELL_EVERY_BYTES or not done:
            sys.stderr.write(f"Downloading {name}, kept in {KEPT}: {done // 10**6} of {size // 10**6} MB\n")
        done += received

    yield tell
