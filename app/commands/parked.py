"""`faust -A app parked list|show|retry|discard`: lists and handles the events that projections could not apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import click
from faust.cli.base import cli

from agents.parked.retrier import Retrier
from app.commands.connecting import opened, run
from app.commands.parked_text import event_text, group_text, outcome_text
from app.commands.recording import host_user, recorded
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.access.access_log import Action
from headrace.errors import UnknownProjectionError
from headrace.folding.parked_groups import Group, NotParkedError, ParkedOutcome, counts_of
from headrace.projection import Projection
from tables.intake import dead_letters
from tables.parked import parked_list

AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
KEY = click.Option(["--key"], help="Key of a row: all its parked events.")
PARTITION_KEY = click.Option(
    ["--partition-key"],
    help="Partition key: all its parked events, if the key of the first event could not be computed.",
)
PROJECTION = click.Argument(["projection"])
POSITION = click.IntRange(1, 10**18)

HELP = """List, show, retry or discard the events that a projection could not apply.

\b
Example:
  faust -A app parked list
"""
LIST_HELP = """List the first parked event of each key, with its error and the number of events that wait behind it.

\b
Examples:
  faust -A app parked list --projection devices
  faust -A app parked list --dead-letters --limit 10
"""
SHOW_HELP = """Show a parked event with its envelope.

\b
Example:
  faust -A app parked show devices 4711
"""
RETRY_HELP = """Apply parked events in order, with the handlers of this checkout.

Stops in a key at the first event that fails again. Exits with 1 if any of the events is still parked.

\b
Examples:
  faust -A app parked retry devices --key dev-1
  faust -A app parked retry devices --all
"""
DISCARD_HELP = """Remove parked events from the projection permanently, then retry the events that wait behind them.

The discarded events stay in the event store and in the other projections. Exits with 1 if any event behind them is
still parked.

\b
Example:
  faust -A app parked discard devices --position 4711 --reason "sent by mistake"
"""


class _Parked:
    """The commands; each prints its result and returns the exit code. They raise HeadraceError."""

    def __init__(self, settings: Settings, projections: Sequence[Projection[Any]]) -> None:
        self._settings = settings
        self._projections = projections

    async def list(self, projection: str | None, key: str | None, limit: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            page = await parked_list.first_of_groups(connection, projection=projection, key=key, at_most=limit)
            shown = page.groups
            while page.more and len(shown) < limit:
                page = await parked_list.first_of_groups(
                    connection, projection=projection, key=key, after=page.end, at_most=limit - len(shown)
                )
                shown += page.groups
        if as_json:
            say_json({"items": shown, "more": page.more})
            return 0
        for group in shown:
            say(*group_text(group))
        if not shown:
            say("OK, no parked events")
        elif page.more:
            say(f"More exist: these are the first {limit}; use --limit for more")
        return 0

    async def list_dead_letters(self, limit: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            shown, more = await dead_letters.newest(connection, at_most=limit)
            while more and len(shown) < limit:
                next_letters, more = await dead_letters.newest(
                    connection, before=shown[-1].number, at_most=limit - len(shown)
                )
                shown += next_letters
        if as_json:
            say_json({"items": shown, "more": more})
            return 0
        for letter in shown:
            say(
                f"{letter.number}: {letter.topic}, {letter.payload_bytes} bytes, received {letter.times} times, "
                f"last at {letter.last_received_at:%Y-%m-%dT%H:%M:%SZ}",
                f"  {letter.code}: {letter.reason}",
            )
        if not shown:
            say("OK, no dead letters")
        elif more:
            say(f"More exist: these are the newest {limit}; use --limit for more")
        return 0

    async def show(self, projection: str, position: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            found = await parked_list.find(connection, projection, position)
        if found is None:
            raise NotParkedError(f"No event is parked in {projection} at position {position}.")
        if as_json:
            say_json(found)
        else:
            say(*event_text(found))
        return 0

    async def retry(self, projection: str, group: Group | None, *, as_json: bool) -> int:
        self._check(projection)
        async with opened(self._settings) as database:
            retrier = Retrier(self._projections, database, max_state_bytes=self._settings.max_state_bytes)
            async with recorded(database, Action.PARKED_RETRIED, projection) as detail:
                outcome = await retrier.retry(projection, group)
                detail.update(counts_of(outcome))
        return _print(outcome, group, as_json=as_json)

    async def discard(self, projection: str, what: Group | int, *, reason: str, as_json: bool) -> int:
        self._check(projection)
        async with opened(self._settings) as database:
            retrier = Retrier(self._projections, database, max_state_bytes=self._settings.max_state_bytes)
            by = f"the command's user {host_user() or 'without a name'}"
            async with recorded(database, Action.PARKED_DISCARDED, projection) as detail:
                outcome = await retrier.discard(projection, what, reason=reason, by=by)
                detail.update(counts_of(outcome))
        return _print(outcome, what, as_json=as_json)

    def _check(self, projection: str) -> None:
        names = [known.name for known in self._projections]
        if projection not in names:
            raise UnknownProjectionError(
                f"There is no projection {projection}. Projections: {', '.join(names)} (PROJECTIONS in app/main.py). "
                "If it was removed or renamed: faust -A app forget."
            )


def add_parked(settings: Settings, projections: Sequence[Projection[Any]]) -> None:
    """Add the commands to Faust's command line."""
    parked = _Parked(settings, projections)
    group = click.Group("parked", help=HELP)
    for command in (_list(parked), _show(parked), _retry(parked), _discard(parked)):
        group.add_command(command)
    cli.add_command(group)


def _list(parked: _Parked) -> click.Command:
    def command(**given: Any) -> NoReturn:
        if not given.pop("dead_letters"):
            raise SystemExit(run(parked.list(**given)))
        if given.pop("projection") is not None or given.pop("key") is not None:
            raise click.UsageError("--dead-letters cannot be combined with --projection or --key")
        raise SystemExit(run(parked.list_dead_letters(given["limit"], as_json=given["as_json"])))

    return click.Command(
        "list",
        callback=command,
        params=[
            click.Option(["--projection"], help="This projection only."),
            click.Option(["--key"], help="This key only."),
            click.Option(["--dead-letters"], is_flag=True, help="List refused device messages instead, newest first."),
            click.Option(
                ["--limit"],
                type=click.IntRange(1, 100_000),
                default=100,
                show_default=True,
                help="Maximum number of entries.",
            ),
            AS_JSON,
        ],
        help=LIST_HELP,
    )


def _show(parked: _Parked) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(parked.show(**given)))

    return click.Command(
        "show",
        callback=command,
        params=[PROJECTION, click.Argument(["position"], type=POSITION), AS_JSON],
        help=SHOW_HELP,
    )


def _retry(parked: _Parked) -> click.Command:
    def command(projection: str, key: str | None, partition_key: str | None, **given: Any) -> NoReturn:
        _check_one_of(key, partition_key, given.pop("everything") or None, names="--key, --partition-key and --all")
        raise SystemExit(run(parked.retry(projection, _group(key, partition_key), **given)))

    return click.Command(
        "retry",
        callback=command,
        params=[
            PROJECTION,
            KEY,
            PARTITION_KEY,
            click.Option(["--all", "everything"], is_flag=True, help="All parked events of the projection."),
            AS_JSON,
        ],
        help=RETRY_HELP,
    )


def _discard(parked: _Parked) -> click.Command:
    def command(
        projection: str, position: int | None, key: str | None, partition_key: str | None, **given: Any
    ) -> NoReturn:
        _check_one_of(position, key, partition_key, names="--position, --key and --partition-key")
        if not given["reason"].strip() or "\0" in given["reason"]:
            raise click.UsageError("--reason must not be empty: it is stored with the event")
        what = position if position is not None else _group(key, partition_key)
        assert what is not None
        raise SystemExit(run(parked.discard(projection, what, **given)))

    return click.Command(
        "discard",
        callback=command,
        params=[
            PROJECTION,
            click.Option(["--position"], type=POSITION, help="Position of the first event of a key."),
            KEY,
            PARTITION_KEY,
            click.Option(["--reason"], required=True, help="Why; stored in the table discarded."),
            AS_JSON,
        ],
        help=DISCARD_HELP,
    )


def _check_one_of(*given: object, names: str) -> None:
    if [option is not None for option in given].count(True) != 1:
        raise click.UsageError(f"give exactly one of {names}")


def _group(key: str | None, partition_key: str | None) -> Group | None:
    if partition_key is not None:
        return Group(partition_key, key_is_known=False)
    return None if key is None else Group(key)


def _print(outcome: ParkedOutcome, what: Group | int | None, *, as_json: bool) -> int:
    if as_json:
        say_json(outcome)
    else:
        say(*outcome_text(outcome, what))
    return 1 if outcome.still_parked else 0
