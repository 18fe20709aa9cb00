"""Server processes that outlive the worker: how to start, find and end them."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from app.embedded.log_tail import LogTail
from headrace.errors import StartError
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction

log = ActionLog(__name__)

POLL_SECONDS = 0.03
SHELL = Path("/bin/sh")
SHELL_SECONDS = 30.0
EXEC_SECONDS = 0.001
# The shell ends at once, so the server is not a child of the worker: it receives no terminal signals, and init, not the
# worker, reaps it.
IN_BACKGROUND = '"$@" </dev/null >"$0" 2>&1 & echo $!'


class Owner(NamedTuple):
    """The user that a server runs as, if it is not the worker's user."""

    uid: int
    gid: int


class EndedError(StartError):
    """The server ended during its start."""


def as_user(owner: Owner | None) -> dict[str, Any]:
    """Arguments of `subprocess.run` to run a command as `owner`; None: as the worker's user."""
    return {} if owner is None else {"user": owner.uid, "group": owner.gid, "extra_groups": []}


def start_detached(
    command: Sequence[str], *, folder: Path, output: Path, environment: Mapping[str, str], owner: Owner | None = None
) -> psutil.Process | None:
    """Start a server in `folder`, in its own session; return None if it has already ended.

    `output` is overwritten with the server's output. Blocks for milliseconds until `running_in` would find the server,
    because a cancelled start must not leave an unknown server behind.
    """
    shell = subprocess.run(  # noqa: S603 - the command has no outside input
        [str(SHELL), "-c", IN_BACKGROUND, str(output), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        check=True,
        timeout=SHELL_SECONDS,
        **as_user(owner),
    )
    try:
        process = psutil.Process(int(shell.stdout))
        while process.name() == SHELL.name and is_alive(process):
            time.sleep(EXEC_SECONDS)
    except psutil.NoSuchProcess:
        return None
    return process


def output_of_failure(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    owner: Owner | None = None,
) -> list[str]:
    """Run a program to its end; return the lines of its output if it fails, at least one, and none if it succeeds."""
    result = subprocess.run(  # noqa: S603 - the command has no outside input
        command,
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
        **as_user(owner),
    )
    if result.returncode == 0:
        return []
    return (result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}").splitlines()


def remove_abandoned(folder: Path, prefix: str, *, seconds: float) -> None:
    """Remove the folders that killed programs have left, but not those of programs that may still be running."""
    for left in folder.glob(prefix + "*"):
        if time.time() - left.stat().st_mtime > seconds:
            shutil.rmtree(left, ignore_errors=True)


def note_found(server: str, running: psutil.Process) -> None:
    """Log that a server runs already."""
    text = "{server} is already running (pid {pid}); using it"
    log.info(LogAction.SERVER_FOUND, text, server=server, pid=running.pid)


def running_in(folder: Path, program: str) -> list[psutil.Process]:
    """The processes with this name whose working directory is `folder`; every server runs in its own folder."""
    here = str(folder)
    return [
        process
        for process in _all("name", "cwd", "ppid", "cmdline")
        if process.info["name"] == program and process.info["cwd"] == here
    ]


def running_script(folder: Path, script: str) -> list[psutil.Process]:
    """The processes that run a Python script with this name in `folder`, whatever the interpreter is called."""
    return [
        process
        for process in _all("cwd", "cmdline")
        if process.info["cwd"] == str(folder)
        and any(Path(word).name == script for word in process.info["cmdline"] or ())
    ]


def _all(*attributes: str) -> Iterator[psutil.Process]:
    """Each process, with `info`. The objects of psutil.process_iter would be shared by all threads, `info` included."""
    for pid in psutil.pids():
        try:
            process = psutil.Process(pid)
            process.info = process.as_dict(attributes)
        except psutil.NoSuchProcess:
            continue
        yield process


def is_alive(process: psutil.Process | None) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def wait_until_gone(processes: Sequence[psutil.Process], seconds: float) -> bool:
    """Return True when all of them have ended, False when the time is up."""
    deadline = time.monotonic() + seconds
    while any(is_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def end(process: psutil.Process, *steps: tuple[signal.Signals, float]) -> None:
    """Send each signal in turn, and wait its number of seconds for the end before the next."""
    for number, seconds in steps:
        if not is_alive(process):
            return
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return
        await wait_until_gone([process], seconds)


async def wait_until_ready(
    server: str, answers: Callable[[], Awaitable[bool]], process: psutil.Process | None, log: LogTail, seconds: float
) -> None:
    """Return when the server answers. Raises EndedError, or StartError when the time is up; both quote its log."""
    deadline = time.monotonic() + seconds
    while not await answers():
        if not is_alive(process):
            raise EndedError(f"{server} ended while it started: {log.last_line()}; its log is in {log.folder}")
        if time.monotonic() > deadline:
            raise StartError(
                f"{server} runs but has not answered for {seconds:.0f} s: {log.last_line()}; its log is in {log.folder}"
            )
        await asyncio.sleep(POLL_SECONDS)
