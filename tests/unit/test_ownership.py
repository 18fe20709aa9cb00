"""What a key may write: source, subject, type and partition key against its prefixes, by code points alone."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.access.grant import EVERYTHING, Allowed, Grant
from headrace.events.ownership import not_yours

from tests.support.data.events import event
from tests.support.doors.callers import may

A = "/greenhouse/a/"


def pointers(grant: Grant, **members: Any) -> list[str]:
    refusal = not_yours(event(1, **members), grant)
    if refusal is None:
        return []
    assert (refusal.status, refusal.code) == (403, "not_yours")
    assert {error.code for error in refusal.errors} == {"not_yours"}
    return [error.pointer for error in refusal.errors]


@pytest.mark.parametrize("source", [A, f"{A}x", f"{A}../b/x", f"{A}%2e%2e/b", f"{A}ü"])
def test_what_begins_with_the_prefix_is_allowed(source: str) -> None:
    assert pointers(may(sources=A), source=source) == []


@pytest.mark.parametrize(
    "source",
    [
        *("/greenhouse/a", "/greenhouse/ab/", "/greenhouse/A/x", "/greenhouse/b/x", "/greenhouse/%61/x"),
        *("/greenhouse/a\u0301/x", "/greenhouse/_/x", "/greenhouse//a/x", " /greenhouse/a/x", "greenhouse/a/x"),
        "http://x/greenhouse/a/x",
    ],
)
def test_what_only_resembles_the_prefix_is_not(source: str) -> None:
    assert pointers(may(sources=A), source=source) == ["/source"]


def test_a_pattern_without_a_slash_at_its_end_is_exact() -> None:
    grant = may(sources="/gate,/doors/")
    assert pointers(grant, source="/gate") == []
    assert pointers(grant, source="/gate/x") == ["/source"]
    assert pointers(grant, source="/doors/x") == []


def test_nothing_is_allowed_by_an_empty_list() -> None:
    assert pointers(Grant(sources=Allowed.of(())), source="/x", partitionkey="/x") == ["/source"]


def test_every_attribute_is_checked_and_named() -> None:
    grant = may(sources=A, subjects=A, types="read")
    assert pointers(grant, source="/b", subject="/b", type="written") == ["/source", "/subject", "/type"]
    refusal = not_yours(event(1, source="/b", subject=f"{A}1", type="read"), grant)
    assert refusal is not None
    assert A in refusal.errors[0].detail


def test_an_event_without_a_subject_is_refused_where_subjects_are_limited() -> None:
    assert pointers(may(subjects=A), source="/x", subject=None) == ["/subject", "/partitionkey"]
    assert pointers(may(sources=A), source=f"{A}x", subject=None) == []


@pytest.mark.parametrize(
    ("grant", "key", "is_allowed"),
    [
        (EVERYTHING, "/greenhouse/b/1", True),
        (may(types="tested"), "/greenhouse/b/1", True),
        (may(subjects=A), "/greenhouse/b/1", False),
        (may(subjects=A), f"{A}other", True),
        (may(subjects=A), f"{A}subject", True),
        (may(subjects=A), f"{A}source", True),
        (may(sources=A), "/greenhouse/b/1", False),
        (may(sources=A), f"{A}other", True),
        (may(sources=A, subjects="d1/"), "d2/x", False),
        (may(sources=A, subjects=f"{A}subject"), f"{A}source", True),
        (may(sources=A, subjects=f"{A}subject"), f"{A}other", False),
    ],
)
def test_a_partition_key_must_be_among_what_the_key_may_touch(grant: Grant, key: str, is_allowed: bool) -> None:
    members = {"source": f"{A}source", "subject": f"{A}subject", "type": "tested"}
    assert ("/partitionkey" not in pointers(grant, partitionkey=key, **members)) == is_allowed


def test_another_s_source_is_no_partition_key_where_only_subjects_are_limited() -> None:
    found = pointers(may(subjects=A), source="/greenhouse/b/gate", subject=f"{A}1", partitionkey="/greenhouse/b/gate")
    assert found == ["/partitionkey"]


def test_what_is_allowed_is_named_briefly() -> None:
    allowed = Allowed.of(tuple(f"/{number}/" for number in range(30)))
    assert allowed.in_words.endswith("those that begin with /9/, 20 more")
    assert Allowed.of(()).in_words == "none"
