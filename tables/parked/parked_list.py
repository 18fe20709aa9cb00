"""`parked` as commands and the API list it: the first event of each group, and how many wait behind it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from headrace.access.grant import Grant
from headrace.folding.parked_groups import Group
from tables.allowed import Arguments
from tables.bounded import bounded
from tables.database import AnyConnection
from tables.parked.own_groups import no_others

# $1: a projection or NULL, $2: a key or NULL, $3 and $4: the projection and position to continue after, $5: the limit.
_FIRST_OF_GROUPS = """
SELECT p.projection, p.key, p.key_is_known, p.position, s.id, s.source, s.event_type, s.subject,
       p.error, p.attempts, p.parked_at, p.tried_at,
       (
           SELECT count(*) FROM parked AS behind
           WHERE behind.projection = p.projection AND behind.key_is_known = p.key_is_known AND behind.key = p.key
             AND hashtextextended(behind.key, 0) = hashtextextended(p.key, 0) AND behind.position > p.position
       ) AS waiting_behind
FROM parked AS p LEFT JOIN event_store AS s ON s.position = p.position
WHERE ($1::text IS NULL OR p.projection = $1)
  AND ($2::text IS NULL OR hashtextextended(p.key, 0) = hashtextextended($2, 0) AND p.key = $2)
  AND (p.projection, p.position) > ($3::text, $4::bigint)
  AND NOT EXISTS (
      SELECT FROM parked AS before
      WHERE before.projection = p.projection AND before.key_is_known = p.key_is_known AND before.key = p.key
        AND hashtextextended(before.key, 0) = hashtextextended(p.key, 0) AND before.position < p.position
  ){own}
ORDER BY p.projection, p.position
LIMIT $5
"""
_COLUMNS = (
    "projection, key, key_is_known, position, id, source, event_type, subject, error, attempts, parked_at, tried_at, "
    "waiting_behind"
)
_SIZE = (
    "(octet_length(key) + octet_length(error) + coalesce(octet_length(id), 0) + coalesce(octet_length(source), 0) "
    "+ coalesce(octet_length(subject), 0))"
)
FIRST_OF_GROUPS = bounded(_FIRST_OF_GROUPS, _COLUMNS + ", found", size=_SIZE, order="projection, position", limit="$6")
"""With a place for the condition that the groups are the caller's."""
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""Of groups that are read together, unless it is a single group."""
FIND = """
SELECT p.projection, p.key, p.key_is_known, p.position, p.error, p.traceback, p.attempts, p.parked_at, p.tried_at,
       (
           SELECT min(before.position) FROM parked AS before
           WHERE before.projection = p.projection AND before.key_is_known = p.key_is_known AND before.key = p.key
             AND hashtextextended(before.key, 0) = hashtextextended(p.key, 0)
       ) AS first_position,
       event_as_text(s.event) AS event
FROM parked AS p LEFT JOIN event_store AS s ON s.position = p.position
WHERE p.projection = $1 AND p.position = $2{own}
"""


class ParkedGroup(msgspec.Struct, frozen=True):
    """The first parked event of a group, and how many events wait behind it."""

    projection: str
    key: str
    """The key of a row, or, if `key_is_known` is false, the partition key of the events."""
    key_is_known: bool
    position: int
    id: str | None
    source: str | None
    type: str | None
    subject: str | None
    error: str
    attempts: int
    parked_at: datetime
    tried_at: datetime | None
    waiting_behind: int

    @property
    def group(self) -> Group:
        """The group, to retry or discard."""
        return Group(self.key, self.key_is_known)


class ParkedOne(msgspec.Struct, frozen=True):
    """A parked event, with its envelope."""

    projection: str
    key: str
    key_is_known: bool
    position: int
    error: str
    traceback: str | None
    """Files, lines and functions in which it failed, a line each, the innermost last. Null if no code of the
    projection raised: the data does not fit, or the event waits behind another event."""
    attempts: int
    parked_at: datetime
    tried_at: datetime | None
    first_position: int
    """The position of the first event of its group, which must be handled first."""
    event: msgspec.Raw | None


class After(NamedTuple):
    """The end of a page; the next page continues after it."""

    projection: str
    position: int


BEGINNING = After("", 0)


class ParkedPage(NamedTuple):
    """Groups in order, and whether there are more after them."""

    groups: list[ParkedGroup]
    more: bool

    @property
    def end(self) -> After:
        """Where the next page begins; only if this page has groups."""
        return After(self.groups[-1].projection, self.groups[-1].position)


async def first_of_groups(
    connection: AnyConnection,
    *,
    projection: str | None = None,
    key: str | None = None,
    after: After = BEGINNING,
    at_most: int,
    grant: Grant | None = None,
) -> ParkedPage:
    """A page of the first events of groups that the caller may touch, in order of projection and position.

    It has fewer than `at_most` if they exceed `MAX_PAGE_BYTES`, but at least one if there is any.
    """
    arguments = Arguments(before=6)
    statement = FIRST_OF_GROUPS.format(own=no_others(grant, arguments.add))
    rows = await connection.fetch(statement, projection, key, *after, at_most + 1, MAX_PAGE_BYTES, *arguments)
    groups = [ParkedGroup(*list(row)[:-1]) for row in rows[:at_most]]
    return ParkedPage(groups, more=bool(groups) and rows[0]["found"] > len(groups))


async def find(
    connection: AnyConnection, projection: str, position: int, *, grant: Grant | None = None
) -> ParkedOne | None:
    """A parked event by its position; None if it is not parked, or the caller may not touch its group."""
    arguments = Arguments(before=2)
    statement = FIND.format(own=no_others(grant, arguments.add))
    row = await connection.fetchrow(statement, projection, position, *arguments)
    if row is None:
        return None
    event = row["event"]
    return ParkedOne(**{**row, "event": None if event is None else msgspec.Raw(event.encode())})
