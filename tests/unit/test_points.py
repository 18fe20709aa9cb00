"""Points of a feed of changes, and their texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.projections.changes import Point
from web.query.change_points import from_text, to_text

positions = st.integers(1, 10**12)
points = st.builds(
    Point, st.integers(0, 10**9), st.integers(0, 10**9), st.dictionaries(st.integers(0, 20), positions, max_size=12)
)


@given(points)
def test_a_point_comes_back_from_its_text(point: Point) -> None:
    text = to_text(point)
    assert from_text(text) == point
    assert text.isascii()
    assert not {"\n", "\r", "\0"} & set(text)


def test_the_text_of_a_thousand_partitions_fits_into_a_header() -> None:
    progress = {partition: 5_000_000_000 + partition * 97 for partition in range(1_000)}
    assert len(to_text(Point(10**6, 10**6, progress))) < 7_000


@given(points, points)
def test_merged_points_are_at_or_after_both(one: Point, other: Point) -> None:
    merged = one.merged(other)
    assert merged.is_at_or_after(one)
    assert merged.is_at_or_after(other)
    assert one.is_at_or_after(other) == (one.merged(other)[1:] == one[1:])


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.2", "1.2.x", "1.2.3.4", "-1.2.3", "1..3", "٢.1.1", "1.2.3 ", "9" * 19 + ".1.1", "1.1.1" + ".0" * 2000],
)
def test_any_other_text_is_no_point(text: str) -> None:
    with pytest.raises(ValueError, match="not a point"):
        from_text(text)
