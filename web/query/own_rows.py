"""Whose rows a caller may read: a projection declares which part of a row is the subject of its events."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from headrace.access.grant import Grant
from headrace.projection import Projection
from tables.allowed import Owners
from tables.database import Database
from tables.projections.changes import Change
from tables.projections.pages import ROW_KEY, FieldCondition, read_page
from tables.projections.rows import Row
from web.access.grants import allowed_in_words, limits_of, not_yours

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


def owners_for(request: web.BaseRequest, projection: Projection[Any]) -> Owners | None:
    """Whose rows the caller may read; None: everybody's. Raises Problem (403) if it may read none."""
    limits = limits_of(request)
    if limits is None:
        return None
    owners = owners_of(limits, projection)
    if owners is None:
        raise not_yours(_why_none(limits, projection))
    return owners


def owners_of(limits: Grant, projection: Projection[Any]) -> Owners | None:
    """Whose rows a caller with these limits may read; None: nobody's."""
    member = projection.subject_member
    if member is None or limits.subjects is None or limits.sources is not None or limits.types is not None:
        return None
    return Owners(member, limits.subjects)


def check_key(owners: Owners | None, key: str) -> None:
    """Raise Problem (403) if the key alone says that the row is another's."""
    if owners is not None and owners.member == ROW_KEY and not owners.allowed.has(key):
        raise not_yours(f"The key of the row is the subject of its events. {allowed_in_words(owners.allowed)}")


async def read_own_row(database: Database, projection: str, key: str, owners: Owners) -> Row | None:
    """The row, if the caller may read it; None whether it is another's or does not exist."""
    wanted = FieldCondition(ROW_KEY, "text", "eq", key)
    async with database.acquire("rows") as connection:
        page = await read_page(connection, projection, conditions=[wanted], limit=1, owners=owners)
    return next(iter(page.rows), None)


def is_own_row(owners: Owners, row: Row) -> bool:
    """Whether the caller may read a row that was not read by these `owners`."""
    return owners.allowed.has(row.key if owners.member == ROW_KEY else _subject(row.state, owners.member))


def is_own_change(owners: Owners, change: Change) -> bool:
    """Whether the caller may receive a change; a row that is gone belongs to the subject of its last events."""
    if change.row is not None:
        return is_own_row(owners, change.row)
    if owners.member == ROW_KEY:
        return owners.allowed.has(change.key)
    return all(owners.allowed.has(subject) for subject in change.subjects)


def _subject(state: bytes, member: str | tuple[str, ...]) -> str | None:
    """The text in this member; None if there is none. Only texts are decoded, so no number is too large."""
    raw = bytes(state)
    for name in (member,) if isinstance(member, str) else member:
        if not raw.startswith(b"{"):
            return None
        raw = bytes(_members.decode(raw).get(name, b""))
    return _text.decode(raw) if raw.startswith(b'"') else None


def _why_none(limits: Grant, projection: Projection[Any]) -> str:
    if limits.sources is not None or limits.types is not None:
        return (
            "Rows are made of events of all sources and types, so a key that is limited to some of them may not read "
            "rows. Use a key that is limited by subjects only."
        )
    return (
        f"The projection {projection.name} does not declare whose its rows are, so only a key without limits may read "
        "them."
    )
