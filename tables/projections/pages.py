"""`projections`, by pages: rows that match filters, sorted, after a given place.

A field that is declared `indexed` has an index on `SORT_VALUE` and the key (`tables.projections.field_indexes`); the
statements here are written so that filters and sorts can use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from tables import allowed
from tables.allowed import Arguments, Owners, end_of_prefix
from tables.database import AnyConnection
from tables.projections.rows import Row

Kind = Literal["text", "number", "time", "date", "boolean"]
Member = str | tuple[str, ...]
"""A member of the state, or the members that lead to one; `ROW_KEY` is the row's key."""
ROW_KEY: Member = ()
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "prefix"]

PAGE = """
SELECT key, position, version, updated_at, state, sorted_by::text AS sort_value
FROM (
    SELECT key, position, version, updated_at, state, {sorted_by} AS sorted_by
    FROM projections
    WHERE projection = $1{conditions}
) AS found
{part}
ORDER BY {order}
LIMIT $2::bigint
"""
MAX_PAGE_BYTES = 4 * 1024 * 1024
# The rows of a page in their order, each with its state as text, or without it if the rows before have too many bytes.
WITHIN_BYTES = """
SELECT key, position, version, updated_at,
       CASE WHEN bytes - octet_length(state) < $3::bigint THEN state END AS state, sort_value,
       octet_length(state) AS size
FROM (
    SELECT key, position, version, updated_at, state, sort_value,
           sum(octet_length(state)) OVER (ROWS UNBOUNDED PRECEDING) AS bytes
    FROM (
        SELECT key, position, version, updated_at, state::text AS state, sort_value FROM ({page}) AS page OFFSET 0
    ) AS as_text
) AS measured
"""

# A sort value must fit into a cursor in a URL, and an indexed value into an index. So longer texts are truncated, and
# longer numbers count as absent, in filters too.
SORT_TEXT_CHARACTERS = 256
NUMBER_CHARACTERS = 1000
# The value of a member for comparisons. It is NULL, for which no comparison is true, if the member is absent, null or
# not of the field's kind. A time becomes the text of its instant (headrace.events.rfc3339.instant): C collation orders
# it to the last digit, and no text in a state makes it fail, as a cast to timestamptz could. A time in UTC needs no
# function (a leap second, `:60Z`, is then after `:59Z` and before the next second); all others are converted by
# instant_of (migration 016).
VALUE: dict[Kind, str] = {
    "text": """(({parent} ->> {member}) COLLATE "C")""",
    "number": f"""(CASE WHEN jsonb_typeof({{parent}} -> {{member}}) = 'number'
        AND length({{parent}} ->> {{member}}) <= {NUMBER_CHARACTERS} THEN ({{parent}} ->> {{member}})::numeric END)""",
    "time": """(CASE
        WHEN {parent} ->> {member} LIKE '____-__-__T__:__:__%Z'
        THEN left({parent} ->> {member}, 19) || rtrim(substr({parent} ->> {member}, 20), '.0Z')
        WHEN {parent} ->> {member} LIKE '____-__-_____:__:%' THEN instant_of({parent} ->> {member})
        END COLLATE "C")""",
    "date": """(CASE WHEN {parent} ->> {member} ~ '^[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
        THEN {parent} ->> {member} END COLLATE "C")""",
    "boolean": """(CASE WHEN jsonb_typeof({parent} -> {member}) = 'boolean'
        THEN ({parent} -> {member})::boolean END)""",
}
SORT_VALUE: dict[Kind, str] = {
    **VALUE,
    "text": f"left({VALUE['text']}, {SORT_TEXT_CHARACTERS})",
    "time": f"left({VALUE['time']}, {SORT_TEXT_CHARACTERS})",
}
CAST: dict[Kind, str] = {
    "text": "{value}::text",
    "number": "{value}::text::numeric",
    "time": "{value}::text",
    "date": "{value}::text",
    "boolean": "{value}::text::boolean",
}
CAST_LIST: dict[Kind, str] = {
    "text": "{value}::text[]",
    "number": "{value}::text[]::numeric[]",
    "time": "{value}::text[]",
    "date": "{value}::text[]",
    "boolean": "{value}::text[]::boolean[]",
}
CONDITION: dict[Operator, str] = {
    "eq": "{member} = {value}",
    "ne": "{member} <> {value}",
    "gt": "{member} > {value}",
    "gte": "{member} >= {value}",
    "lt": "{member} < {value}",
    "lte": "{member} <= {value}",
    "in": "{member} = ANY ({value})",
    # A range, because an index serves it: no truncated text with this prefix is greater than its upper end.
    "prefix": f"{{member}} BETWEEN {{value}} AND rpad({{value}}, {SORT_TEXT_CHARACTERS}, chr({0x10FFFF}))",
}
LONG_PREFIX = "starts_with({member}, {value})"
KEY_PREFIX = "{member} >= {value}"
BELOW = " AND {member} < {value}"
COUNT = "SELECT count(*) FROM projections WHERE projection = $1{conditions}"

# First the rows with a sort value, in either direction, then those without. Row comparisons of (value, key), because
# they let an index scan start in the middle.
WITH_VALUE = "WHERE sorted_by IS NOT NULL{after}"
WITHOUT_VALUE = "WHERE sorted_by IS NULL{after}"
AFTER_KEY = " AND key > {key}::text"
AFTER_ASCENDING = " AND (sorted_by, key) > ({value}, {key}::text)"
AFTER_DESCENDING = " AND (sorted_by, key) < ({value}, {key}::text)"
BY_KEY = "key"
ASCENDING = "sorted_by, key"
DESCENDING = "sorted_by DESC, key DESC"


class FieldCondition(NamedTuple):
    """A comparison that rows must match.

    The value is a text, a number or a boolean in JSON form, a date, or a time as returned by
    `headrace.events.rfc3339.instant`; a list of these for `in`. The kind of `ROW_KEY` is text.
    """

    member: Member
    kind: Kind
    operator: Operator
    value: str | list[str]


class Sort(NamedTuple):
    """The member by which rows are sorted.

    Rows with equal values are sorted by key in the same direction. Rows without a value are last in both directions,
    by ascending key.
    """

    member: Member
    kind: Kind
    descending: bool


class Place(NamedTuple):
    """The end of a page. The next page has the rows after it, whatever was added or deleted meanwhile."""

    sort_value: str | None
    key: str


class Page(NamedTuple):
    """Rows in order, and where the next page starts; None if this is the last page."""

    rows: list[Row]
    end: Place | None


async def read_page(
    connection: AnyConnection,
    projection: str,
    *,
    conditions: Sequence[FieldCondition] = (),
    sort: Sort | None = None,
    after: Place | None = None,
    limit: int,
    owners: Owners | None = None,
) -> Page:
    """The first `limit` rows after a place that match all conditions, in order of `sort`, or of key if it is None.

    Other rows than those of `owners` do not exist; None: all do.

    Fewer if their states exceed `MAX_PAGE_BYTES`, but at least one.
    """
    rows: list[Row] = []
    places: list[Place] = []
    left = MAX_PAGE_BYTES
    for statement, arguments in page_statements(conditions, sort, after, owners):
        for key, position, version, updated_at, state, value, size in await connection.fetch(
            statement, projection, limit + 1 - len(rows), left, *arguments
        ):
            if state is None:
                return Page(rows, places[-1])
            left -= size
            rows.append(Row(projection, key, position, version, updated_at, msgspec.Raw(state)))
            places.append(Place(value, key))
        if len(rows) > limit:
            return Page(rows[:limit], places[limit - 1])
    return Page(rows, None)


async def count_rows(
    connection: AnyConnection, projection: str, conditions: Sequence[FieldCondition], owners: Owners | None = None
) -> int:
    """How many rows match all conditions; it reads all of them."""
    arguments = Arguments(before=1)
    statement = COUNT.format(conditions=_conditions((conditions, owners), arguments))
    count: int = await connection.fetchval(statement, projection, *arguments)
    return count


def expression(template: str, members: Sequence[str]) -> str:
    """A template of `VALUE` or `SORT_VALUE` for a member that these SQL expressions, each a text, lead to."""
    return template.format(parent=" -> ".join(["state", *members[:-1]]), member=members[-1])


def path_of(member: Member) -> tuple[str, ...]:
    """The members that lead to a member, the last itself; empty for the row's key."""
    return (member,) if isinstance(member, str) else member


def page_statements(
    conditions: Sequence[FieldCondition], sort: Sort | None, after: Place | None, owners: Owners | None = None
) -> Iterator[tuple[str, list[str | list[str]]]]:
    """The statements whose results together are a page, each with its arguments after projection, limit and bytes.

    A statement is PAGE within WITHIN_BYTES, composed of the fragments above; all values are arguments.
    """
    matching = (conditions, owners)
    if sort is None:
        yield _statement(matching, None, "WHERE true" + AFTER_KEY if after else "", BY_KEY, after)
        return
    if after is None or after.sort_value is not None:
        following = AFTER_DESCENDING if sort.descending else AFTER_ASCENDING
        part = WITH_VALUE.format(after=following if after else "")
        yield _statement(matching, sort, part, DESCENDING if sort.descending else ASCENDING, after)
        after = None
    yield _statement(matching, sort, WITHOUT_VALUE.format(after=AFTER_KEY if after else ""), ASCENDING, after)


def _statement(
    matching: tuple[Sequence[FieldCondition], Owners | None],
    sort: Sort | None,
    part: str,
    order: str,
    after: Place | None,
) -> tuple[str, list[str | list[str]]]:
    arguments = Arguments(before=3)
    sorted_by = "NULL"
    if sort is not None:
        sorted_by = _member(SORT_VALUE[sort.kind], sort.member, arguments)
    place = {}
    if after is not None:
        place["key"] = arguments.add(after.key)
        if sort is not None and after.sort_value is not None:
            place["value"] = CAST[sort.kind].format(value=arguments.add(after.sort_value))
    statement = PAGE.format(
        sorted_by=sorted_by,
        conditions=_conditions(matching, arguments),
        part=part.format(**place),
        order=order,
    )
    return WITHIN_BYTES.format(page=statement), arguments


def _member(template: str, member: Member, arguments: Arguments) -> str:
    return expression(template, [arguments.add(name) + "::text" for name in path_of(member)])


def _conditions(matching: tuple[Sequence[FieldCondition], Owners | None], arguments: Arguments) -> str:
    conditions, owners = matching
    found = [_on_key(one, arguments) if one.member == ROW_KEY else _condition(one, arguments) for one in conditions]
    if owners is not None:
        found.append(_owned(owners, arguments))
    return "".join(f" AND {one}" for one in found)


def _owned(owners: Owners, arguments: Arguments) -> str:
    if owners.member == ROW_KEY:
        return allowed.condition("key", owners.allowed, arguments.add)
    # As in _condition: truncated texts decide it, unless a pattern is longer.
    is_short = all(len(one) < SORT_TEXT_CHARACTERS for one in (*owners.allowed.prefixes, *owners.allowed.exact))
    text = _member((SORT_VALUE if is_short else VALUE)["text"], owners.member, arguments)
    return allowed.condition(text, owners.allowed, arguments.add)


def _condition(condition: FieldCondition, arguments: Arguments) -> str:
    member, kind, operator, value = condition
    # Truncated texts, which an index has, decide every comparison with a shorter value.
    values = [value] if isinstance(value, str) else value
    is_short = all(len(one) < SORT_TEXT_CHARACTERS for one in values)
    comparison = LONG_PREFIX if operator == "prefix" and not is_short else CONDITION[operator]
    return comparison.format(
        member=_member((SORT_VALUE if is_short else VALUE)[kind], member, arguments),
        value=(CAST_LIST if operator == "in" else CAST)[kind].format(value=arguments.add(value)),
    )


def _on_key(condition: FieldCondition, arguments: Arguments) -> str:
    """A condition on the key, which the index of the primary key serves."""
    value = (CAST_LIST if condition.operator == "in" else CAST)["text"].format(value=arguments.add(condition.value))
    if condition.operator != "prefix":
        return CONDITION[condition.operator].format(member="key", value=value)
    assert isinstance(condition.value, str)
    end = end_of_prefix(condition.value)
    below = "" if end is None else BELOW.format(member="key", value=arguments.add(end) + "::text")
    return KEY_PREFIX.format(member="key", value=value) + below
