"""What a session measured: kept as JSON, summed up as a table."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from statistics import median

import msgspec

from benchmarks.comparison import Comparison, Round, Shown
from benchmarks.debezium_files import LOCK_FILE, read_lock
from benchmarks.processes import ROOT

PACKAGES = ("aiohttp", "aiokafka", "asyncpg", "faust-streaming", "msgspec", "psutil", "uvloop")
PEERS = ("aiokafka", "fastapi", "faststream", "quixstreams", "uvicorn")
VERSION_SECONDS = 10.0
CODE = ("headrace", "app", "agents", "tables", "web")


class Measured(msgspec.Struct):
    """One round of one comparison: a round, or why there is none."""

    comparison: str
    number: int
    round: Round | None = None
    error: str | None = None


class Machine(msgspec.Struct):
    """Where it was measured."""

    cpus: int
    kernel: str
    machine: str
    python: str
    wrk: str
    postgresql: str
    packages: dict[str, str]
    peers: dict[str, str]


class Session(msgspec.Struct):
    """All of a session."""

    date: str
    code: str
    """The fingerprint of what was measured."""
    code_changed: bool
    """Whether the code was changed meanwhile: then rounds measured different things."""
    options: dict[str, int | list[str] | None]
    machine: Machine
    measured: list[Measured]


class Line(msgspec.Struct):
    """A line of the table."""

    comparison: Comparison
    shown: Shown
    least: float
    middle: float
    most: float
    rounds: int


def this_machine(postgresql: str) -> Machine:
    """What this machine is and runs."""
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False)  # noqa: S607 - the one in PATH
    found = re.search(r"wrk (\S+)", wrk.stdout + wrk.stderr)
    return Machine(
        cpus=os.cpu_count() or 0,
        kernel=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        wrk=found[1] if found else "unknown",
        postgresql=postgresql,
        packages={name: version(name) for name in PACKAGES},
        peers={
            "debezium-server": read_lock(LOCK_FILE.read_text()).version,
            **locked_versions((ROOT / "requirements" / "bench.txt").read_text(), PEERS),
        },
    )


def locked_versions(requirements: str, names: Sequence[str]) -> dict[str, str]:
    """The versions of some packages in the text of a requirements file."""
    found = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", requirements, re.MULTILINE))
    return {name: found[name] for name in names}


def code_fingerprint() -> str:
    """Tells whether the code of the workers is the same as another time."""
    digest = hashlib.sha256()
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in {".py", ".sql"}:
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def today() -> str:
    """The moment in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def lines(comparisons: Sequence[Comparison], measured: Sequence[Measured]) -> Iterator[Line]:
    """The table: for each figure that is shown, the least, the median and the most of its rounds."""
    for comparison in comparisons:
        rounds = [one.round for one in measured if one.comparison == comparison.name and one.round is not None]
        for shown in comparison.shown:
            values = [one.figures[shown.name] for one in rounds]
            if values:
                yield Line(comparison, shown, min(values), median(values), max(values), len(values))


def number(value: float) -> str:
    """With as many digits as mean something."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def asked(shown: Shown) -> str:
    """What is asked of a figure."""
    if shown.at_least is not None:
        return f"at least {number(shown.at_least)}"
    return "" if shown.at_most is None else f"at most {number(shown.at_most)}"


def table(comparisons: Sequence[Comparison], measured: Sequence[Measured]) -> str:
    """The lines and the CPU map in Markdown."""
    rows = ["| comparison | figure | min | median | max | rounds | target |"]
    rows.append("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for line in lines(comparisons, measured):
        verdict = {True: ": reached", False: ": missed", None: ""}[line.shown.reached(line.middle)]
        values = " | ".join(number(value) for value in (line.least, line.middle, line.most))
        rows.append(
            f"| {line.comparison.name} | {line.shown.name} | {values} | {line.rounds} | {asked(line.shown)}{verdict} |"
        )
    rows += ["", "| comparison | part | CPU µs per event, median |", "| --- | --- | --- |"]
    return "\n".join(rows + list(_cpu_rows(comparisons, measured)))


def _cpu_rows(comparisons: Sequence[Comparison], measured: Sequence[Measured]) -> Iterator[str]:
    for comparison in comparisons:
        rounds = [one.round for one in measured if one.comparison == comparison.name and one.round is not None]
        for part in rounds[0].cpu if rounds else ():
            kinds = {kind: median(one.cpu[part][kind] for one in rounds) for kind in rounds[0].cpu[part]}
            yield f"| {comparison.name} | {part} | {', '.join(f'{kind} {number(us)}' for kind, us in kinds.items())} |"
