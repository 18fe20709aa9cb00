"""`faust -A app verify`: proves that outbox, event store, topic and projections agree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import click
import msgspec
from aiokafka.errors import KafkaError
from faust.cli.base import cli

from agents.verify.findings import Findings
from agents.verify.verify import verify
from app.commands.connecting import connect, postgres, run
from app.embedded.servers import EmbeddedServers
from app.settings import Settings, data_folder
from headrace.errors import DependencyAwayError, UnknownProjectionError
from headrace.projection import Projection
from tables import database
from tables.history.snapshot import TIMEOUT_SECONDS, snapshot, still_waiting

HELP = """Prove that outbox, event store, topic and projections agree, as they are at one moment; workers may go on.

Exits with 1 and tells the first difference of each kind, and how many there are. Only reads. The fold of each
projection is made anew, in a temporary file as large as its rows (set TMPDIR to choose the folder): memory stays below
250 MB whatever is stored, apart from one bit for each event. A million events with the three projections that come
along take two to three minutes of CPU. PostgreSQL keeps the moment open meanwhile, and cleans up no dead rows.
"""


def add_verify(settings: Settings, projections: Sequence[Projection[Any]], *, embedded_kafka: bool) -> None:
    """Add the command to Faust's."""

    def command(projection: str | None, skip_topic: bool, as_json: bool) -> None:  # noqa: FBT001 - click's way
        raise SystemExit(
            run(_verify(settings, projections, projection, topic=not skip_topic, as_json=as_json, kafka=embedded_kafka))
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
    *,
    topic: bool,
    as_json: bool,
    kafka: bool,
) -> int:
    names = [projection.name for projection in projections]
    if only is not None and only not in names:
        raise UnknownProjectionError(f"There is no projection {only}; there are {', '.join(names)}.")
    findings = Findings()
    async with postgres(settings) as dsn, _broker(settings, embedded=kafka and topic):
        connection = await connect(dsn, command_seconds=TIMEOUT_SECONDS)
        try:
            async with snapshot(connection) as moment:
                overdue = await verify(
                    moment,
                    projections,
                    only=only,
                    kafka=(settings.bootstrap_servers, settings.topic) if topic else None,
                    findings=findings,
                    say=lambda line: click.echo(line, err=True),
                )
            for seq in sorted(await still_waiting(connection, overdue)):
                findings.differ(
                    "outbox_not_deleted", f"outbox, seq {seq}: stored and on the topic for long, and still there"
                )
        except (KafkaError, TimeoutError) as error:
            raise DependencyAwayError(f"Kafka does not answer: {error!r}. Look at BROKER_URL.") from error
        finally:
            database.drop(connection)
    _tell(findings, as_json=as_json)
    return 1 if findings.differences else 0


@asynccontextmanager
async def _broker(settings: Settings, *, embedded: bool) -> AsyncIterator[None]:
    if not embedded:
        yield
        return
    servers = EmbeddedServers(data_folder(settings), kafka_port=settings.embedded_kafka_port)
    try:
        await servers.start_kafka()
        yield
    finally:
        await servers.stop()


def _tell(findings: Findings, *, as_json: bool) -> None:
    if as_json:
        told = {
            "agree": not findings.differences,
            "looked_at": findings.looked_at,
            "differences": findings.differences,
        }
        click.echo(msgspec.json.encode(told).decode())
        return
    for what, number in findings.looked_at.items():
        click.echo(f"{number} {what}")
    for one in findings.differences:
        click.echo(f"{one.kind}, {one.count} times; the first: {one.first}")
    click.echo("they differ" if findings.differences else "they agree")
