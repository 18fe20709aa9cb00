"""An error that nobody foresaw costs the event that causes it, and no other."""

from __future__ import annotations

import json
import logging

import pytest

from headrace.events import attribute_rules, unforeseen
from headrace.events.envelope import InvalidEnvelope, Limits, ParsedEvent, parse_event
from headrace.events.refusals import invalid

from tests.support.data.batches import read_batch

RECEIVED = "2026-11-22T10:00:00.123456Z"
GOOD = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
BAD = GOOD | {"dataschema": "x:bad"}


@pytest.fixture(autouse=True)
def rule_with_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(value: str, max_bytes: int) -> attribute_rules.Violation:
        raise IndexError(value[max_bytes])

    monkeypatch.setitem(attribute_rules.RULES, "dataschema", wrong)
    monkeypatch.setattr(unforeseen, "_last_logged", [float("-inf")])


def test_an_unforeseen_error_refuses_one_event_of_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        one, two, three = read_batch(json.dumps([GOOD, BAD, GOOD]).encode(), Limits(), RECEIVED)
    assert isinstance(one, ParsedEvent)
    assert isinstance(three, ParsedEvent)
    assert isinstance(two, InvalidEnvelope)
    refusal = invalid(two)
    assert (refusal.status, refusal.code) == (422, "unreadable_event")
    assert "IndexError" in refusal.detail
    assert "x:bad" not in refusal.detail
    (record,) = caplog.records
    assert record.exc_info is not None


def test_a_single_event_is_refused_alike_and_the_log_is_throttled(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            with pytest.raises(InvalidEnvelope) as refused:
                parse_event(json.dumps(BAD).encode(), Limits(), RECEIVED)
            assert refused.value.status == 422
    assert len(caplog.records) == 1


def test_a_lack_of_memory_is_not_blamed_on_the_event() -> None:
    with pytest.raises(MemoryError):
        unforeseen.note(MemoryError())


@pytest.mark.parametrize("exponent", ["0" * 5_000 + "1", "+" + "0" * 5_000 + "1", "-" + "0" * 9_000])
def test_an_exponent_with_thousands_of_zeros_is_a_number_like_any_other(exponent: str) -> None:
    body = json.dumps(GOOD)[:-1] + f', "data": 1e{exponent}}}'
    assert parse_event(body.encode(), Limits(), RECEIVED).id == "1"
