"""Every log call has an action and its fields, and docs/logs.md lists them all."""

from __future__ import annotations

import json
import re
import string
import subprocess
import sys

import pytest

from app.worker.log_formats import RESERVED
from headrace.process.log_actions import LogAction
from headrace.process.log_guide import GUIDE

from tests.support.log_calls import ROOT, LogCall, calls_in, product_calls

# Written by the machinery of the log, not by a call.
WITHOUT_CALL = {LogAction.LIBRARY, LogAction.WORKER_CRASHED, LogAction.WORKER_FAILED}
LEVELS = {"exception": "ERROR"}
CALLS = product_calls()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.place)
def test_every_log_call_has_an_action_at_its_level_with_its_fields(call: LogCall) -> None:
    assert call.action is not None, "no member of LogAction"
    action = LogAction[call.action]
    assert LEVELS.get(call.method, call.method.upper()) == action.level
    assert call.fields <= set(action.fields)
    assert call.text is not None, "the text must be a constant, so that it has no values but those of the fields"
    placeholders = {name for _, name, _, _ in string.Formatter().parse(call.text) if name is not None}
    assert placeholders <= call.fields


def test_every_action_and_field_is_used() -> None:
    assert len(CALLS) > 50
    used = {action: set[str]() for action in LogAction}
    for call in CALLS:
        used[LogAction[str(call.action)]] |= call.fields
    assert {action for action in LogAction if not any(call.action == action.name for call in CALLS)} == WITHOUT_CALL
    assert {a: f for a, f in used.items() if a not in WITHOUT_CALL} == {
        action: set(action.fields) for action in LogAction if action not in WITHOUT_CALL
    }


@pytest.mark.parametrize("source", ['log.warning("x %s", 1)', "self._throttled.warning(text)", "self.log.info(f'{x}')"])
def test_a_call_without_an_action_is_found(source: str) -> None:
    (call,) = calls_in("module.py", source)
    assert call.action is None


def test_nothing_in_the_product_uses_a_plain_logger() -> None:
    """Where a logger is taken from `logging`, it is wrapped, or its level is set."""
    allowed = {"headrace/process/action_log.py", "app/embedded/__main__.py"}
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("headrace", "app", "agents", "tables", "web")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"getLogger\(|logging\.(?:info|warning|error)\(", path.read_text("utf-8"))
    }
    assert found == allowed


@pytest.mark.parametrize("action", LogAction, ids=str)
def test_names_follow_the_conventions(action: LogAction) -> None:
    assert re.fullmatch(r"library|[a-z]+\.[a-z_]+", str(action))
    assert action.level in {"INFO", "WARNING", "ERROR", "CRITICAL"}
    assert not set(action.fields) & set(RESERVED)
    assert all(re.fullmatch("[a-z_]+", name) for name in action.fields)
    assert action.level != "ERROR" or GUIDE[action].to_do != "Nothing."


def test_the_page_is_what_the_code_makes() -> None:
    script = "import scripts.document_logs as made; print(made.text(), end='')"
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "docs" / "logs.md").read_text("utf-8"), "run make docs"


def test_the_examples_of_the_page_are_valid() -> None:
    page = (ROOT / "docs" / "logs.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*)\n```", page)
    members = json.loads(example)
    assert list(members)[:5] == list(RESERVED[:5])
    assert members["action"] in {str(action) for action in LogAction}
