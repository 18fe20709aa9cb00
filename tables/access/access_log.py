"""`access_log`: who did what. Rows are only inserted; the database refuses every other change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from headrace.access.access_log import Entry
from tables.database import AnyConnection, storable

MAX_CHARACTERS = 300
"""Of each text; the rest is cut off."""
INSERT = """
INSERT INTO access_log (at, request_id, caller, caller_name, address, action, target, outcome, status, detail)
SELECT coalesce(at, clock_timestamp()), request_id, caller, caller_name, address, action, target, outcome, status,
       detail::jsonb
FROM unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::smallint[], $10::text[]
) WITH ORDINALITY
    AS entry (at, request_id, caller, caller_name, address, action, target, outcome, status, detail, place)
ORDER BY place
"""
PAGE = """
SELECT position, at, request_id, caller, caller_name, address, action, target, outcome, status, detail::text AS detail
FROM access_log
WHERE position < $1{conditions}
ORDER BY position DESC
LIMIT $2
"""
Filter = Literal["caller", "action", "from", "to"]
CONDITIONS: dict[Filter, str] = {
    "caller": "caller = {value}::text",
    "action": "action = {value}::text",
    "from": "at >= {value}::text::timestamptz",
    "to": "at < {value}::text::timestamptz",
}
NEWEST = 2**63 - 1

encode = msgspec.json.Encoder().encode


class LoggedAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """An entry, as it was written."""

    position: int
    at: datetime
    caller: str
    caller_name: str
    action: str
    target: str
    outcome: str
    detail: msgspec.Raw
    request_id: str | None = None
    address: str | None = None
    status: int | None = None


class AccessPage(NamedTuple):
    """Entries, newest first, and whether there are older entries."""

    entries: list[LoggedAction]
    more: bool


async def record(connection: AnyConnection, *entries: Entry) -> None:
    """Write entries in one statement: in the transaction of the action, if there is one."""
    await connection.execute(
        INSERT,
        [entry.at for entry in entries],
        [_text(entry.request_id) for entry in entries],
        [_text(entry.caller) for entry in entries],
        [_text(entry.caller_name) for entry in entries],
        [_text(entry.address) for entry in entries],
        [entry.action.value for entry in entries],
        [_text(entry.target) for entry in entries],
        [entry.outcome.value for entry in entries],
        [entry.status for entry in entries],
        [_detail(entry) for entry in entries],
    )


async def read_page(
    connection: AnyConnection, filters: Mapping[Filter, str], *, before: int = NEWEST, at_most: int
) -> AccessPage:
    """The newest entries with a position less than `before` that match all filters; times are RFC 3339."""
    conditions = "".join(
        f" AND {CONDITIONS[name].format(value=f'${place}')}" for place, name in enumerate(filters, start=3)
    )
    rows = await connection.fetch(PAGE.format(conditions=conditions), before, at_most + 1, *filters.values())
    return AccessPage([_logged(dict(row)) for row in rows[:at_most]], len(rows) > at_most)


def _logged(row: dict[str, object]) -> LoggedAction:
    return msgspec.convert({**row, "detail": msgspec.Raw(str(row["detail"]).encode())}, LoggedAction)


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text[:MAX_CHARACTERS])


def _detail(entry: Entry) -> str:
    # What jsonb cannot hold is replaced: an entry that cannot be written would be tried again and again.
    return encode({name: _text(one) if isinstance(one, str) else one for name, one in entry.detail.items()}).decode()
