"""Which rows of a projection have changed since a point, derived from the event store.

A point is the projection's progress by partition. Exactly the events up to a point are applied, so the rows that
changed between two points are those of the keys of the events between them. The projector therefore records no changes;
only events that leave `parked`, out of order, are recorded in `unparked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.events.topic_record import PastEvent
from headrace.folding.folding import Folding
from tables.bounded import MAX_READ_BYTES, bounded
from tables.database import AnyConnection
from tables.projections.rows import Row, read_first_rows

MAX_POSITIONS_BEHIND = 100_000
READ_POINTS = """
SELECT asked.projection, progress.life, progress.partition, progress.position, coalesce(left_last.number, 0) AS unparked
FROM unnest($1::text[]) AS asked (projection)
LEFT JOIN progress ON progress.projection = asked.projection
LEFT JOIN LATERAL (
    SELECT number FROM unparked WHERE unparked.projection = asked.projection ORDER BY number DESC LIMIT 1
) AS left_last ON true
"""
_READ_BETWEEN = """
SELECT position, partition, event_as_text(event) AS text FROM event_store
WHERE position > $1 AND position <= $2 AND partition = ANY ($3::integer[])
ORDER BY position LIMIT $4
"""
READ_BETWEEN = bounded(
    _READ_BETWEEN, "position, partition, text, found", size="octet_length(text)", order="position", limit="$5"
)
_READ_UNPARKED = """
SELECT unparked.number, stored.position, stored.partition, event_as_text(stored.event) AS text
FROM unparked JOIN event_store AS stored ON stored.position = unparked.position
WHERE unparked.projection = $1 AND unparked.number > $2 AND unparked.number <= $3
ORDER BY unparked.number LIMIT $4
"""
READ_UNPARKED = bounded(
    _READ_UNPARKED, "number, position, partition, text, found", size="octet_length(text)", order="number", limit="$5"
)


class Point(NamedTuple):
    """The progress of a projection, or how far a reader has followed it."""

    life: int
    """Identifies the computation of the projection: a rebuild changes it. 0 before anything is applied."""
    unparked: int
    """The number of the last row of `unparked`."""
    progress: Mapping[int, int]
    """By partition; a missing partition is at 0."""

    def follows(self, earlier: Point) -> bool:
        """Whether this point can be reached from the earlier point by progress alone, without a rebuild."""
        return (self.life == earlier.life or not earlier.progress) and self.is_at_or_after(earlier)

    def is_at_or_after(self, other: Point) -> bool:
        """Whether all changes up to the other point are also up to this point."""
        return self.unparked >= other.unparked and all(
            self.progress.get(partition, 0) >= position for partition, position in other.progress.items()
        )

    def merged(self, other: Point) -> Point:
        """The point that has all changes up to either of the two."""
        partitions = self.progress.keys() | other.progress.keys()
        progress = {one: max(self.progress.get(one, 0), other.progress.get(one, 0)) for one in partitions}
        return Point(self.life or other.life, max(self.unparked, other.unparked), progress)


class Change(NamedTuple):
    """A changed row in its current state, and the point from which a reader resumes after it."""

    key: str
    row: Row | None
    """None if the row does not exist, or no longer exists."""
    point: Point
    position: int
    """The position of the last event that changed the row."""
    events: Point
    """The positions of the last events that changed the row, by partition."""
    subjects: frozenset[str | None]
    """The subjects of the events that changed the row."""


class Changes(NamedTuple):
    """Changed rows, each once, ordered so that resuming from the point of any of them misses nothing."""

    changes: list[Change]
    point: Point
    """The point that a reader has reached after these changes."""
    is_all: bool
    """Whether these are all changes; otherwise read again from `point`."""
    is_reset: bool = False
    """The requested point is too old, or from before a rebuild: read all rows again, then resume from `point`."""


async def read_points(connection: AnyConnection, projections: Sequence[str]) -> dict[str, Point]:
    """The current points of these projections, by name."""
    lives: dict[str, int] = {}
    progress: dict[str, dict[int, int]] = {projection: {} for projection in projections}
    unparked: dict[str, int] = {}
    for projection, life, partition, position, number in await connection.fetch(READ_POINTS, projections):
        unparked[projection] = number
        if partition is not None:
            progress[projection][partition] = position
            lives[projection] = min(life, lives.get(projection, life))
    return {one: Point(lives.get(one, 0), unparked[one], progress[one]) for one in projections}


async def read_changes(
    connection: AnyConnection, projection: str, folding: Folding[Any], since: Point, *, at_most: int
) -> Changes:
    """The rows that changed since a point, from at most `at_most` events, read in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        now = (await read_points(connection, [projection]))[projection]
        spans = _spans(since.progress, now.progress)
        if not now.follows(since) or sum(last - first for first, last in spans) > MAX_POSITIONS_BEHIND:
            return Changes([], now, is_all=True, is_reset=True)
        if now.unparked > since.unparked:
            return await _read_unparked(connection, projection, folding, since=since, now=now, at_most=at_most)
        return await _read_applied(connection, projection, folding, since=since, now=now, at_most=at_most)


async def _read_unparked(
    connection: AnyConnection, projection: str, folding: Folding[Any], *, since: Point, now: Point, at_most: int
) -> Changes:
    found = await connection.fetch(READ_UNPARKED, projection, since.unparked, now.unparked, at_most, MAX_READ_BYTES)
    keys = folding.keys([PastEvent(position, partition, text) for _, position, partition, text, _ in found])
    last: dict[str, tuple[int, int]] = {}
    subjects: dict[str, set[str | None]] = {}
    for number, position, *_ in found:
        if position in keys:
            key, subject = keys[position]
            last[key] = (number, position)
            subjects.setdefault(key, set()).add(subject)
    ordered = sorted(last.items(), key=lambda one: one[1])
    rows = await read_first_rows(connection, projection, [key for key, _ in ordered])
    changes = [
        Change(
            key,
            rows[key],
            Point(now.life, number, since.progress),
            position,
            Point(now.life, number, {}),
            frozenset(subjects[key]),
        )
        for key, (number, position) in ordered
        if key in rows
    ]
    is_cut = bool(found) and (len(found) == at_most or len(found) < found[0]["found"])
    reached = found[-1]["number"] if is_cut else now.unparked
    if len(rows) < len(ordered):
        reached = changes[-1].point.unparked
    return Changes(changes, Point(now.life, reached, since.progress), is_all=False)


async def _read_applied(
    connection: AnyConnection, projection: str, folding: Folding[Any], *, since: Point, now: Point, at_most: int
) -> Changes:
    events, is_all = await _events_between(connection, since, now, at_most)
    keys = folding.keys([one for one in events if _is_between(one, since, now)])
    touched: dict[str, list[PastEvent]] = {}
    for event in events:
        if event.position in keys:
            touched.setdefault(keys[event.position][0], []).append(event)
    ordered = sorted(touched.items(), key=lambda one: one[1][-1].position)
    rows = await read_first_rows(connection, projection, [key for key, _ in ordered])
    changes = []
    for key, of in ordered[: len(rows)]:
        if _may_have_changed(rows[key], of[0].position):
            last = of[-1].position
            touching = Point(now.life, 0, {event.partition: event.position for event in of})
            subjects = frozenset(keys[event.position][1] for event in of)
            changes.append(Change(key, rows[key], _between(since, now, last), last, touching, subjects))
    if len(rows) < len(ordered):
        return Changes(changes, _between(since, now, ordered[len(rows) - 1][1][-1].position), is_all=False)
    return Changes(changes, now if is_all else _between(since, now, events[-1].position), is_all)


async def _events_between(
    connection: AnyConnection, since: Point, now: Point, at_most: int
) -> tuple[list[PastEvent], bool]:
    """At most `at_most` events in order of position, some maybe outside the two points; and whether these are all."""
    events: list[PastEvent] = []
    moved = [one for one, position in now.progress.items() if position > since.progress.get(one, 0)]
    for first, last in _spans(since.progress, now.progress):
        left = at_most - len(events)
        found = await connection.fetch(READ_BETWEEN, first, last, moved, left, MAX_READ_BYTES)
        events += [PastEvent(row["position"], row["partition"], row["text"]) for row in found]
        if found and (len(found) == left or len(found) < found[0]["found"]):
            return events, False
    return events, True


def _may_have_changed(row: Row | None, first_position: int) -> bool:
    """False if the row is older than its first event here: then all its events here are parked."""
    return row is None or row.position >= first_position


def _is_between(event: PastEvent, since: Point, now: Point) -> bool:
    after = since.progress.get(event.partition, 0)
    return after < event.position <= now.progress.get(event.partition, 0)


def _between(since: Point, now: Point, position: int) -> Point:
    """The point between two points that includes exactly the events up to a position."""
    progress = {
        partition: min(reached, max(position, since.progress.get(partition, 0)))
        for partition, reached in now.progress.items()
    }
    return Point(now.life, now.unparked, progress)


def _spans(since: Mapping[int, int], now: Mapping[int, int]) -> list[tuple[int, int]]:
    """Ranges of positions (exclusive start, inclusive end) with the events between two points, sorted and disjoint."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted((since.get(partition, 0), reached) for partition, reached in now.items()):
        if last <= first:
            continue
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans
