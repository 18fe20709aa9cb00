"""Reports events of this installation that the topic has and the event store lacks: the database was moved."""

from __future__ import annotations

from agents.relay.paced_publishing import from_database
from agents.relay.publisher import Publisher
from headrace.process.action_log import ActionLog
from headrace.process.log_actions import LogAction
from tables.database import AnyConnection
from tables.history import epochs

log = ActionLog(__name__)


async def report_ahead(connection: AnyConnection, publisher: Publisher) -> int:
    """Record and log what was found at this connect and is not known yet; return in how many epochs and partitions."""
    timeline, new = publisher.timeline, 0
    if timeline is None:
        return 0
    for one in publisher.ahead:
        if not await from_database(epochs.note_abandoned(connection, one.epoch, one.position)):
            continue
        new += 1
        log.warning(
            LogAction.TOPIC_AHEAD,
            "The topic is ahead of the event store: partition {partition} has events of this installation up to "
            "position {position}, and the store ended at {last_position}. The database was restored from an older copy "
            "or lost commits, or a copy of it publishes to this topic. These events are passed over, and a new epoch "
            "is open. Senders must send them again: see docs/restore.md",
            partition=one.partition,
            position=one.position,
            last_position=timeline.last_position,
            epoch=one.epoch,
        )
    return new
