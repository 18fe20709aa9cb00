"""`faust -A app check-history`: decodes all stored events with today's data types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec
from faust.cli.base import cli

from agents.verify.checked_type import CheckedType, TypeReport
from agents.verify.history_check import HistoryReport, check_history, checked_types
from app.commands.connecting import connect, postgres, run
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.errors import HeadraceError
from headrace.projection import Projection
from tables import database
from tables.history.stored_data import STATEMENT_SECONDS

DEFAULT_EXAMPLES = 5
# The server ends a statement first.
COMMAND_SECONDS = STATEMENT_SECONDS + 10.0

HELP = """Decode all stored events with the data types of this checkout, before it is deployed.

Prints, for each event type, how many events have the newest shape of their data and each older shape, and how many do
not fit, with examples. Events that do not fit would be parked. Older shapes are converted, as for a fold; keys and
handlers are not called.

Reads the event store only, beside running workers, up to the newest event at its start. Exits with 0 if all events fit,
otherwise with 1. Progress is written to standard error.

\b
Examples:
  faust -A app check-history
  faust -A app check-history reading.recorded --limit 20
  faust -A app check-history --json
"""


class UnknownEventTypeError(HeadraceError):
    """No projection decodes the data of this event type."""


def add_check_history(settings: Settings, projections: Sequence[Projection[Any]]) -> None:
    """Add the command to Faust's command line."""

    def command(event_type: str | None, limit: int, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
        raise SystemExit(run(check(settings, projections, event_type, limit, as_json=as_json)))

    cli.add_command(
        click.Command(
            "check-history",
            callback=command,
            params=[
                click.Argument(["event_type"], metavar="[TYPE]", required=False),
                click.Option(
                    ["--limit"],
                    type=click.IntRange(min=0),
                    default=DEFAULT_EXAMPLES,
                    show_default=True,
                    help="Print so many examples of each type.",
                ),
                click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
            ],
            help=HELP,
        )
    )


async def check(
    settings: Settings, projections: Sequence[Projection[Any]], only: str | None, limit: int, *, as_json: bool
) -> int:
    """Print the report, with at most `limit` examples of each type; the exit code. Raises HeadraceError."""
    checked = checked_types(projections, examples=limit)
    if only is not None and only not in checked:
        raise UnknownEventTypeError(f"No projection decodes the data of {only}. Types: {', '.join(checked) or 'none'}.")
    report = await _read(settings, checked, only)
    if as_json:
        say_json({"fits": not report.misfits, **msgspec.to_builtins(report)})
    else:
        for one in report.types:
            say(*_lines(one))
        say(_verdict(report))
    return 1 if report.misfits else 0


async def _read(settings: Settings, checked: dict[str, CheckedType], only: str | None) -> HistoryReport:
    async with postgres(settings) as dsn:
        connection = await connect(dsn, command_seconds=COMMAND_SECONDS)
        try:
            return await check_history(connection, checked, lambda line: say(line, err=True), only=only)
        finally:
            database.drop(connection)


def _lines(one: TypeReport) -> list[str]:
    shapes = "".join(f", {shape.events} as {shape.shape}" for shape in one.old_shapes)
    misfits = f", {one.misfits} {'does' if one.misfits == 1 else 'do'} not fit" if one.misfits else ""
    lines = [f"{one.type}: {_events(one.events)}, {one.newest} with the newest shape{shapes}{misfits}"]
    lines += [
        f"  position {found.position}, source {found.source!r}, id {found.id!r}: {found.error}"
        for found in one.examples
    ]
    return lines


def _verdict(report: HistoryReport) -> str:
    rate = f" ({report.events / report.seconds:,.0f} events/s)" if report.seconds else ""
    other = f", {report.other} of other types" if report.other else ""
    read = f"{_events(report.events)} read up to position {report.upto}{rate}{other}"
    if not report.misfits:
        return f"OK, all events fit; {read}"
    return f"FAILED, {_events(report.misfits)} {'does' if report.misfits == 1 else 'do'} not fit; {read}"


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number} events"
