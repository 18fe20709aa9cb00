"""`faust -A app parked list|show|retry|discard`: the events that a projection could not apply."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import msgspec
from faust.cli.base import cli

from agents.parked.retrier import Retrier
from app.commands.connecting import opened, run
from app.settings import Settings
from headrace.errors import UnknownProjectionError
from headrace.folding.parked_groups import Group, NotParkedError, ParkedOutcome
from headrace.projection import Projection
from tables.intake import dead_letters
from tables.parked import parked_list
from tables.parked.parked_list import ParkedGroup, ParkedOne

AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
KEY = click.Option(["--key"], help="The key of a row.")
PARTITION_KEY = click.Option(
    ["--partition-key"], help="The partition key, where the key of the first event could not be told."
)
PROJECTION = click.Argument(["projection"])
POSITION = click.IntRange(1, 10**18)


class _Parked:
    """What the commands do; each prints its result and returns the exit code."""

    def __init__(self, settings: Settings, projections: Sequence[Projection[Any]]) -> None:
        self._settings = settings
        self._projections = projections

    async def list(self, projection: str | None, key: str | None, limit: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            found = await parked_list.first_of_groups(connection, projection=projection, key=key, at_most=limit + 1)
        shown = found[:limit]
        if as_json:
            click.echo(_json({"items": shown, "more": len(found) > limit}))
            return 0
        for one in shown:
            click.echo(_group_text(one))
        if not found:
            click.echo("nothing is parked")
        elif len(found) > limit:
            click.echo(f"and more: these are the first {limit} (--limit)")
        return 0

    async def list_dead_letters(self, limit: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            found = await dead_letters.newest(connection, at_most=limit + 1)
        shown = found[:limit]
        if as_json:
            click.echo(_json({"items": shown, "more": len(found) > limit}))
            return 0
        for one in shown:
            click.echo(
                f"{one.number}: {one.topic}, {one.payload_bytes} bytes, {one.times} times, "
                f"last at {one.last_received_at:%Y-%m-%dT%H:%M:%SZ}\n  {one.code}: {one.reason}"
            )
        if not found:
            click.echo("no message of a device was refused")
        elif len(found) > limit:
            click.echo(f"and more: these are the newest {limit} (--limit)")
        return 0

    async def show(self, projection: str, position: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            found = await parked_list.find(connection, projection, position)
        if found is None:
            raise NotParkedError(f"No event is parked in {projection} at position {position}.")
        click.echo(_json(found) if as_json else _one_text(found))
        return 0

    async def retry(self, projection: str, group: Group | None, *, as_json: bool) -> int:
        self._check(projection)
        async with opened(self._settings) as database:
            outcome = await Retrier(self._projections, database).retry(projection, group)
        return _tell(outcome, as_json=as_json)

    async def discard(self, projection: str, what: Group | int, *, reason: str, as_json: bool) -> int:
        self._check(projection)
        async with opened(self._settings) as database:
            retrier = Retrier(self._projections, database)
            outcome = await retrier.discard(projection, what, reason=reason, by=f"the command's user {_user()}")
        return _tell(outcome, as_json=as_json)

    def _check(self, projection: str) -> None:
        names = [one.name for one in self._projections]
        if projection not in names:
            raise UnknownProjectionError(
                f"There is no projection {projection}; there are {', '.join(names)} (PROJECTIONS in app/main.py)."
            )


def add_parked(settings: Settings, projections: Sequence[Projection[Any]]) -> None:
    """Add the commands to Faust's."""
    parked = _Parked(settings, projections)
    group = click.Group("parked", help="The events that a projection could not apply: list, show, retry, discard.")
    for command in (_list(parked), _show(parked), _retry(parked), _discard(parked)):
        group.add_command(command)
    cli.add_command(group)


def _list(parked: _Parked) -> click.Command:
    def command(**given: Any) -> NoReturn:
        if not given.pop("dead_letters"):
            raise SystemExit(run(parked.list(**given)))
        if given.pop("projection") is not None or given.pop("key") is not None:
            raise click.UsageError("--dead-letters are of no projection and no key")
        raise SystemExit(run(parked.list_dead_letters(given["limit"], as_json=given["as_json"])))

    return click.Command(
        "list",
        callback=command,
        params=[
            click.Option(["--projection"], help="Of this projection only."),
            click.Option(["--key"], help="Of this key only."),
            click.Option(["--dead-letters"], is_flag=True, help="Messages of devices that were refused, newest first."),
            click.Option(["--limit"], type=click.IntRange(1, 100_000), default=100, show_default=True),
            AS_JSON,
        ],
        help="The first event of each key: why it waits, since when, and how many wait behind it.",
    )


def _show(parked: _Parked) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(parked.show(**given)))

    return click.Command(
        "show",
        callback=command,
        params=[PROJECTION, click.Argument(["position"], type=POSITION), AS_JSON],
        help="One parked event with its envelope.",
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
            click.Option(["--all", "everything"], is_flag=True, help="Everything that is parked in it."),
            AS_JSON,
        ],
        help="Apply parked events in order, with the handlers as they are now. Stops in a key at the first that "
        "fails again; exits with 1 when any event is still parked.",
    )


def _discard(parked: _Parked) -> click.Command:
    def command(
        projection: str, position: int | None, key: str | None, partition_key: str | None, **given: Any
    ) -> NoReturn:
        _check_one_of(position, key, partition_key, names="--position, --key and --partition-key")
        if not given["reason"].strip() or "\0" in given["reason"]:
            raise click.UsageError("give a --reason: it is kept with the event")
        what = position if position is not None else _group(key, partition_key)
        assert what is not None
        raise SystemExit(run(parked.discard(projection, what, **given)))

    return click.Command(
        "discard",
        callback=command,
        params=[
            PROJECTION,
            click.Option(["--position"], type=POSITION, help="The first event of a key; what waits behind goes on."),
            click.Option(["--key"], help="All that is parked of this key."),
            PARTITION_KEY,
            click.Option(["--reason"], required=True, help="Why; kept in the table discarded."),
            AS_JSON,
        ],
        help="Let the projection go on without parked events, for good. They stay in the event store, and in the "
        "other projections. Then retries what waits behind; exits with 1 when any of it is still parked.",
    )


def _check_one_of(*given: object, names: str) -> None:
    if [one is not None for one in given].count(True) != 1:
        raise click.UsageError(f"give one of {names}")


def _group(key: str | None, partition_key: str | None) -> Group | None:
    if partition_key is not None:
        return Group(partition_key, key_is_known=False)
    return None if key is None else Group(key)


def _tell(outcome: ParkedOutcome, *, as_json: bool) -> int:
    if as_json:
        click.echo(_json(outcome))
    else:
        discarded = f"{outcome.discarded} discarded, " if outcome.discarded else ""
        click.echo(f"{outcome.projection}: {discarded}{outcome.applied} applied, {outcome.still_parked} still parked")
        for one in outcome.failures:
            click.echo(f"  position {one.position}, key {one.key!r}: {one.error}")
    return 1 if outcome.still_parked else 0


def _group_text(one: ParkedGroup) -> str:
    kind = "key" if one.key_is_known else "partition key"
    return (
        f"{one.projection}, {kind} {one.key!r}: {one.waiting_behind} behind it\n"
        f"  position {one.position}: {one.type}, source {one.source!r}, id {one.id!r}\n"
        f"  {one.error}\n"
        f"  tried {one.attempts} times, parked since {one.parked_at:%Y-%m-%dT%H:%M:%SZ}"
    )


def _one_text(one: ParkedOne) -> str:
    kind = "key" if one.key_is_known else "partition key"
    first = "the first" if one.first_position == one.position else f"behind position {one.first_position}"
    return (
        f"{one.projection}, {kind} {one.key!r}, position {one.position}: {first}\n"
        f"{one.error}\n"
        f"tried {one.attempts} times, parked since {one.parked_at:%Y-%m-%dT%H:%M:%SZ}\n"
        f"{'' if one.event is None else bytes(one.event).decode()}"
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "without a name"
