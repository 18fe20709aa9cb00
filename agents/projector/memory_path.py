"""The fast path of a projector: one statement that rests on remembered rows, and fails if any of them has changed."""

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
    """Apply the events that are beyond the remembered progress.

    Returns False, with nothing written, when memory is not enough: progress is not known, an event is parked or would
    have to be. Raises asyncpg.SerializationError when a row or the progress is not as remembered.
    """
    cache = rows.cache
    if cache.has_parked or any(event.partition not in cache.progress for event in events):
        return False
    new, spans = beyond(cache.progress, events)
    chosen, unreadable = rows.folding.choose(new)
    if unreadable:
        return False
    keys = {candidate.key for candidate in chosen}
    await rows.read_missing(connection, sorted(keys))
    states = rows.states(keys)
    changed, failed = rows.folding.fold(states, chosen, BlockedGroups())
    if failed:
        cache.forget()
        return False
    if new:
        await rows.write(connection, spans, states, changed, if_none_is_parked=True)
        cache.reach(spans)
    return True
