"""`faust -A app verify`: compares outbox, event store, topic and projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from aiokafka.errors import KafkaError
from faust.cli.base import cli

from agents.kafka.access import KafkaAccess
from agents.verify.findings import Findings
from agents.verify.lost_tail import LostTail
from agents.verify.verify import verify
from app.commands.connecting import connect, embedded_kafka, postgres, run
from app.commands.terminal import say, say_json
from app.settings import Settings
from headrace.errors import DependencyAwayError, UnknownProjectionError
from headrace.projection import Projection
from tables import database
from tables.history.snapshot import TIMEOUT_SECONDS, snapshot, still_waiting

HELP = """Compare outbox, event store, topic and projections in one snapshot, while workers keep running.

Reads only. Exits with 0 if there are no differences. Otherwise exits with 1 and prints, for each kind of difference,
the count and the first example.

Each projection is folded again in a temporary file as large as its rows; TMPDIR chooses the folder. Memory stays below
250 MB plus one bit for each event. A million events with the three built-in projections need two to three minutes of
CPU. Meanwhile the snapshot stays open, so PostgreSQL cannot vacuum dead rows.

\b
Examples:
  faust -A app verify
  faust -A app verify --projection devices --skip-topic
  faust -A app verify --json
"""


def add_verify(
    settings: Settings, projections: Sequence[Projection[Any]], access: KafkaAccess, *, embedded: bool
) -> None:
    """Add the command to Faust's command line."""

    def command(projection: str | None, skip_topic: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
        raise SystemExit(
            run(
                _verify(
                    settings,
                    projections,
                    projection,
                    None if skip_topic else access,
                    as_json=as_json,
                    embedded=embedded,
                )
            )
        )

    cli.add_command(
        click.Command(
            "verify",
            callback=command,
            params=[
                click.Option(["--projection"], help="Fold this projection only."),
                click.Option(["--skip-topic"], is_flag=True, help="Do not read the topic."),
                click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
            ],
            help=HELP,
        )
    )


async def _verify(
    settings: Settings,
    projections: Sequence[Projection[Any]],
    only: str | None,
    access: KafkaAccess | None,
    *,
    as_json: bool,
    embedded: bool,
) -> int:
    names = [projection.name for projection in projections]
    if only is not None and only not in names:
        raise UnknownProjectionError(f"There is no projection {only}. Projections: {', '.join(names)}.")
    findings, tail = Findings(), LostTail()
    async with postgres(settings) as dsn, embedded_kafka(settings, wanted=embedded and access is not None):
        connection = await connect(dsn, command_seconds=TIMEOUT_SECONDS)
        try:
            async with snapshot(connection) as moment:
                overdue = await verify(
                    moment,
                    projections,
                    only=only,
                    kafka=(access, settings.topic) if access else None,
                    findings=findings,
                    say=lambda line: say(line, err=True),
                    tail=tail,
                )
            await tail.report(connection, findings)
            for seq in sorted(await still_waiting(connection, overdue)):
                findings.differ(
                    "outbox_not_deleted", f"outbox, seq {seq}: stored and published long ago, but still in the outbox"
                )
        except (KafkaError, TimeoutError) as error:
            raise DependencyAwayError(f"Kafka does not answer: {error!r}. Check BROKER_URL.") from error
        finally:
            database.drop(connection)
    _print(findings, as_json=as_json)
    return 1 if findings.differences else 0


def _print(findings: Findings, *, as_json: bool) -> None:
    if as_json:
        report = {
            "agree": not findings.differences,
            "looked_at": findings.looked_at,
            "differences": findings.differences,
        }
        say_json(report)
        return
    for what, number in findings.looked_at.items():
        say(f"Compared {number} {what}")
    for difference in findings.differences:
        say(f"{difference.kind}: {difference.count}, the first: {difference.first}")
    say(_verdict(len(findings.differences)))


def _verdict(kinds: int) -> str:
    if not kinds:
        return "OK, no differences"
    return "FAILED, 1 kind of difference" if kinds == 1 else f"FAILED, {kinds} kinds of difference"
