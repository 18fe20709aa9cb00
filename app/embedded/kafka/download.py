"""Fetches files from the Maven repository that jgo knows; a file is in its place whole and checked, or not at all."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from app.embedded.kafka.jar import Jar
from headrace.errors import StartError

log = logging.getLogger(__name__)

AT_ONCE = 6
SCRATCH = ".headrace-"
ABANDONED_SECONDS = 3600.0
# To connect, and between two chunks of a file.
NETWORK_SECONDS = 20
PAUSE_SECONDS = 1.0


def fetch(name: str, jars: Sequence[Jar], repository: Path) -> None:
    """Fetch the jars of what `name` says into `repository`, several at once, each with a second try.

    Raises StartError when one cannot be had.
    """
    _remove_abandoned(repository)
    with _progress(name, jars, repository) as done, ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for fetched in as_completed(threads.submit(fetch_one, jar, repository) for jar in jars):
                done(fetched.result().bytes)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def fetch_one(jar: Jar, repository: Path) -> Jar:
    """Fetch one jar, with a second try. Raises StartError."""
    try:
        _download(jar, repository)
    except ImportError:
        raise
    except Exception:  # noqa: BLE001 - whatever went wrong in the network or in jgo, the second try tells
        time.sleep(PAUSE_SECONDS)
        try:
            _download(jar, repository)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StartError(
                f"{jar.path.name} of the embedded Apache Kafka cannot be downloaded: {reason}; "
                "look at the network and start again, or set BROKER_URL to a Kafka of your own"
            ) from error
    return jar


def _download(jar: Jar, repository: Path) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - an optional package, and slow to import

    # jgo writes straight to the file's last place, so it gets a repository of its own, on the same disk.
    with tempfile.TemporaryDirectory(dir=repository, prefix=SCRATCH) as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=NETWORK_SECONDS)
        path: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        if not jar.is_at(path):
            raise ValueError(f"it is not the file that kafka.toml names ({path.stat().st_size} bytes, not {jar.bytes})")
        target = repository / jar.path
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _remove_abandoned(repository: Path) -> None:
    """Remove what downloads have left that were killed."""
    for scratch in repository.glob(SCRATCH + "*"):
        if time.time() - scratch.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _progress(name: str, jars: Sequence[Jar], repository: Path) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere one line at the start and one at the end."""
    total = sum(jar.bytes for jar in jars)
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(f"Downloading {name}", total=total)
            yield lambda size: bar.advance(task, size)
        return
    log.info("Downloading %s: %d files, %.0f MB, to %s", name, len(jars), total / 1e6, repository)
    yield lambda _: None
    log.info("Downloaded %s", name)
