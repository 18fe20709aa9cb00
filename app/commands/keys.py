"""`faust -A app keys create|list|show|rotate|revoke`: API keys, made and ended on the host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import click
import msgspec
from faust.cli.base import cli

from app.commands.connecting import opened, run
from app.commands.recording import host_caller, recorded
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.access import key_request
from headrace.access.access_log import Action
from headrace.access.key_request import DEFAULT_EXPIRES, DEFAULT_OVERLAP, KeyRequest
from headrace.access.scopes import Scope
from tables.access import keys
from tables.access.keys import Key
from tables.database import AnyConnection

AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
KEY = click.Argument(["key"])
SCOPES = ", ".join(Scope)
PATTERNS = "Comma-separated prefixes that end in /, or exact values; left out: all."
DURATION = "A number and d, h or m; at most 365d."

HELP = """Make, list, rotate and revoke API keys. They are needed where AUTH=keys is set; see docs/access.md.

\b
Example:
  faust -A app keys create grafana --scopes metrics
"""
CREATE_HELP = """Make a key and print it. It is shown this once: only its hash is stored.

\b
Examples:
  faust -A app keys create ops --scopes admin
  faust -A app keys create gateway-7 --scopes write --sources /greenhouse/a/ --expires 90d
"""
LIST_HELP = """List the live keys, without their secrets.

\b
Examples:
  faust -A app keys list
  faust -A app keys list --all --json
"""
SHOW_HELP = """Show the key of an id, or all keys of a name, newest first.

\b
Example:
  faust -A app keys show gateway-7
"""
ROTATE_HELP = """Make another key of the same name, which may do the same, and print it.

The old key stays valid for the overlap, so that its user can change to the new key.

\b
Examples:
  faust -A app keys rotate gateway-7
  faust -A app keys rotate gateway-7 --overlap 1h --expires 90d
"""
REVOKE_HELP = """End the key of an id, or all keys of a name, at once.

\b
Example:
  faust -A app keys revoke gateway-7
"""


class _KeyCommands:
    """The commands; each prints its result and returns the exit code. They raise HeadraceError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def create(self, request: KeyRequest, *, as_json: bool) -> int:
        async with self._recorded(Action.KEY_CREATED, request.name) as (connection, detail):
            made, secret = await keys.create(connection, request, host_caller())
            detail.update(made.summary)
        _print_new(made, secret, as_json=as_json)
        return 0

    async def list(self, *, with_ended: bool, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            found = await keys.list_keys(connection, with_ended=with_ended)
        _print(found, as_json=as_json)
        if not found and not as_json:
            say("OK, no keys" if with_ended else "OK, no live keys")
        return 0

    async def show(self, key: str, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            _print(await keys.show(connection, key), as_json=as_json)
        return 0

    async def rotate(self, key: str, expires: str, overlap: str, *, as_json: bool) -> int:
        lasts = key_request.duration("--expires", expires, least=key_request.UNITS["m"])
        overlaps = key_request.duration("--overlap", overlap)
        async with self._recorded(Action.KEY_ROTATED, key) as (connection, detail):
            made, secret = await keys.rotate(connection, key, host_caller(), expires=lasts, overlap=overlaps)
            detail.update(made.summary)
        _print_new(made, secret, as_json=as_json)
        return 0

    async def revoke(self, key: str, *, as_json: bool) -> int:
        async with self._recorded(Action.KEY_REVOKED, key) as (connection, detail):
            revoked = await keys.revoke(connection, key)
            detail["ids"] = ", ".join(one.id for one in revoked)
        _print(revoked, as_json=as_json)
        if not revoked and not as_json:
            say("OK, it was revoked before")
        return 0

    @asynccontextmanager
    async def _recorded(self, action: Action, target: str) -> AsyncIterator[tuple[AnyConnection, dict[str, str | int]]]:
        """A connection for an action that the access log has, with its detail."""
        async with (
            opened(self._settings) as database,
            database.acquire() as connection,
            recorded(connection, action, target) as detail,
        ):
            yield connection, detail


def add_keys(settings: Settings) -> None:
    """Add the commands to Faust's command line."""
    commands = _KeyCommands(settings)
    group = click.Group("keys", help=HELP)
    for command in (_create(commands), _list(commands), _show(commands), _rotate(commands), _revoke(commands)):
        group.add_command(command)
    cli.add_command(group)


def _create(commands: _KeyCommands) -> click.Command:
    def command(name: str, scopes: str, *, as_json: bool, **given: Any) -> NoReturn:
        expires, certificate = given.pop("expires"), given.pop("certificate")
        lists = {field: None if text is None else _listed(text) for field, text in given.items()}
        try:
            request = key_request.checked(name, _listed(scopes), **lists, certificate=certificate, expires=expires)
        except key_request.InvalidKeyError as error:
            raise click.UsageError(str(error)) from None
        raise SystemExit(run(commands.create(request, as_json=as_json)))

    return click.Command(
        "create",
        callback=command,
        params=[
            click.Argument(["name"]),
            click.Option(["--scopes"], required=True, help=f"Comma-separated list of {SCOPES}."),
            click.Option(["--sources"], help=f"Sources that the key may touch. {PATTERNS}"),
            click.Option(["--subjects"], help=f"Subjects that it may touch. {PATTERNS}"),
            click.Option(["--types"], help=f"Event types that it may touch. {PATTERNS}"),
            click.Option(["--certificate"], help="Name in a client certificate that will do: dns:…, uri:…, email:…"),
            click.Option(["--expires"], default=DEFAULT_EXPIRES, show_default=True, help=DURATION),
            AS_JSON,
        ],
        help=CREATE_HELP,
    )


def _list(commands: _KeyCommands) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.list(**given)))

    all_keys = click.Option(["--all", "with_ended"], is_flag=True, help="Expired and revoked keys too.")
    return click.Command("list", callback=command, params=[all_keys, AS_JSON], help=LIST_HELP)


def _show(commands: _KeyCommands) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.show(**given)))

    return click.Command("show", callback=command, params=[KEY, AS_JSON], help=SHOW_HELP)


def _rotate(commands: _KeyCommands) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.rotate(**given)))

    overlap = click.Option(
        ["--overlap"], default=DEFAULT_OVERLAP, show_default=True, help="How long the old key stays valid; 0d: not."
    )
    expires = click.Option(["--expires"], default=DEFAULT_EXPIRES, show_default=True, help=DURATION)
    return click.Command("rotate", callback=command, params=[KEY, overlap, expires, AS_JSON], help=ROTATE_HELP)


def _revoke(commands: _KeyCommands) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.revoke(**given)))

    return click.Command("revoke", callback=command, params=[KEY, AS_JSON], help=REVOKE_HELP)


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",")]


def _print_new(made: Key, secret: str, *, as_json: bool) -> None:
    if as_json:
        say_json({"id": made.id, "name": made.name, "key": secret, **msgspec.to_builtins(made)})
        return
    _print([made], as_json=False)
    say("The key, which is shown this once:")
    click.echo(secret)  # `say` would hide it


def _print(found: list[Key], *, as_json: bool) -> None:
    if as_json:
        say_json({"items": found})
        return
    for key in found:
        used = "never used" if key.last_used_at is None else f"last used {key.last_used_at:%Y-%m-%dT%H:%MZ}"
        say(
            f"{key.id} {key.name}: {key.state}, {', '.join(key.scopes)}",
            f"  expires {key.expires_at:%Y-%m-%dT%H:%M:%SZ}, {used}, made by {key.created_by}",
            *(
                f"  {label}: {', '.join(values)}"
                for label, values in (("sources", key.sources), ("subjects", key.subjects), ("types", key.types))
                if values is not None
            ),
            *([] if key.certificate is None else [f"  certificate: {key.certificate}"]),
        )
