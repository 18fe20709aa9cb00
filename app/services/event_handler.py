"""The event handler: an agent for each projection, and the services that support them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from faust.types import ServiceT

from agents.kafka.authority import Authority
from agents.kafka.broker_gate import BrokerGate
from agents.kafka.fetch_batches import AsIs
from agents.projector.catch_up import CatchUp
from agents.projector.projector import Projector, agent_of
from agents.projector.undelivered_events import UndeliveredEvents
from agents.projector.unpublished_events import UnpublishedEvents
from agents.upkeep.idle_partitions import IdlePartitions
from agents.upkeep.stall_detector import StallDetector
from app.services.shared import Shared
from app.worker import metric_sources
from app.worker.faust_app import Headrace
from headrace.process.parts import Condition


def event_handler_service(app: Headrace, shared: Shared) -> list[ServiceT]:
    """Register an agent for each projection, and create the services that start before Faust's consumer."""
    settings, database, disk_space = shared.settings, shared.databases.of("event_handler"), shared.disk_space
    topic = app.topic(settings.topic, schema=AsIs())
    authority = Authority()
    projectors = {
        projection.name: Projector(
            projection, database, disk_space, authority=authority, max_state_bytes=settings.max_state_bytes
        )
        for projection in shared.projections
    }
    for name, projector in projectors.items():
        app.agent(topic, name=f"project_{name}")(agent_of(projector))
    shared.metrics.add(metric_sources.projectors(projectors), metric_sources.records(authority))
    gate = BrokerGate(
        shared.kafka,
        settings.topic,
        partitions_if_new=settings.topic_partitions,
        max_event_bytes=settings.max_event_bytes,
    )
    stall_detector = StallDetector(
        database,
        {name: projector.restart for name, projector in projectors.items()},
        partitions=app.assigned_partitions,
        broker_answers=gate.check,
        disk_space=disk_space,
        stall_seconds=settings.stall_seconds,
    )
    catch_up = CatchUp(list(projectors.values()))
    shared.parts.add("event_handler", partial(_condition, catch_up, app, list(projectors.values()), stall_detector))
    return [
        catch_up,
        IdlePartitions(database),
        UnpublishedEvents(database, projectors),
        UndeliveredEvents(database, projectors, authority),
        gate,
        stall_detector,
    ]


def _condition(
    catch_up: CatchUp, app: Headrace, projectors: Sequence[Projector[Any]], stall_detector: StallDetector
) -> Condition:
    """Whether events that arrive now are applied at once; else the worst of all reasons."""
    if stall_detector.stalled:
        return Condition("failing", f"does not move: {', '.join(stall_detector.stalled)}")
    found = [(projector.name, projector.condition()) for projector in projectors]
    for state in ("failing", "waiting"):
        if reasons := [f"{name}: {one.reason}" for name, one in found if one.state == state]:
            return Condition(state, "; ".join(reasons))
    if catch_up.unfinished:
        return Condition("starting", f"catches up: {', '.join(catch_up.unfinished)}")
    return app.group_condition()
