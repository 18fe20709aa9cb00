"""Where the numbers of the metrics come from: one source for each part of a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agents.mqtt.bridge import MqttBridge
from agents.projector.projector import Projector
from agents.relay.relay import Relay
from headrace.events.intake_counts import IntakeCounts
from headrace.process import metrics
from headrace.process.metrics import Sample, Source
from tables.intake.backlog import Backlog
from tables.intake.disk_space import DiskSpace
from tables.intake.group_commit import GroupCommit
from web.requests.bodies import BodyBudget


def intake(transport: str, counts: IntakeCounts) -> Source:
    """What one transport brought."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.ACCEPTED, counts.accepted, (transport,))
        yield Sample(metrics.DUPLICATE, counts.duplicate, (transport,))
        yield Sample(metrics.REJECTED, counts.rejected, (transport,))

    return samples


def door(group_commit: GroupCommit, bodies: BodyBudget) -> Source:
    """What waits in memory."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.QUEUE_EVENTS, group_commit.queued_events)
        yield Sample(metrics.QUEUE_BYTES, group_commit.queued_bytes)
        yield Sample(metrics.BODIES_BYTES, bodies.held_bytes)

    return samples


def outbox(backlog: Backlog) -> Source:
    """What waits in the outbox; nothing while PostgreSQL does not answer."""

    def samples() -> Iterator[Sample]:
        if backlog.depth is not None:
            yield Sample(metrics.OUTBOX_EVENTS, backlog.depth.events)
            yield Sample(metrics.OUTBOX_BYTES, backlog.depth.size_bytes)
            yield Sample(metrics.OUTBOX_AGE, backlog.depth.oldest_seconds)

    return samples


def relay(one: Relay) -> Source:
    """The relay of this worker."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.RELAY_ACTIVE, int(one.is_active))
        yield Sample(metrics.RELAY_ROUNDS, one.rounds)
        yield Sample(metrics.RELAY_EVENTS, one.events)
        yield Sample(metrics.RELAY_ERRORS, one.publish_errors)

    return samples


def mqtt(bridge: MqttBridge) -> Source:
    """What devices brought over MQTT."""
    brought = intake("mqtt", bridge.counts)

    def samples() -> Iterator[Sample]:
        yield from brought()
        yield Sample(metrics.MQTT_CONNECTED, int(bridge.is_connected))

    return samples


def disk(space: DiskSpace) -> Source:
    """Whether nothing is written for want of room."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.DISK_FULL, int(space.is_full))

    return samples


def projectors(by_name: Mapping[str, Projector[Any]]) -> Source:
    """The projectors of this worker."""

    def samples() -> Iterator[Sample]:
        for name, one in by_name.items():
            yield Sample(metrics.BATCH_EVENTS, one.batch_events, (name,))
            yield Sample(metrics.BATCH_SECONDS, one.batch_seconds, (name,))
            yield Sample(metrics.BATCH_FAILURES, one.failed_attempts, (name,))

    return samples
