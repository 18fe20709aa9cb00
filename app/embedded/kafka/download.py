"""Downloads jars from the Maven repository that jgo uses. A jar appears in its place complete and checked, or never."""

from __future__ import annotations

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
from app.embedded.processes import remove_abandoned
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

AT_ONCE = 6
SCRATCH = ".headrace-"
ABANDONED_SECONDS = 3600.0
# For connecting, and between two chunks of a file.
NETWORK_SECONDS = 20
PAUSE_SECONDS = 1.0


def fetch(name: str, jars: Sequence[Jar], repository: Path) -> None:
    """Download the jars into `repository`, several at a time, each with one retry; `name` is for messages.

    Raises StartError when a jar cannot be downloaded.
    """
    remove_abandoned(repository, SCRATCH, seconds=ABANDONED_SECONDS)
    with _progress(name, jars, repository) as done, ThreadPoolExecutor(AT_ONCE) as threads:
        try:
            for fetched in as_completed(threads.submit(fetch_one, jar, repository) for jar in jars):
                done(fetched.result().bytes)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def fetch_one(jar: Jar, repository: Path) -> Jar:
    """Download a jar, with one retry. Raises StartError."""
    try:
        _download(jar, repository)
    except ImportError:
        raise
    except Exception:  # noqa: BLE001 - whatever failed in the network or in jgo, the retry reports it
        time.sleep(PAUSE_SECONDS)
        try:
            _download(jar, repository)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StartError(
                f"{jar.path.name} of the embedded Apache Kafka cannot be downloaded: {reason}; "
                "check the network and start again, or set BROKER_URL to your own Kafka"
            ) from error
    return jar


def _download(jar: Jar, repository: Path) -> None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - an optional package, and slow to import

    # jgo writes directly to the final path, so it gets a temporary repository on the same disk.
    with tempfile.TemporaryDirectory(dir=repository, prefix=SCRATCH) as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=NETWORK_SECONDS)
        path: Path = context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
        if not jar.is_at(path):
            raise ValueError(f"the file differs from kafka.toml ({path.stat().st_size} bytes, not {jar.bytes})")
        target = repository / jar.path
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


@contextmanager
def _progress(name: str, jars: Sequence[Jar], repository: Path) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; elsewhere, log a line at the start and at the end."""
    total = sum(jar.bytes for jar in jars)
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(f"Downloading {name}", total=total)
            yield lambda size: bar.advance(task, size)
        return
    log.info(
        LogAction.DOWNLOAD_STARTED,
        "Downloading {name}: {files} files, {megabytes:.0f} MB, to {folder}",
        name=name,
        files=len(jars),
        megabytes=total / 1e6,
        folder=repository,
    )
    yield lambda _: None
    log.info(LogAction.DOWNLOAD_FINISHED, "Downloaded {name}", name=name)
