"""`event_store` as an audit log: pages of events that match filters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from headrace.access.grant import Grant
from headrace.events.topic_record import is_whole
from tables import allowed
from tables.allowed import Arguments, Columns
from tables.database import AnyConnection

Filter = Literal["type", "source", "subject", "after", "from", "to"]

MAX_PAGE_BYTES = 8 * 1024 * 1024
PAGE = """
SELECT position, recorded_at, event_time, received_by, text, found
FROM (
    SELECT position, recorded_at, event_time, received_by, text, count(*) OVER () AS found,
           sum(octet_length(text)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
               - octet_length(text) AS bytes_before
    FROM (
        SELECT position, recorded_at, event_time, received_by, event_as_text(event) AS text FROM event_store
        WHERE true{conditions}
        ORDER BY {order} LIMIT $1
    ) AS next
) AS page
WHERE bytes_before < $2
ORDER BY {order}
"""
CONDITIONS: dict[Filter, str] = {
    "type": "event_type = {value}::text",
    "source": "source = {value}::text",
    "subject": "subject = {value}::text",
    "after": "position > {value}::text::bigint",
    "from": "event_time >= {value}::text::timestamptz",
    "to": "event_time < {value}::text::timestamptz",
}
COLUMNS = Columns("source", "subject", "event_type")
# Both orders follow an index; a range of times may be anywhere among the positions.
BY_POSITION = "position"
BY_TIME = "event_time, position"
AFTER_POSITION = "position > {position}::text::bigint"
AFTER_TIME = "(event_time, position) > ({time}::text::timestamptz, {position}::text::bigint)"


UNREADABLE = (
    "PostgreSQL cannot write the event as text: its numbers have too many digits. It is shown without its data."
)


class LoggedEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event, with its position and the time when it was stored."""

    position: int
    recorded_at: datetime
    event: msgspec.Raw
    """The envelope as PostgreSQL returns it, never decoded, so that even a number of 30 digits is exact."""
    received_by: str | None = None
    """The id of the caller who sent it; absent if that is not known."""
    error: str | None = None
    """Why the envelope lacks its data; usually absent."""


class LogPlace(NamedTuple):
    """The end of a page; `time` is RFC 3339 in UTC, and None if the log is read by position."""

    time: str | None
    position: str


class LogPage(NamedTuple):
    """Events in order, and where the next page starts; None if this is the last page."""

    events: list[LoggedEvent]
    end: LogPlace | None


def is_by_time(filters: Mapping[Filter, str]) -> bool:
    """Whether events that match these filters are read in order of time rather than of position."""
    return "from" in filters or "to" in filters


async def read_log(
    connection: AnyConnection,
    filters: Mapping[Filter, str],
    *,
    after: LogPlace | None = None,
    limit: int,
    grant: Grant | None = None,
) -> LogPage:
    """The first `limit` events after a place that match all filters; fewer if they exceed 8 MiB of JSON.

    Only events that the caller may touch; None: all.
    An event that PostgreSQL cannot write as text has no data and an `error`.
    """
    statement, arguments = _statement(filters, after, grant)
    rows = await connection.fetch(statement, limit + 1, MAX_PAGE_BYTES, *arguments)
    page = rows[:limit]
    events = [_logged(row["position"], row["recorded_at"], row["received_by"], row["text"]) for row in page]
    if not page or page[0]["found"] == len(page):
        return LogPage(events, None)
    last = page[-1]
    time = last["event_time"].isoformat().replace("+00:00", "Z") if is_by_time(filters) else None
    return LogPage(events, LogPlace(time, str(last["position"])))


def _logged(position: int, recorded_at: datetime, received_by: str | None, text: str) -> LoggedEvent:
    error = None if is_whole(text) else UNREADABLE
    return LoggedEvent(position, recorded_at, msgspec.Raw(text.strip().encode()), received_by, error)


def _statement(
    filters: Mapping[Filter, str], after: LogPlace | None, grant: Grant | None = None
) -> tuple[str, list[str | list[str]]]:
    """PAGE, composed of the fragments above; all values are arguments."""
    arguments = Arguments(before=2)
    argument = arguments.add
    conditions = [CONDITIONS[name].format(value=argument(value)) for name, value in filters.items()]
    conditions += allowed.conditions(grant, COLUMNS, argument)
    by_time = is_by_time(filters)
    if after is not None and after.time is not None:
        conditions.append(AFTER_TIME.format(time=argument(after.time), position=argument(after.position)))
    elif after is not None:
        conditions.append(AFTER_POSITION.format(position=argument(after.position)))
    statement = PAGE.format(
        conditions="".join(f" AND {one}" for one in conditions), order=BY_TIME if by_time else BY_POSITION
    )
    return statement, arguments
