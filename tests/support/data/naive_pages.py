"""Rows of a projection with members of every kind, and what a filter and a sort of them mean, in plain Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

from headrace.events.rfc3339 import instant, to_utc
from tables.database import Pool
from tables.projections.pages import (
    ROW_KEY,
    SORT_TEXT_CHARACTERS,
    FieldCondition,
    Kind,
    Member,
    Operator,
    Sort,
    path_of,
)

MADE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WRITE = """
INSERT INTO projections (projection, key, state, position, version, updated_at)
SELECT $1, row.key, row.state::jsonb, 7, 3, $4 FROM unnest($2::text[], $3::text[]) AS row (key, state)
ON CONFLICT (projection, key) DO UPDATE SET state = excluded.state
"""
LONG = "x" * (SORT_TEXT_CHARACTERS - 1)
KINDS: dict[str, Kind] = {"t": "text", "n": "number", "d": "time", "a": "date", "b": "boolean", "m.v": "number"}
MEMBERS: dict[str, Member] = {**dict(zip(KINDS, KINDS, strict=True)), "m.v": ("m", "v")}

keys = st.text(st.sampled_from("aAbB/ %é😀\n"), max_size=3)
times = st.builds(
    lambda second, fraction, zone: f"2026-01-01T{zone[0]}:00:{second:02}{fraction}{zone[1]}",
    st.integers(0, 2),
    st.sampled_from(["", ".5", ".50", ".123456789", ".1234567891", ".000"]),
    st.sampled_from([("00", "Z"), ("00", "z"), ("01", "+01:00"), ("00", "-00:00"), ("05", "+05:00")]),
)
numbers = st.sampled_from([0, -1, 2, 10, 9, 0.5, 10**29 + 1, 10**29 + 2, -0.25])
members: dict[str, st.SearchStrategy[Any]] = {
    "t": st.sampled_from(
        [
            "",
            "a",
            "A",
            "ab",
            "aé",
            "é",
            "😀",
            "\uffff",
            "\U0010ffff",
            'q"\\',
            "z",
            LONG,
            LONG + "1",
            LONG + "12",
            LONG + "13",
        ]
    ),
    "n": numbers,
    "d": times,
    "a": st.sampled_from(["2026-01-31", "2026-02-01", "0001-01-01", "9999-12-31", "2026-01-30"]),
    "b": st.booleans(),
    "m": st.fixed_dictionaries({}, optional={"v": numbers}),
    "m.v": numbers,
}
wrong: dict[str, st.SearchStrategy[Any]] = {
    "t": st.nothing(),
    "n": st.sampled_from(["1", True, {"n": 1}]),
    "d": st.sampled_from(["soon", "2026-01-01", 1, "2026-01-01T00:00:00", "2026-02-30T00:00:00+01:00", "9999-99-99TZ"]),
    "a": st.sampled_from(["today", "2026-1-31", "2026-13-01", "2026-01-01T00:00:00Z", 20260131, {"a": "2026-01-01"}]),
    "b": st.sampled_from(["true", 1, 0, [], {"b": True}]),
    "m": st.sampled_from([1, "v", [1], {"v": "1"}, {"v": {"v": 1}}, {"v": None}]),
}
states = st.fixed_dictionaries({}, optional={m: members[m] | st.none() | wrong[m] for m in wrong})
tables_of_rows = st.dictionaries(keys, states, max_size=12)
sorts = st.none() | st.builds(
    lambda name, descending: Sort(MEMBERS[name], KINDS[name], descending), st.sampled_from(list(KINDS)), st.booleans()
)


@st.composite
def conditions(draw: st.DrawFn) -> FieldCondition:
    name = draw(st.sampled_from([*KINDS, "key"]))
    kind, member = KINDS.get(name, "text"), MEMBERS.get(name, ROW_KEY)
    operators: list[Operator] = ["eq", "ne"]
    if kind != "boolean":
        operators += ["gt", "gte", "lt", "lte", "in"]
    if kind == "text":
        operators.append("prefix")
    operator = draw(st.sampled_from(operators))
    value = members.get(name, keys).map(lambda value: _as_asked(kind, value))
    if operator == "in":
        return FieldCondition(member, kind, operator, draw(st.lists(value, max_size=3)))
    return FieldCondition(member, kind, operator, draw(value))


def _as_asked(kind: Kind, value: Any) -> str:
    if kind == "time":
        return instant(to_utc(value))
    return json.dumps(value) if kind in {"number", "boolean"} else value


def comparable(kind: Kind, value: Any) -> Any:
    """What a member is compared by; None where no comparison is true."""
    if kind == "text":
        return value
    if kind == "number":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    try:
        return instant(to_utc(value)) if kind == "time" else date.fromisoformat(value).isoformat()
    except ValueError:
        return None


def value_of(row: tuple[str, Any], member: Member) -> Any:
    """What a row, a key and a state, has where the member leads."""
    key, found = row
    if member == ROW_KEY:
        return key
    for name in path_of(member):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def name_of(member: Member) -> str:
    """The field of this member, as a query names it."""
    return ".".join(path_of(member)) or "key"


def passing(rows: dict[str, dict[str, Any]], conditions: Sequence[FieldCondition]) -> dict[str, dict[str, Any]]:
    """The rows that match all conditions."""
    return {key: state for key, state in rows.items() if all(passes((key, state), one) for one in conditions)}


def passes(row: tuple[str, dict[str, Any]], condition: FieldCondition) -> bool:
    have = comparable(condition.kind, value_of(row, condition.member))
    if have is None:
        return False
    if condition.operator == "in":
        return have in [_asked(condition.kind, value) for value in condition.value]
    assert isinstance(condition.value, str)
    want = _asked(condition.kind, condition.value)
    return bool(
        {
            "eq": lambda: have == want,
            "ne": lambda: have != want,
            "gt": lambda: have > want,
            "gte": lambda: have >= want,
            "lt": lambda: have < want,
            "lte": lambda: have <= want,
            "prefix": lambda: have.startswith(want),
        }[condition.operator]()
    )


def _asked(kind: Kind, value: str) -> Any:
    return json.loads(value) if kind in {"number", "boolean"} else value


def in_order(rows: dict[str, dict[str, Any]], sort: Sort | None) -> list[str]:
    ordered = sorted(rows)
    if sort is None:
        return ordered
    values = {key: comparable(sort.kind, value_of((key, rows[key]), sort.member)) for key in ordered}
    present = [key for key in ordered if values[key] is not None]
    present.sort(key=lambda key: (_sorted_by(values[key]), key), reverse=sort.descending)
    return present + [key for key in ordered if values[key] is None]


def _sorted_by(value: Any) -> Any:
    return value[:SORT_TEXT_CHARACTERS] if isinstance(value, str) else value


async def write(pool: Pool, rows: dict[str, dict[str, Any]], projection: str = "things") -> None:
    await pool.execute(WRITE, projection, list(rows), [json.dumps(state) for state in rows.values()], MADE)
