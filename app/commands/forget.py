"""`faust -A app forget`: deletes what the database has of a projection that was removed or renamed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from faust.cli.base import cli

from app.commands.connecting import connected, run
from app.commands.recording import recorded
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.access.access_log import Action
from headrace.errors import HeadraceError, UnknownProjectionError
from headrace.projection import Projection
from tables.database import Connection
from tables.projections import leftovers
from tables.projections.leftovers import Leftover

HELP = """Delete the rows, parked and discarded events, and progress of a projection that the code no longer has.

Refuses a projection that this checkout has, and asks before it deletes. Events stay in the event store: if the
projection is added again, it is computed again. If the command is interrupted, run it again.

\b
Examples:
  faust -A app forget old_name
  faust -A app forget old_name --yes --json
"""


class NotForgettableError(HeadraceError):
    """The projection exists in the code."""


class NotConfirmedError(HeadraceError):
    """Nothing was deleted."""


def add_forget(settings: Settings, projections: Sequence[Projection[Any]]) -> None:
    """Add the command to Faust's command line."""
    known = [projection.name for projection in projections]

    def command(projection: str, *, yes: bool, as_json: bool) -> NoReturn:
        run(_forget(settings, known, projection, yes=yes, as_json=as_json))
        raise SystemExit(0)

    cli.add_command(
        click.Command(
            "forget",
            callback=command,
            params=[
                click.Argument(["projection"], metavar="NAME"),
                click.Option(["--yes"], is_flag=True, help="Do not ask."),
                click.Option(["--json", "as_json"], is_flag=True, help="Print JSON; needs --yes."),
            ],
            help=HELP,
        )
    )


async def _forget(settings: Settings, known: Sequence[str], projection: str, *, yes: bool, as_json: bool) -> None:
    async with connected(settings) as connection:
        found = await _find(connection, known, projection)
        if not yes:
            _ask(found, as_json=as_json)
        async with recorded(connection, Action.PROJECTION_FORGOTTEN, projection) as detail:
            forgotten = await leftovers.forget(connection, projection)
            detail.update(forgotten._asdict())
    if as_json:
        say_json(forgotten._asdict())
        return
    say(
        f"deleted {projection}: rows {forgotten.rows}, parked events {forgotten.parked}, discarded events "
        f"{forgotten.discarded}, partitions with progress {forgotten.partitions}"
    )


async def _find(connection: Connection, known: Sequence[str], projection: str) -> Leftover:
    """What is to be deleted. Raises HeadraceError if there is nothing, or the code has the projection."""
    if projection in known:
        if await leftovers.is_begun(connection, projection):
            return await leftovers.leftover(connection, projection)
        raise NotForgettableError(
            f"Projection {projection} exists in the code: remove it there first (PROJECTIONS in app/main.py), and "
            "restart the event handlers."
        )
    found = {one.projection: one for one in await leftovers.leftovers(connection, known)}
    if projection not in found:
        others = "; ".join(map(str, found.values())) or "none"
        raise UnknownProjectionError(f"The database has nothing of a projection {projection}. To forget: {others}.")
    return found[projection]


def _ask(found: Leftover, *, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise NotConfirmedError(f"Nothing was deleted: {found}. Add --yes to delete it without being asked.")
    say(f"To be deleted: {found}. Stop all workers of versions that have this projection first.")
    if not click.confirm("Delete it?"):
        raise NotConfirmedError
