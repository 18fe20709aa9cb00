"""The processes that are measured: workers, the bare server, and the peers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil

from headrace.errors import StartError

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")


def python(*arguments: str) -> list[str]:
    """The command that runs this interpreter."""
    return [sys.executable, *arguments]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process with these settings."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "PYTHONWARNINGS": "ignore", **settings}


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    output: bytes
    complaints: bytes
    """What it wrote to standard error."""


async def finished(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command until it ends; without `variables`, in our own environment. Raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is ours to hand on
    )
    try:
        async with asyncio.timeout(seconds):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(await process.wait(), output, complaints)


class Running:
    """A process with its log; in a session of its own, so that a Ctrl-C reaches only us, who end it."""

    def __init__(
        self, command: Sequence[str], log: Path, settings: Mapping[str, str] | None = None, *, folder: Path = ROOT
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                command,
                cwd=folder,
                env=environment(settings or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.measured = psutil.Process(self._process.pid)

    async def answers(self, url: str) -> None:
        """Return when a GET of `url` is answered 200. Raises StartError when that does not come."""
        timeout = aiohttp.ClientTimeout(total=2)
        try:
            async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession(timeout=timeout) as session:
                while not await self._answers_now(session, url):  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise StartError(f"{url} has not answered for {START_SECONDS:.0f} s:\n{self.log_tail()}") from error

    async def _answers_now(self, session: aiohttp.ClientSession, url: str) -> bool:
        self.check_alive()
        try:
            async with session.get(url) as response:
                return response.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    def check_alive(self) -> None:
        """Raises StartError when it has ended."""
        if self._process.poll() is not None:
            raise StartError(f"a process ended with {self._process.returncode}:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-3000:]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def stop(self) -> None:
        """End it, and return when it has ended. Safe to call again."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # a worker that hangs is no figure of ours
        finally:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
