"""The sources of the metrics: a source for each part of a worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from agents.kafka.authority import Authority
from agents.mqtt.bridge import MqttBridge
from agents.projector.projector import Projector
from agents.relay.relay import Relay
from app.version import VERSION, python_version
from headrace.access.refusals import Cause, Refusals
from headrace.events.genuine_records import Reason
from headrace.events.intake_counts import IntakeCounts
from headrace.process import metrics
from headrace.process.metrics import Sample, Source
from tables.intake.backlog import Backlog
from tables.intake.disk_space import DiskSpace
from tables.intake.group_commit import GroupCommit
from web.requests.bodies import BodyBudget


def build() -> Iterator[Sample]:
    """The versions of this worker."""
    yield Sample(metrics.BUILD, 1, (VERSION, python_version()))


def refusals(counts: Refusals) -> Source:
    """Requests that were refused for lack of rights, by cause."""

    def samples() -> Iterator[Sample]:
        for cause in get_args(Cause):
            yield Sample(metrics.REFUSED, counts.by_cause[cause], (cause,))

    return samples


def intake(transport: str, counts: IntakeCounts) -> Source:
    """Events received over a transport, by outcome."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.ACCEPTED, counts.accepted, (transport,))
        yield Sample(metrics.DUPLICATE, counts.duplicate, (transport,))
        yield Sample(metrics.REJECTED, counts.rejected, (transport,))

    return samples


def memory(group_commit: GroupCommit, bodies: BodyBudget) -> Source:
    """Events and request bodies of ingestion that are in memory."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.QUEUE_EVENTS, group_commit.queued_events)
        yield Sample(metrics.QUEUE_BYTES, group_commit.queued_bytes)
        yield Sample(metrics.BODIES_BYTES, bodies.held_bytes)

    return samples


def outbox(backlog: Backlog) -> Source:
    """Depth and age of the outbox; no samples while PostgreSQL does not answer."""

    def samples() -> Iterator[Sample]:
        if backlog.depth is not None:
            yield Sample(metrics.OUTBOX_EVENTS, backlog.depth.events)
            yield Sample(metrics.OUTBOX_BYTES, backlog.depth.size_bytes)
            yield Sample(metrics.OUTBOX_AGE, backlog.depth.oldest_seconds)

    return samples


def relay(source: Relay) -> Source:
    """Whether the relay of this worker is active, its rounds, events and errors."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.RELAY_ACTIVE, int(source.is_active))
        yield Sample(metrics.RELAY_ROUNDS, source.rounds)
        yield Sample(metrics.RELAY_EVENTS, source.events)
        yield Sample(metrics.RELAY_ERRORS, source.publish_errors)
        yield Sample(metrics.TOPIC_AHEAD, source.topics_ahead)

    return samples


def mqtt(bridge: MqttBridge) -> Source:
    """Events received over MQTT, by outcome, and whether the bridge is connected."""
    received = intake("mqtt", bridge.counts)

    def samples() -> Iterator[Sample]:
        yield from received()
        yield Sample(metrics.MQTT_CONNECTED, int(bridge.is_connected))

    return samples


def disk(space: DiskSpace) -> Source:
    """Whether writes are suspended because PostgreSQL's disk is full."""

    def samples() -> Iterator[Sample]:
        yield Sample(metrics.DISK_FULL, int(space.is_full))

    return samples


def projectors(by_name: Mapping[str, Projector[Any]]) -> Source:
    """Batch sizes, durations and failed attempts of the projectors of this worker, by name."""

    def samples() -> Iterator[Sample]:
        for name, projector in by_name.items():
            yield Sample(metrics.BATCH_EVENTS, projector.batch_events, (name,))
            yield Sample(metrics.BATCH_SECONDS, projector.batch_seconds, (name,))
            yield Sample(metrics.BATCH_FAILURES, projector.failed_attempts, (name,))

    return samples


def records(authority: Authority) -> Source:
    """Records on the topic that are passed over, by reason."""

    def samples() -> Iterator[Sample]:
        for reason in Reason:
            yield Sample(metrics.PASSED_OVER, authority.passed_over[reason], (reason.value,))

    return samples
