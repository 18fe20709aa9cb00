"""`instant_of` in PostgreSQL and `headrace.events.rfc3339` are one: whatever a text is, both make the same of it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.events.rfc3339 import instant, to_utc
from tables.database import Pool

INSTANT_OF = "SELECT instant_of(written) FROM unnest($1::text[]) WITH ORDINALITY AS u (written, n) ORDER BY n"
digits = st.text("0123456789", min_size=1, max_size=12)
zones = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+01:00", "-23:59", "+23:59", "+24:00", "+05:30", "", "+0100"])
times = st.builds(
    "{}-{}-{}{}{}:{}:{}{}{}".format,
    st.sampled_from(["0000", "0001", "1900", "2000", "2024", "2026", "9999", "99", "٢٠٢٦"]),
    st.sampled_from(["01", "02", "04", "12", "00", "13", "2"]),
    st.sampled_from(["01", "28", "29", "30", "31", "00", "32"]),
    st.sampled_from("Tt "),
    st.sampled_from(["00", "12", "23", "24"]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from(["00", "59", "60", "61"]),
    st.sampled_from(["", ".", ",5"]) | digits.map(".{}".format) | digits.map(".{}00".format),
    zones,
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def expected(text: str) -> str | None:
    try:
        return instant(to_utc(text))
    except ValueError:
        return None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(times | texts, min_size=1, max_size=50))
async def test_every_text_is_the_same_instant_in_both(pool: Pool, written: list[str]) -> None:
    found = [row[0] for row in await pool.fetch(INSTANT_OF, written)]
    assert found == [expected(one) for one in written]


@pytest.mark.parametrize(
    ("written", "instant_in_utc"),
    [
        ("2026-01-01T01:00:00.50+01:00", "2026-01-01T00:00:00.5"),
        ("2024-02-29T23:59:60-00:00", "2024-03-01T00:00:00"),
        ("2026-12-31T22:59:60.1-01:00", "2027-01-01T00:00:00.1"),
        ("2026-02-29T00:00:00Z", None),
        ("2026-01-01T00:00:00", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("9999-12-31T23:59:60Z", None),
        ("", None),
        ("x\n2026-01-01T00:00:00Z", None),
        ("2026-01-01T00:00:00Z\n", None),
    ],
)
async def test_examples_of_instants(pool: Pool, written: str, instant_in_utc: str | None) -> None:
    assert await pool.fetchval("SELECT instant_of($1)", written) == instant_in_utc
    assert expected(written) == instant_in_utc


async def test_no_setting_of_the_session_changes_an_instant(pool: Pool) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for name, value in {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Kolkata", "search_path": "pg_catalog"}.items():
            schema = await connection.fetchval("SELECT current_schema()")
            await connection.execute("SELECT set_config($1, $2, true)", name, value)
        found = await connection.fetchval(f'SELECT "{schema or "public"}".instant_of($1)', "2026-03-04T01:00:00+05:30")
    assert found == "2026-03-03T19:30:00"
