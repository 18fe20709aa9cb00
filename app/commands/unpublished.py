"""`faust -A app unpublished list|retry`: the events that Kafka refused, and that the topic lacks."""

from __future__ import annotations

from typing import Any, NoReturn

import click
from aiokafka.errors import KafkaError
from faust.cli.base import cli

from agents.kafka.access import KafkaAccess
from agents.relay.late_publishing import publish_late
from app.commands.connecting import embedded_kafka, opened, run
from app.commands.recording import recorded
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.access.access_log import Action
from headrace.errors import DependencyAwayError
from tables.intake import unpublished

AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")

HELP = """List or retry the events that Kafka refused, for example because the topic allows only smaller records.

They are stored and projected; only the topic lacks them.

\b
Example:
  faust -A app unpublished list
"""
LIST_HELP = """List the events that the topic lacks, with Kafka's error, in order of position.

\b
Examples:
  faust -A app unpublished list
  faust -A app unpublished list --limit 10 --json
"""
RETRY_HELP = """Publish the events that the topic lacks, for example after max.message.bytes was raised on the topic.

They appear behind later events of their partitions, with the header headrace-late. Exits with 1 if Kafka still refuses
any of them.

\b
Examples:
  faust -A app unpublished retry
  faust -A app unpublished retry --position 4711
"""


class _Unpublished:
    """The commands; each prints its result and returns the exit code. They raise HeadraceError."""

    def __init__(self, settings: Settings, access: KafkaAccess, *, embedded: bool) -> None:
        self._settings = settings
        self._access = access
        self._embedded = embedded

    async def list(self, limit: int, *, as_json: bool) -> int:
        async with opened(self._settings) as database, database.acquire() as connection:
            page = await unpublished.listed(connection, at_most=limit)
            shown = page.events
            while page.more and len(shown) < limit:
                page = await unpublished.listed(connection, after=shown[-1].position, at_most=limit - len(shown))
                shown += page.events
        if as_json:
            say_json({"items": [event._asdict() for event in shown], "more": page.more})
            return 0
        for event in shown:
            say(
                f"position {event.position}, partition {event.partition}: {event.type}, source {event.source!r}, "
                f"id {event.id!r}",
                f"  {event.error}",
                f"  {event.size_bytes} bytes, {event.attempts} attempts, "
                f"set aside at {event.set_aside_at:%Y-%m-%dT%H:%M:%SZ}",
            )
        if not shown:
            say("OK, no unpublished events")
        elif page.more:
            say(f"More exist: these are the first {limit}; use --limit for more")
        return 0

    async def retry(self, position: int | None, *, as_json: bool) -> int:
        settings = self._settings
        kafka = embedded_kafka(settings, wanted=self._embedded)
        async with (
            kafka,
            opened(settings) as database,
            database.acquire() as connection,
            recorded(connection, Action.UNPUBLISHED_RETRIED, settings.topic) as detail,
        ):
            try:
                outcome = await publish_late(connection, self._access, settings.topic, position=position)
            except (KafkaError, TimeoutError) as error:
                raise DependencyAwayError(f"Kafka does not answer: {error!r}. Check BROKER_URL.") from error
            detail.update(published=outcome.published, refused=len(outcome.refused))
        if as_json:
            say_json({"published": outcome.published, "refused": [event._asdict() for event in outcome.refused]})
        else:
            say(f"{outcome.published} published, {len(outcome.refused)} still refused")
            for event in outcome.refused:
                say(f"  position {event.position}, {event.size_bytes} bytes: {event.error}")
        return 1 if outcome.refused else 0


def add_unpublished(settings: Settings, access: KafkaAccess, *, embedded: bool) -> None:
    """Add the commands to Faust's command line."""
    commands = _Unpublished(settings, access, embedded=embedded)
    group = click.Group("unpublished", help=HELP)
    group.add_command(_list(commands))
    group.add_command(_retry(commands))
    cli.add_command(group)


def _list(commands: _Unpublished) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.list(**given)))

    limit = click.Option(
        ["--limit"],
        type=click.IntRange(1, 100_000),
        default=100,
        show_default=True,
        help="Maximum number of entries.",
    )
    return click.Command("list", callback=command, params=[limit, AS_JSON], help=LIST_HELP)


def _retry(commands: _Unpublished) -> click.Command:
    def command(**given: Any) -> NoReturn:
        raise SystemExit(run(commands.retry(**given)))

    position = click.Option(["--position"], type=click.IntRange(1, 10**18), help="Only the event at this position.")
    return click.Command("retry", callback=command, params=[position, AS_JSON], help=RETRY_HELP)
