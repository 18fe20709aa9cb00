"""The checker itself: a correct history has no finding, and each kind of violation is named."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import checking
from tests.checking.check_topic import check_topic
from tests.checking.checker import check
from tests.checking.findings import Finding, Kind, report
from tests.checking.history import History, Outcome, Parked, Published, Read, Row, Sent, digest
from tests.support.data.correct_history import correct_history, record

seeds = st.integers(0, 10_000)
SEED = 7


def kinds(findings: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.invariant, one.kind.value, one.where) for one in findings}


def event_of(history: History, position: int) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(history.stored[position - 1].text)
    return event


def with_row(history: History, index: int, **changes: Any) -> None:
    rows = list(history.rows)
    rows[index] = rows[index]._replace(**changes)
    history.rows = rows


def counted(state: str, by: int) -> str:
    members = json.loads(state)
    return json.dumps(members | {"count": members["count"] + by})


@given(seeds)
def test_a_correct_history_has_no_finding(seed: int) -> None:
    assert check(correct_history(seed)) == []


def test_nothing_at_all_is_correct() -> None:
    assert check(History()) == []
    assert report([]) == "nothing is wrong"


def lose_a_stored_event(history: History) -> None:
    accepted = {event.name for event in history.sent if event.outcome is Outcome.ACCEPTED}
    history.stored = [event for event in history.stored if event.name != sorted(accepted)[0]]


def store_what_was_refused(history: History) -> None:
    named = history.stored[0].name
    history.sent = [one._replace(outcome=Outcome.REFUSED) if one.name == named else one for one in history.sent]


def store_what_nobody_sent(history: History) -> None:
    named = history.stored[0].name
    history.sent = [one for one in history.sent if one.name != named]


def change_a_stored_event(history: History) -> None:
    first, *rest = history.stored
    event = json.loads(first.text) | {"added": "something"}
    history.stored = [first._replace(text=json.dumps(event)), *rest]


def store_an_event_twice(history: History) -> None:
    history.stored = [*history.stored, history.stored[0]._replace(position=len(history.stored) + 1)]


def give_a_position_twice(history: History) -> None:
    history.stored = [history.stored[0]._replace(position=2), *history.stored[1:]]


def leave_a_gap(history: History) -> None:
    *rest, last = history.stored
    history.stored = [*rest, last._replace(position=last.position + 3)]


def leave_an_event_in_the_outbox(history: History) -> None:
    history.outbox = [history.stored[-1].name]


def swap_two_of_a_key(history: History) -> None:
    """The sender's order is the other way round for two accepted events of one session and key."""
    seen: dict[tuple[str, str], int] = {}
    sent = list(history.sent)
    for index, event in enumerate(sent):
        if event.outcome is not Outcome.ACCEPTED:
            continue
        before = seen.setdefault((event.session, event.key), index)
        if before != index:
            sent[before], sent[index] = event, sent[before]
            break
    history.sent = sent


def lose_a_record(history: History) -> None:
    lost = history.published[0].value
    history.published = [one for one in history.published if one.value != lost]


def publish_under_a_second_position(history: History) -> None:
    event = history.stored[0]._replace(position=len(history.stored) + 5)
    history.published = [*history.published, record(999, event)]


def publish_what_is_not_stored(history: History) -> None:
    history.published = [*history.published, Published(0, 999, b"x", b'{"id": "x", "source": "/x"}')]


def publish_garbage(history: History) -> None:
    history.published = [*history.published, Published(0, 999, None, None)]


def publish_another_content(history: History) -> None:
    event = history.stored[0]
    changed = json.dumps(json.loads(event.text) | {"data": 5.5})
    history.published = [*history.published, record(999, event._replace(text=changed))]


def publish_out_of_order(history: History) -> None:
    first, *rest = [one for one in history.published if one.partition == history.published[0].partition]
    others = [one for one in history.published if one.partition != first.partition]
    history.published = [*[one for one in rest if one.value != first.value], first, *others]


def publish_to_another_partition(history: History) -> None:
    event = history.stored[0]
    history.published = [*history.published, record(999, event, (event.partition + 1) % 3)]


def lose_a_row(history: History) -> None:
    history.rows = history.rows[1:]


def make_a_row_up(history: History) -> None:
    history.rows = [*history.rows, Row("devices", "nobody", "{}", 1, 1)]


def double_a_row(history: History) -> None:
    history.rows = [*history.rows, history.rows[0]]


def apply_an_event_twice(history: History) -> None:
    with_row(history, 0, state=counted(history.rows[0].state, 1))


def skip_an_event(history: History) -> None:
    with_row(history, 0, state=counted(history.rows[0].state, -1))


def change_a_row(history: History) -> None:
    with_row(history, 0, state=json.dumps(json.loads(history.rows[0].state) | {"last_time": "1999-01-01T00:00:00Z"}))


def leave_a_row_behind(history: History) -> None:
    with_row(history, 0, position=history.rows[0].position - 1)


def put_a_row_ahead(history: History) -> None:
    with_row(history, 0, position=history.rows[0].position + 1_000)


def write_a_row_too_often(history: History) -> None:
    with_row(history, 0, version=history.rows[0].version + 1_000)


def leave_the_progress_behind(history: History) -> None:
    history.progress["devices", history.stored[-1].partition] -= 1


def lose_the_progress(history: History) -> None:
    del history.progress["event_types", history.stored[-1].partition]


def put_the_progress_ahead(history: History) -> None:
    history.progress["devices", 0] += 1


def park_for_no_reason(history: History) -> None:
    history.parked = [Parked("event_types", 1, event_of(history, 1)["type"], "KeyError: 'x'")]


def read_an_older_version(history: History) -> None:
    last = history.reads[-1]
    history.reads = [*history.reads, last._replace(version=last.version - 1)]


def read_an_older_position(history: History) -> None:
    last = history.reads[-1]
    history.reads = [*history.reads, last._replace(position=last.position - 1)]


@pytest.mark.parametrize(
    ("break_it", "invariant", "kind", "where"),
    [
        (lose_a_stored_event, "I1", Kind.LOST, "event store"),
        (store_what_was_refused, "I2", Kind.PHANTOM, "event store"),
        (store_what_nobody_sent, "I2", Kind.PHANTOM, "event store"),
        (change_a_stored_event, "I3", Kind.CHANGED, "event store"),
        (store_an_event_twice, "I3", Kind.DUPLICATED, "event store"),
        (give_a_position_twice, "I3", Kind.DUPLICATED, "event store"),
        (leave_a_gap, "I3", Kind.LOST, "event store"),
        (leave_an_event_in_the_outbox, "I4", Kind.STALE, "outbox"),
        (swap_two_of_a_key, "I6", Kind.REORDERED, "event store"),
        (lose_a_record, "I5", Kind.LOST, "topic"),
        (publish_under_a_second_position, "I5", Kind.DUPLICATED, "topic"),
        (publish_what_is_not_stored, "I5", Kind.PHANTOM, "topic"),
        (publish_garbage, "I5", Kind.PHANTOM, "topic"),
        (publish_another_content, "I5", Kind.CHANGED, "topic"),
        (publish_out_of_order, "I6", Kind.REORDERED, "topic"),
        (publish_to_another_partition, "I6", Kind.REORDERED, "topic"),
        (lose_a_row, "I7", Kind.LOST, "projections"),
        (make_a_row_up, "I7", Kind.PHANTOM, "projections"),
        (double_a_row, "I7", Kind.DUPLICATED, "projections"),
        (apply_an_event_twice, "I7", Kind.DUPLICATED, "projections"),
        (skip_an_event, "I7", Kind.LOST, "projections"),
        (change_a_row, "I7", Kind.CHANGED, "projections"),
        (leave_a_row_behind, "I7", Kind.STALE, "projections"),
        (put_a_row_ahead, "I7", Kind.PHANTOM, "projections"),
        (write_a_row_too_often, "I7", Kind.DUPLICATED, "projections"),
        (leave_the_progress_behind, "I8", Kind.STALE, "progress"),
        (lose_the_progress, "I8", Kind.STALE, "progress"),
        (put_the_progress_ahead, "I8", Kind.PHANTOM, "progress"),
        (park_for_no_reason, "I8", Kind.LOST, "parked"),
        (read_an_older_version, "I11", Kind.STALE, "reads"),
        (read_an_older_position, "I11", Kind.STALE, "reads"),
    ],
)
@settings(max_examples=5)
@given(seed=seeds)
def test_a_violation_is_named(
    seed: int, break_it: Callable[[History], None], invariant: str, kind: Kind, where: str
) -> None:
    history = correct_history(seed)
    break_it(history)
    findings = check(history)
    assert (invariant, kind.value, where) in kinds(findings)
    assert kind.value in report(findings)


@settings(max_examples=5)
@given(seeds)
def test_what_waits_in_the_outbox_need_not_be_published(seed: int) -> None:
    history = correct_history(seed)
    waiting = history.stored[0]
    history.published = [one for one in history.published if json.loads(one.value or b"")["id"] != waiting.id]
    assert kinds(check_topic(history)) == {("I5", "lost", "topic")}
    history.outbox = [waiting.name]
    assert check_topic(history) == []


def test_what_somebody_else_put_on_the_topic_does_not_count_when_it_is_expected() -> None:
    history = correct_history(SEED)
    history.published = [*history.published, Published(1, 900, b"k", b"not ours"), Published(1, 901, None, None)]
    assert len(check(history)) == 2
    history.foreign = frozenset((b"not ours", None))
    assert check(history) == []


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.floats(-1e9, 1e9)), st.randoms())
def test_a_digest_is_that_of_the_content(members: dict[str, Any], chance: Any) -> None:
    shuffled = list(members.items())
    chance.shuffle(shuffled)
    assert digest(members) == digest(json.dumps(dict(shuffled), indent=1))
    assert digest(members) == digest({name: value for name, value in members.items() if name != "sequence"})
    assert digest(members) != digest(members | {"one more": True})


def test_a_digest_does_not_mind_how_a_number_is_spelled() -> None:
    assert digest('{"value": 1.50}') == digest('{"value": 1.5}') != digest('{"value": "1.5"}')
    assert digest('{"value": -0.0}') == digest('{"value": 0}')
    digits = "1234567890" * 10
    assert digest(f'{{"value": {digits}1}}') != digest(f'{{"value": {digits}2}}')


def test_reports_stay_short() -> None:
    findings = [Finding(Kind.LOST, "I1", "event store", str(number)) for number in range(1_000)]
    assert report(findings).splitlines()[-1] == "… 995 more lost (event store)"
    assert len(report(findings).splitlines()) == 6


def test_the_checker_shares_no_code_with_the_product() -> None:
    imported = set()
    for file in Path(checking.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert "asyncpg" in imported
    assert not imported & {"headrace", "app", "agents", "tables", "web"}


def test_one_reader_may_be_behind_another() -> None:
    reads = [Read("a", "devices", "d", 9, 9), Read("b", "devices", "d", 3, 3), Read("a", "devices", "d", 9, 9)]
    assert check(History(reads=reads)) == []


def test_an_open_event_may_be_stored_or_not() -> None:
    open_event = Sent("s", "k", "/s", "1", "x", Outcome.UNKNOWN)
    assert check(History(sent=[open_event])) == []
