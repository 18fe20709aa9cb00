"""What is allowed is the same in SQL as in `Allowed.has`, to the code point."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.access.grant import Allowed
from tables.allowed import Arguments, condition
from tables.database import Connection

letters = st.sampled_from(
    [*"aA/0.%_\\' ", "\u00e9", "\u0301", "\ud7ff", "\ue000", "\uffff", "\U0001f331", "\U0010ffff"]
)
texts = st.text(letters, max_size=4)
patterns = st.one_of(texts, st.text(st.one_of(letters, st.sampled_from(["\0", "\ud800"])), max_size=3))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    exact=st.lists(patterns, max_size=3),
    prefixes=st.lists(patterns, max_size=3),
    values=st.lists(st.one_of(st.none(), texts, texts.map(lambda text: f"a/{text}")), min_size=1, max_size=9),
)
async def test_sql_and_python_allow_the_same(
    connection: Connection, exact: list[str], prefixes: list[str], values: list[str | None]
) -> None:
    allowed = Allowed(tuple(prefixes), frozenset(exact))
    arguments = Arguments(before=1)
    own = condition('asked.text COLLATE "C"', allowed, arguments.add)
    statement = (
        f"SELECT coalesce({own}, false) FROM unnest($1::text[]) WITH ORDINALITY AS asked (text, place) ORDER BY place"
    )
    found = [row[0] for row in await connection.fetch(statement, values, *arguments)]
    assert found == [allowed.has(value) for value in values]
