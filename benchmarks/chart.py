"""The ratios as a picture: SVG, written by hand, because it is thirty lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.results import Line, number

WIDTH = 900
LABELS = 330
ROW = 30
TOP = 64
HEADING = 26
AXIS = 34
BOTTOM = 56
RIGHT = 150
SCALE_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MOST_STEPS = 12
MULTIPLE = "times_"
INK, QUIET, BAR, ASKED = "#1f2328", "#8b949e", "#2f6f9f", "#c2410c"


@dataclass(frozen=True)
class Panel:
    """Bars on one scale, under a heading."""

    heading: str
    lines: Sequence[Line]

    @property
    def height(self) -> int:
        return HEADING + ROW * len(self.lines) + AXIS


def draw(lines: Sequence[Line], *, subtitle: str) -> str:
    """A row for each ratio: a bar to the median, a thin line from the least to the most, a mark where it is asked."""
    panels = [
        Panel("Events per second, as a ratio to a bare HTTP server", [line for line in lines if is_ratio(line)]),
        Panel("Events per second, as a multiple of a peer's", [line for line in lines if is_multiple(line)]),
    ]
    shown = [panel for panel in panels if panel.lines]
    height = TOP + sum(panel.height for panel in shown) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(16, 26, "Headrace beside a bare HTTP server and its peers, in one session", size=16),
        _text(16, 46, subtitle, fill=QUIET),
    ]
    top = TOP
    for panel in shown:
        parts += _panel(panel, top)
        top += panel.height
    parts += [
        _text(16, height - 38, _latencies(lines)),
        f'<path d="M16 {height - 24}v14" stroke="{ASKED}" stroke-width="2"/>',
        _text(24, height - 13, "target", fill=QUIET),
        _text(110, height - 13, "bar: median of the rounds; thin line: least to most", fill=QUIET),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def is_ratio(line: Line) -> bool:
    """Whether a figure is a ratio to the bare server."""
    return line.shown.name.endswith("ratio")


def is_multiple(line: Line) -> bool:
    """Whether a figure is a multiple of what a peer does."""
    return line.shown.name.startswith(MULTIPLE)


def _panel(panel: Panel, top: float) -> list[str]:
    most = max([1.0, *(line.most for line in panel.lines), *(line.shown.at_least or 0 for line in panel.lines)])
    step = next((step for step in SCALE_STEPS if most / step <= MOST_STEPS), most / MOST_STEPS)
    unit = (WIDTH - LABELS - RIGHT) / most
    first = top + HEADING
    bottom = first + ROW * len(panel.lines)
    return [
        _text(16, top + 16, panel.heading, size=14),
        *(
            _tick(LABELS + place * step * unit, first, bottom, f"{place * step:g}")
            for place in range(int(most / step) + 1)
        ),
        *(part for place, line in enumerate(panel.lines) for part in _row(line, first + ROW * place, unit)),
    ]


def _row(line: Line, top: float, unit: float) -> list[str]:
    middle = top + ROW / 2
    least, median, most = (LABELS + value * unit for value in (line.least, line.middle, line.most))
    name = line.shown.name.removesuffix("ratio").strip("_")
    label = line.shown.label or line.comparison.title + (f", {name}" if name else "")
    parts = [
        _text(LABELS - 10, middle + 4, label, anchor="end"),
        f'<rect x="{LABELS}" y="{middle - 8}" width="{median - LABELS:.1f}" height="16" fill="{BAR}"/>',
        f'<path d="M{least:.1f} {middle}H{most:.1f}" stroke="{INK}" stroke-width="1.5"/>',
    ]
    value = number(line.middle)
    if line.shown.at_least is not None:
        value += f" (target {number(line.shown.at_least)})"
        place = LABELS + line.shown.at_least * unit
        parts.append(f'<path d="M{place:.1f} {top + 3}v{ROW - 6}" stroke="{ASKED}" stroke-width="2"/>')
    parts.append(_text(WIDTH - RIGHT + 20, middle + 4, value))
    return parts


def _latencies(lines: Sequence[Line]) -> str:
    shown = [line for line in lines if line.shown.name.startswith("visible_")]
    latencies = ", ".join(f"{number(line.middle)} ms ({line.shown.name.split('_')[1]})" for line in shown)
    return f"{shown[0].comparison.title}: an event is in its projection after {latencies}" if shown else ""


def _tick(place: float, top: float, bottom: float, label: str) -> str:
    line = f'<path d="M{place:.1f} {top}V{bottom}" stroke="#d0d7de"/>'
    return line + _text(place, bottom + 18, label, anchor="middle", fill=QUIET)


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, size: int = 13) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}" font-size="{size}">{escape(text)}</text>'
