"""Measure Headrace against baselines and peers on this machine; print a table and write latest.json and latest.svg."""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import asyncpg
import msgspec
import psutil
import uvloop
from aiokafka.errors import KafkaError

from headrace.errors import HeadraceError

from benchmarks.chart import draw
from benchmarks.comparison import Comparison, Options
from benchmarks.place import Place, open_place
from benchmarks.registry import COMPARISONS
from benchmarks.results import Machine, Measured, Session, code_fingerprint, lines, number, table, this_machine, today
from benchmarks.wrk import check_installed

RESULTS = Path(__file__).parent / "results"
# Errors of a round that are not bugs of the benchmarks: the round is reported as failed.
ROUND_ERRORS = (
    HeadraceError,
    KafkaError,
    OSError,
    TimeoutError,
    aiohttp.ClientError,
    asyncpg.InterfaceError,
    asyncpg.PostgresError,
    psutil.Error,
    subprocess.SubprocessError,
)


def say(text: str) -> None:
    """Print and flush."""
    print(text, flush=True)  # noqa: T201 - a program's output


async def main(arguments: argparse.Namespace) -> int:
    """Run the comparisons. Returns the exit code: 1 if a round failed."""
    stop_on_signals()
    check_installed()
    chosen = [one for one in COMPARISONS if not arguments.only or one.name in arguments.only]
    options = Options(
        seconds=arguments.seconds,
        events=arguments.events,
        backlog=arguments.backlog,
        growth_events=arguments.growth_events,
    )
    measured: list[Measured] = []
    code = code_fingerprint()
    say("Starting PostgreSQL and Kafka in a temporary folder …")
    async with open_place() as place:
        machine = this_machine(await place.postgres_version())
        for round_number in range(1, arguments.rounds + 1):
            for comparison in chosen:
                result = await measure(place, comparison, options, round_number)
                say(round_text(comparison, result, arguments.rounds))
                measured.append(result)
    used_options = {name: value for name, value in vars(arguments).items() if name != "output"}
    changed = code_fingerprint() != code
    write(chosen, Session(today(), code, changed, used_options, machine, measured), arguments.output)
    if changed:
        say("Warning: the code changed during the session, so the rounds are not comparable.")
    return int(any(one.error for one in measured))


async def measure(place: Place, comparison: Comparison, options: Options, round_number: int) -> Measured:
    """Measure a round; the result has its error if it failed."""
    try:
        return Measured(comparison.name, round_number, await comparison.measure(place, options))
    except ROUND_ERRORS as error:
        return Measured(comparison.name, round_number, error=f"{type(error).__name__}: {error}")
    except ExceptionGroup as errors:
        expected, others = errors.split(ROUND_ERRORS)
        if expected is None or others is not None:
            raise
        return Measured(comparison.name, round_number, error=repr(expected.exceptions))


def round_text(comparison: Comparison, result: Measured, rounds: int) -> str:
    """A round as a line of text."""
    start = f"Round {result.number} of {rounds}, {comparison.name}: "
    if result.round is None:
        return start + f"FAILED: {result.error}"
    figures = result.round.figures
    return start + ", ".join(f"{name} {number(value)}" for name, value in figures.items() if "tenth_" not in name)


def write(chosen: Sequence[Comparison], session: Session, folder: Path) -> None:
    """Print the table; write the figures and the chart."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_bytes(msgspec.json.format(msgspec.json.encode(session)) + b"\n")
    all_lines = list(lines(chosen, session.measured))
    (folder / "latest.svg").write_text(draw(all_lines, subtitle=subtitle(session.machine, session.date)))
    say(f"\n{table(chosen, session.measured)}\n\nWritten: {folder / 'latest.json'}, {folder / 'latest.svg'}")


def subtitle(machine: Machine, date: str) -> str:
    """The machine and the date, as a line of text."""
    return (
        f"{machine.cpus} CPUs, {machine.machine}, Python {machine.python}, PostgreSQL {machine.postgresql}, {date[:10]}"
    )


def stop_on_signals() -> None:
    """The first Ctrl-C or SIGTERM stops the session in an orderly way; further ones are ignored."""
    loop, session = asyncio.get_running_loop(), asyncio.current_task()
    assert session is not None
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            say("Stopping all servers and loads …")
            stopping.set()
            session.cancel()

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop)


def positive(text: str) -> int:
    """Parse an integer above 0. Raises argparse.ArgumentTypeError."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be an integer, 1 or more")
    return value


def read_arguments() -> argparse.Namespace:
    """Parse the command line."""
    names = [one.name for one in COMPARISONS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="rounds of every comparison (5)")
    parser.add_argument(
        "--only",
        choices=names,
        action="append",
        metavar="NAME",
        help=f"comparison to run, may be repeated: {', '.join(names)}",
    )
    parser.add_argument("--seconds", type=positive, help="duration of each load (5; 20 for visible)")
    parser.add_argument(
        "--events", type=positive, default=200_000, help="events of projector, relay, cores, faust_cost (200000)"
    )
    parser.add_argument(
        "--backlog", type=positive, default=200_000, help="events that wait for Kafka in backlog (200000)"
    )
    parser.add_argument(
        "--growth-events", type=positive, default=500_000, help="events stored before growth, 5 per device (500000)"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for latest.json and latest.svg")
    return parser.parse_args()


if __name__ == "__main__":
    given = read_arguments()
    try:
        sys.exit(uvloop.run(main(given)))
    except HeadraceError as failed:
        sys.exit(f"benchmarks: {failed}")
    except asyncio.CancelledError:
        sys.exit(130)
