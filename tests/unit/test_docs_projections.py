"""The code in docs/projections.md runs as it stands."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from headrace.events.topic_record import PastEvent, past_records
from headrace.folding.blocked_groups import BlockedGroups
from headrace.folding.folding import Folding
from headrace.old_shapes import check_together

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
    assert list(modules) == [
        "agents.projections.doors",
        "tests.unit.test_doors",
        "agents.projections.rooms",
        "tests.unit.test_rooms",
    ]
    assert PAGE.read_text().count("```") == 2 * len(modules)


def test_the_tests_on_the_page_pass(modules: dict[str, ModuleType]) -> None:
    tests = [
        member
        for module in ("tests.unit.test_doors", "tests.unit.test_rooms")
        for name, member in vars(modules[module]).items()
        if name.startswith("test_")
    ]
    assert len(tests) == 3
    for test in tests:
        test()


def test_the_projection_with_older_shapes_folds_each_of_them(modules: dict[str, ModuleType]) -> None:
    page = modules["agents.projections.rooms"]
    check_together([page.rooms])
    data = ({"value": 21, "unit": "C"}, {"fahrenheit": 212}, {"celsius": 37.5})
    named = {
        "specversion": "1.0",
        "source": "/s",
        "type": "room.measured",
        "subject": "r",
        "time": "2026-01-01T00:00:00Z",
    }
    sent = [json.dumps({**named, "id": f"e{place}", "data": one}) for place, one in enumerate(data)]
    folding, states = Folding(page.rooms), dict[str, object]()
    chosen, unreadable = folding.choose(
        past_records([PastEvent(place, 0, text) for place, text in enumerate(sent, start=1)])
    )
    assert (folding.fold(states, chosen, BlockedGroups()), unreadable) == (({"r": 3}, []), [])
    assert states == {"r": page.Room(100.0)}


def test_the_projection_of_the_page_takes_its_types_of_event(modules: dict[str, ModuleType]) -> None:
    doors = modules["agents.projections.doors"].doors
    assert set(doors.by_type) == {"door.opened", "door.removed"}
    assert doors.fields.keys() <= set(doors.state.__struct_fields__)


def test_the_links_of_the_page_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text())
    assert links
    assert [link for link in links if not (PAGE.parent / link.partition("#")[0]).is_file()] == []
