"""Writes the table of routes in docs/access.md from `web.access.route_scopes` (make docs); a test compares the two."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "access.md"
sys.path.insert(0, str(ROOT))

from headrace.access.scopes import ALL_SCOPES  # noqa: E402 - the path comes first
from web.access.route_scopes import ROUTE_SCOPES, WITH_PARAMETER, Need  # noqa: E402

BEGIN, END = "<!-- routes: written by make docs -->\n", "<!-- end of routes -->\n"


def rows() -> Iterator[str]:
    """The lines of the table."""
    yield "| method | path | scope |\n| --- | --- | --- |\n"
    by_parameter = {(method, f"{path}?{name}"): need for ((method, path), name), need in WITH_PARAMETER.items()}
    for (method, path), need in sorted({**ROUTE_SCOPES, **by_parameter}.items(), key=lambda one: one[0][::-1]):
        yield f"| {method} | `{path}` | {in_words(need)} |\n"


def in_words(need: Need) -> str:
    """What a route needs."""
    if not need:
        return "open"
    return "any" if need == ALL_SCOPES else " or ".join(f"`{scope}`" for scope in sorted(need))


def text(page: str) -> str:
    """The page with the table of today."""
    table = BEGIN + "\n" + "".join(rows()) + "\n" + END
    return re.sub(f"{BEGIN}.*{END}", lambda _: table, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text("utf-8")), "utf-8")
