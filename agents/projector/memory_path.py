"""The fast path of a projector: a single statement that relies on cached rows and fails if any has changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from agents.projector.projected_rows import ProjectedRows
from headrace.events.topic_record import Record
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.row_cache import beyond
from tables.database import AnyConnection

State = TypeVar("State")


async def apply_from_memory(connection: AnyConnection, rows: ProjectedRows[State], events: Sequence[Record]) -> bool:
    """Apply the events beyond the cached progress.

    Return False, with nothing written, if the cache is not enough: a partition's progress is unknown, or an event is
    parked or has to be. Raises asyncpg.SerializationError if a row or the progress differs from the cache.
    """
    cache = rows.cache
    if cache.has_parked or not {event.partition for event in events} <= cache.progress.keys():
        return False
    new, spans = beyond(cache.progress, events)
    chosen, unreadable = rows.folding.choose(new)
    if unreadable:
        return False
    keys = {candidate.key for candidate in chosen}
    await rows.read_missing(connection, keys)
    states = rows.states(keys)
    changed, failed = rows.folding.fold(states, chosen, BlockedGroups())
    if failed:
        cache.forget()
        return False
    if new:
        await rows.write(connection, spans, states, changed, if_none_is_parked=True)
        cache.reach(spans)
    return True
