"""`installation`, `epochs` and `abandoned`: whose records are on the topic, and which of them are of this database."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from headrace.events.origin import MAX_POSITION, Installation, Timeline
from tables.database import AnyConnection

EPOCH_BITS = 62
# A relay that restarts all the time must not fill the table. Records of removed epochs are read from the store.
MAX_EPOCHS = 1_000
FIRST_NUMBER = 1

# In one statement, so in one snapshot.
READ = """
SELECT installation.id, installation.secret, relay_state.epoch, relay_state.last_position,
       opened.numbers, opened.ids, opened.after_positions
FROM installation
CROSS JOIN relay_state
CROSS JOIN (
    SELECT array_agg(number ORDER BY number) AS numbers, array_agg(id ORDER BY number) AS ids,
           array_agg(after_position ORDER BY number) AS after_positions
    FROM epochs
) AS opened
"""
OPEN = """
WITH opened AS (
    INSERT INTO epochs (id, after_position) SELECT $1, last_position FROM relay_state RETURNING id, number
),
removed AS (
    DELETE FROM epochs USING opened WHERE epochs.number <= opened.number - $2
)
UPDATE relay_state SET epoch = opened.id FROM opened
"""
STATE = "SELECT epoch, last_position FROM relay_state"
NOTE_ABANDONED = """
INSERT INTO abandoned AS known (epoch, last_position, after_position)
SELECT $1, $2, last_position FROM relay_state
ON CONFLICT (epoch) DO UPDATE SET last_position = excluded.last_position
    WHERE known.last_position < excluded.last_position
RETURNING epoch
"""
# Readers of changes start over: their rows may be of the lost future. The rows are locked in order, against deadlocks.
START_OVER = """
WITH locked AS (SELECT projection, partition FROM progress ORDER BY projection, partition FOR NO KEY UPDATE)
UPDATE progress SET life = DEFAULT FROM locked
WHERE progress.projection = locked.projection AND progress.partition = locked.partition
"""
LOST_EVENTS = """
SELECT after_position, last_position, found_at FROM abandoned
WHERE found_at > clock_timestamp() - make_interval(days => $1)
ORDER BY found_at DESC, epoch LIMIT $2
"""
SHOWN_DAYS = 7
MAX_SHOWN = 10


class StoreState(NamedTuple):
    """What changes when a database is moved."""

    epoch: int
    last_position: int


class LostEvents(msgspec.Struct, frozen=True):
    """Events of this installation that the topic has and the event store lacks; the database was restored or copied."""

    after_position: int
    """The end of the event store when this was found."""
    last_position: int
    """The last position that was seen on the topic."""
    found_at: datetime


async def read(connection: AnyConnection) -> Timeline:
    """Which records are genuine, as the database says it now."""
    row = await connection.fetchrow(READ)
    assert row is not None, "migration 012 makes the row"
    ids, afters = row["ids"], row["after_positions"]
    ends = dict(zip(ids, [*afters[1:], MAX_POSITION], strict=True))
    is_whole = row["numbers"][0] == FIRST_NUMBER
    return Timeline(
        Installation(row["id"], row["secret"]),
        row["epoch"],
        ends,
        unsigned_end=ends[ids[0]] if is_whole else 0,
        last_position=row["last_position"],
    )


async def open_next(connection: AnyConnection) -> Timeline:
    """Open an epoch at the end of the event store. Only for the active relay, before it stores anything."""
    await connection.execute(OPEN, secrets.randbits(EPOCH_BITS), MAX_EPOCHS)
    return await read(connection)


async def state(connection: AnyConnection) -> StoreState:
    """The epoch and the end of the event store."""
    row = await connection.fetchrow(STATE)
    assert row is not None, "migration 001 makes the row"
    return StoreState(*row)


async def note_abandoned(connection: AnyConnection, epoch: int, last_position: int) -> bool:
    """Record that the topic has this event of an epoch that the store lacks; return False if that was known.

    The first time, streams of changes are reset.
    """
    async with connection.transaction():
        is_new = bool(await connection.fetch(NOTE_ABANDONED, epoch, last_position))
        if is_new:
            await connection.execute(START_OVER)
    return is_new


async def lost_events(connection: AnyConnection) -> Sequence[LostEvents]:
    """What was found in the last SHOWN_DAYS, the newest first."""
    return [LostEvents(*row) for row in await connection.fetch(LOST_EVENTS, SHOWN_DAYS, MAX_SHOWN)]
