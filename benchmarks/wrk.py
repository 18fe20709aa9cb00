"""wrk as the load client: https://github.com/wg/wrk with a script of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec

from headrace.errors import HeadraceError, StartError

from benchmarks.processes import finished

FOLDER = Path(__file__).parent
# An answer may take long where the machine is busy; one that takes longer than this counts as an error.
ANSWER_SECONDS = 30
END_SECONDS = 60.0
NO_HEADERS: Mapping[str, str] = {}


class RoundFailedError(HeadraceError):
    """Not every event came out right: there is no figure for this round."""


class WrkResult(msgspec.Struct, frozen=True):
    """What wrk counted. An error is an answer of 400 or more, none at all, or a broken connection."""

    requests: int
    duration_us: int
    errors: int
    p50_us: int
    p99_us: int

    @property
    def seconds(self) -> float:
        """From the first request to the end of the load."""
        return self.duration_us / 1e6

    @property
    def per_second(self) -> float:
        """Answered requests a second."""
        return self.requests / self.seconds


def check_installed() -> None:
    """Raises StartError when there is no wrk on this machine."""
    if shutil.which("wrk") is None:
        raise StartError("wrk is not installed: apt-get install wrk, or brew install wrk")


async def run_wrk(
    url: str, script: str, *arguments: str, connections: int, seconds: float, headers: Mapping[str, str] = NO_HEADERS
) -> WrkResult:
    """Load for `seconds`, rounded up to whole ones. Raises RoundFailedError when anything was not answered with 2xx.

    `headers` are sent with every request.
    """
    command = [
        "wrk",
        *("-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"--timeout={ANSWER_SECONDS}s", "-s", script),
        *(f"-H{name}: {value}" for name, value in headers.items()),
        *(url, "--", *arguments),
    ]
    ended = await finished(command, folder=FOLDER, seconds=seconds + ANSWER_SECONDS + END_SECONDS)
    try:
        result = msgspec.json.decode(ended.output.splitlines()[-1], type=WrkResult)
    except (IndexError, msgspec.DecodeError) as error:
        said = (ended.complaints or ended.output).decode()[-500:]
        raise RoundFailedError(f"wrk reported no figures: {said}") from error
    if result.errors or not result.requests:
        raise RoundFailedError(f"{result.errors} of {result.requests} requests to {url} were not answered with 2xx")
    return result
