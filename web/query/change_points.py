"""Points of a change feed as text: the values of `Last-Event-ID`."""

from __future__ import annotations

import re

from tables.projections.changes import Point

TEXT = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18}){2,1002}")


def to_text(point: Point) -> str:
    """Opaque to clients: the life, the number, the greatest position, and the distance of each partition from it."""
    progress = point.progress
    greatest = max(progress.values(), default=0)
    behind = [greatest - progress.get(partition, 0) for partition in range(max(progress, default=-1) + 1)]
    return ".".join(map(str, (point.life, point.unparked, greatest, *behind)))


def from_text(text: str) -> Point:
    """The point that `to_text` wrote. Raises ValueError for any other text."""
    if not TEXT.fullmatch(text):
        raise ValueError("not a point of a feed of changes")
    life, unparked, greatest, *behind = map(int, text.split("."))
    progress = {partition: greatest - distance for partition, distance in enumerate(behind) if distance != greatest}
    if any(position < 0 for position in progress.values()):
        raise ValueError("not a point of a feed of changes")
    return Point(life, unparked, progress)
