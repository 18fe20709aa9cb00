"""docs/security.md: each requirement of the catalogues has its row, and each test that a row names exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
POLICY = (ROOT / "SECURITY.md").read_text("utf-8")
NUMBER = r"\d+\.\d+\.\d+"
# ASVS 5.0.0: the last requirement of levels 1 and 2 in each section; those of level 3 come after it.
SECTIONS = {
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
    "12.1": 3, "12.2": 2, "12.3": 4,
    "13.1": 1, "13.2": 5, "13.3": 2, "13.4": 5,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip


def requirements() -> list[str]:
    return [f"{section}.{number}" for section, last in SECTIONS.items() for number in range(1, last + 1)]


def rows() -> Iterator[tuple[str, list[str]]]:
    """The first cell and all cells of each row below the heading of the requirements."""
    for line in PAGE.partition("\n## Requirements\n")[2].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and not line.startswith(("| ---", "| requirement", "| risk")):
            yield cells[0], cells


def numbers(text: str) -> Iterator[str]:
    """The requirements that a cell begins with, such as `6.1.2, 6.2.1 to 6.2.12`."""
    listed = re.match(rf"{NUMBER}(?:(?:, | to ){NUMBER})*", text)
    for first, last in re.findall(rf"({NUMBER})(?: to ({NUMBER}))?", listed[0] if listed else ""):
        section, _, begin = first.rpartition(".")
        end = last.rpartition(".")[2] or begin
        yield from (f"{section}.{number}" for number in range(int(begin), int(end) + 1))


def test_every_requirement_has_one_row() -> None:
    assert sorted(number for cell, _ in rows() for number in numbers(cell)) == sorted(requirements())


def test_every_risk_of_the_ten_has_one_row() -> None:
    risks = [cell.split()[0] for cell, _ in rows() if cell.startswith("API")]
    assert risks == [f"API{number}" for number in range(1, 11)]


def test_a_row_has_three_cells_and_a_reason() -> None:
    assert [cells for _, cells in rows() if len(cells) not in {2, 3} or not cells[1]] == []


def test_each_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 50
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []


def test_each_link_has_a_target() -> None:
    for folder, text in (("docs", PAGE), ("", POLICY)):
        for target in re.findall(r"\]\((?!https:)([^)#]+)", text):
            assert (ROOT / folder / target).exists(), target


def test_the_set_up_has_ten_lines_and_uses_settings_that_exist() -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE.partition("\n## Set-up\n")[2], re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) == 10
    named = {name.removesuffix("_FILE").lower() for name in re.findall(r"\b([A-Z][A-Z_]+)=", block)}
    assert named - set(Settings.__struct_fields__) == set()
