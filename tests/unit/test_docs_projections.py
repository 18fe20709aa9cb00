"""The code in docs/projections.md runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "projections.md"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The page's code blocks as modules, by the file that the first line of each names."""
    loaded = {}
    for path, code in re.findall(r"```python\n# (\S+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL):
        module = ModuleType(path.replace("/", "."))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, f"{PAGE.name}: {path}.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102
        loaded[module.__name__] = module
    return loaded


def test_every_block_of_code_names_its_file(modules: dict[str, ModuleType]) -> None:
    assert list(modules) == ["agents.projections.doors", "tests.unit.test_doors"]
    assert PAGE.read_text().count("```") == 2 * len(modules)


def test_the_tests_on_the_page_pass(modules: dict[str, ModuleType]) -> None:
    tests = [member for name, member in vars(modules["tests.unit.test_doors"]).items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_projection_of_the_page_takes_its_types_of_event(modules: dict[str, ModuleType]) -> None:
    doors = modules["agents.projections.doors"].doors
    assert set(doors.by_type) == {"door.opened", "door.removed"}
    assert doors.fields.keys() <= set(doors.state.__struct_fields__)


def test_the_links_of_the_page_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())
    assert links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []
