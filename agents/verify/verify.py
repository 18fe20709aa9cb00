"""Compares outbox, event store, topic and projections with each other, at one point in time of a running system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.kafka.access import KafkaAccess
from agents.verify.findings import Findings, Say
from agents.verify.lost_tail import LostTail
from agents.verify.outbox_check import VerifiedOutbox
from agents.verify.projection_check import VerifiedProjection
from agents.verify.refolded_rows import FoldedRows
from agents.verify.store_check import VerifiedStore
from agents.verify.topic_check import VerifiedTopic
from headrace.projection import Projection
from tables.history.snapshot import Snapshot


async def verify(
    snapshot: Snapshot,
    projections: Sequence[Projection[Any]],
    *,
    only: str | None,
    kafka: tuple[KafkaAccess, str] | None,
    findings: Findings,
    say: Say,
    tail: LostTail | None = None,
) -> list[int]:
    """Compare everything; `kafka` has the brokers and the topic, or is None to skip the topic.

    What the topic has and the snapshot lacks is collected in `tail`, for a report after the snapshot. Return the `seq`
    of outbox rows that should have been deleted long ago; the caller checks whether they still exist.
    Raises database and Kafka errors.
    """
    last_position = await snapshot.last_position()
    outbox = VerifiedOutbox(snapshot, findings)
    await outbox.check()
    topic, overdue = None, list[int]()
    if kafka is not None:
        topic = VerifiedTopic(snapshot, await snapshot.timeline(), findings, say, tail=tail or LostTail())
        await topic.read(*kafka)
        overdue = outbox.overdue(topic)
    progress = await snapshot.progress()
    with FoldedRows() as folded:
        verified = [
            VerifiedProjection(projection, _progress_of(projection.name, progress), folded, findings)
            for projection in projections
            if only in {None, projection.name}
        ]
        await VerifiedStore(snapshot, topic, outbox.stored, findings).check(verified, last_position, say)
        for one in verified:
            say(f"rows of {one.name}")
            await one.compare(snapshot)
    await _check_progress(snapshot, last_position, findings)
    for name, rows in (await snapshot.others([projection.name for projection in projections])).items():
        findings.count(f"rows of {name}, which is not a projection of this version, not checked", rows)
    return overdue


def _progress_of(projection: str, progress: Mapping[tuple[str, int], int]) -> dict[int, int]:
    return {partition: position for (name, partition), position in progress.items() if name == projection}


async def _check_progress(snapshot: Snapshot, last_position: int, findings: Findings) -> None:
    """Compare progress, parked and discarded events with the event store."""
    for (name, partition), position in (await snapshot.progress()).items():
        if position > last_position:
            findings.differ(
                "progress_ahead",
                f"{name}: the progress of partition {partition} is {position}; the last position is {last_position}",
            )
    for held in await snapshot.held_back_wrongly():
        what = f"{held.projection}: the event at position {held.position} is parked or discarded"
        if held.is_unknown:
            findings.differ("parked_unknown", f"{what}, but not in the event store")
        elif held.times > 1:
            findings.differ("parked_and_discarded", f"{what} twice")
        else:
            findings.differ("parked_ahead", f"{what}, but beyond the progress")
