"""The chart of the benchmarks: ratios to the bare server and multiples of a peer have a scale each."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.chart import draw
from benchmarks.registry import COMPARISONS
from benchmarks.results import Line


def every_line() -> list[Line]:
    return [Line(one, shown, 0.2, 0.4, 0.5, 5) for one in COMPARISONS for shown in one.shown]


def test_every_ratio_and_every_multiple_is_drawn() -> None:
    picture = ElementTree.fromstring(draw(every_line(), subtitle="here, today"))  # noqa: S314 - our own text
    texts = [element.text or "" for element in picture.iter() if element.tag.endswith("text")]
    assert "here, today" in texts
    for title in ("single posts until projected, two workers", "GET of a row"):
        assert title in texts
    for peer in ("the textbook stack", "Debezium Server", "Quix Streams"):
        assert any(text.endswith(f", of {peer}") for text in texts)


def test_what_was_not_measured_has_no_panel() -> None:
    ratios = [line for line in every_line() if line.shown.name == "ratio"]
    picture = draw(ratios, subtitle="")
    assert "ratio to a bare HTTP server" in picture
    assert "multiple" not in picture


def test_names_of_comparisons_are_told_apart() -> None:
    names = [one.name for one in COMPARISONS]
    assert len(set(names)) == len(names)
