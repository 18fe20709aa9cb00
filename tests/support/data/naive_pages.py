"""Rows of a projection with members of every kind, and what a filter and a sort of them mean, in plain Python."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from headrace.events.rfc3339 import instant
from tables.database import Pool
from tables.projections.pages import SORT_TEXT_CHARACTERS, Condition, Kind, Operator, Sort

MADE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
WRITE = """
INSERT INTO projections (projection, key, state, position, version, updated_at)
SELECT $1, row.key, row.state::jsonb, 7, 3, $4 FROM unnest($2::text[], $3::text[]) AS row (key, state)
ON CONFLICT (projection, key) DO UPDATE SET state = excluded.state
"""
LONG = "x" * (SORT_TEXT_CHARACTERS - 1)
KINDS: dict[str, Kind] = {"t": "text", "n": "number", "d": "time"}

keys = st.text(st.sampled_from("aAbB/ %é😀\n"), min_size=1, max_size=3)
times = st.builds(
    lambda second, fraction: f"2026-01-01T00:00:{second:02}{fraction}Z",
    st.integers(0, 2),
    st.sampled_from(["", ".5", ".50", ".123456789", ".1234567891", ".000"]),
)
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
    "n": st.sampled_from([0, -1, 2, 10, 9, 0.5, 10**29 + 1, 10**29 + 2, -0.25]),
    "d": times,
}
wrong: dict[str, st.SearchStrategy[Any]] = {
    "t": st.nothing(),
    "n": st.sampled_from(["1", True, {"n": 1}]),
    "d": st.sampled_from(["soon", "2026-01-01", 1, "2026-01-01T00:00:00+01:00"]),
}
states = st.fixed_dictionaries({}, optional={m: members[m] | st.none() | wrong[m] for m in members})
tables_of_rows = st.dictionaries(keys, states, max_size=12)
sorts = st.none() | st.builds(
    lambda m, descending: Sort(m, KINDS[m], descending), st.sampled_from("tnd"), st.booleans()
)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    member = draw(st.sampled_from("tnd"))
    operators: list[Operator] = ["eq", "ne", "gt", "gte", "lt", "lte", "in"]
    if member == "t":
        operators.append("prefix")
    operator = draw(st.sampled_from(operators))
    value = members[member].map(lambda value: _as_asked(member, value))
    if operator == "in":
        return Condition(member, KINDS[member], operator, draw(st.lists(value, max_size=3)))
    return Condition(member, KINDS[member], operator, draw(value))


def _as_asked(member: str, value: Any) -> str:
    return instant(value) if member == "d" else value if member == "t" else json.dumps(value)


def comparable(member: str, value: Any) -> Any:
    """What a member is compared by; None where no comparison is true."""
    if member == "t":
        return value
    if member == "n":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return instant(value) if isinstance(value, str) and value.endswith("Z") else None


def passes(state: dict[str, Any], condition: Condition) -> bool:
    have = comparable(condition.member, state.get(condition.member))
    if have is None:
        return False
    if condition.operator == "in":
        return have in [_asked(condition.member, value) for value in condition.value]
    assert isinstance(condition.value, str)
    want = _asked(condition.member, condition.value)
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


def _asked(member: str, value: str) -> Any:
    return json.loads(value) if member == "n" else value


def in_order(rows: dict[str, dict[str, Any]], sort: Sort | None) -> list[str]:
    ordered = sorted(rows)
    if sort is None:
        return ordered
    values = {key: comparable(sort.member, rows[key].get(sort.member)) for key in ordered}
    present = [key for key in ordered if values[key] is not None]
    present.sort(key=lambda key: (_sorted_by(values[key]), key), reverse=sort.descending)
    return present + [key for key in ordered if values[key] is None]


def _sorted_by(value: Any) -> Any:
    return value[:SORT_TEXT_CHARACTERS] if isinstance(value, str) else value


async def write(pool: Pool, rows: dict[str, dict[str, Any]], projection: str = "things") -> None:
    await pool.execute(WRITE, projection, list(rows), [json.dumps(state) for state in rows.values()], MADE)
