"""The projection `readings_hourly`: one test a sentence of the contract, and the fold against plain Python's."""

from __future__ import annotations

import json
import math
import operator
from collections import defaultdict
from decimal import Decimal, localcontext
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projections.readings_hourly import Hour, readings_hourly

from tests.support.data.folded import Sent, decoded, devices_sent, encoded, event, fold, jsonb, numbers, plain

KEY = "d1/t/2026-01-31T12"


def reading(value: str = "21.50", metric: str = "t", time: str = "2026-01-31T12:00:00Z") -> Sent:
    return Sent("reading.recorded", f'{{"metric": "{metric}", "value": {value}}}', time)


def hour(*values: str) -> Hour:
    return fold(readings_hourly, [reading(value) for value in values])[KEY]


def stored_sum(*values: str) -> str:
    """The sum as it stands in the row after a round trip through jsonb between the readings."""
    rows = fold(readings_hourly, [reading(value) for value in values], stored=jsonb)
    total: str = json.loads(jsonb(encoded(rows[KEY])), parse_int=str, parse_float=str)["sum"]
    return total


def test_the_key_is_device_metric_and_hour() -> None:
    rows = fold(readings_hourly, [reading(), reading("1", "p"), reading(time="2026-01-31T13:59:59.999Z")])
    assert list(rows) == [KEY, "d1/p/2026-01-31T12", "d1/t/2026-01-31T13"]


def test_the_hour_is_that_of_the_events_time() -> None:
    rows = fold(readings_hourly, [reading(time="0001-01-01T00:00:00Z"), reading(time="9999-12-31T23:59:59.9999999Z")])
    assert [row.hour for row in rows.values()] == ["0001-01-01T00", "9999-12-31T23"]


def test_device_metric_and_hour_are_those_of_the_key() -> None:
    row = fold(readings_hourly, [reading()])[KEY]
    assert (row.device, row.metric, row.hour) == ("d1", "t", "2026-01-31T12")


def test_count_sum_min_and_max_are_those_of_all_readings() -> None:
    row = hour("3", "-1", "2")
    assert (row.count, row.sum, row.min, row.max) == (3, Decimal(4), Decimal(-1), Decimal(3))


def test_last_is_the_last_in_order_whatever_its_time() -> None:
    later, earlier = reading("1", time="2026-01-31T12:30:00Z"), reading("2", time="2026-01-31T12:10:00Z")
    assert fold(readings_hourly, [later, earlier])[KEY].last == 2


def test_registrations_and_retirements_are_not_minded() -> None:
    assert fold(readings_hourly, [Sent("device.registered", '{"name": "A"}'), Sent("device.retired")]) == {}


def test_the_state_is_the_json_of_the_contract() -> None:
    assert encoded(hour("21.50", "3")) == (
        '{"device":"d1","metric":"t","hour":"2026-01-31T12","count":2,"sum":24.5,"min":3,"max":21.50,"last":3}'
    )


def test_min_max_and_last_keep_every_digit() -> None:
    long = "123456789012345678901234567890.123456789012345678901234567890"
    row = hour(long, long + "1", long + "0")
    assert [str(number) for number in (row.min, row.max, row.last)] == [long, long + "1", long + "0"]


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (["1", "2"], "3"),
        (["1", "2.0"], "3.0"),
        (["1.0", "2"], "3.0"),
        (["0.1", "0.2"], "0.30000000000000004"),
        (["-0.0"], "0.0"),
        (["-0"], "0"),
        (["1E+5", "1"], "100001"),  # jsonb gives 1E+5 back as 100000
        (["9007199254740993", "1"], "9007199254740994"),
        (["9007199254740993", "0.0"], "9007199254740992.0"),
        (["1" + "0" * 308, "1"], "1" + "0" * 307 + "1"),
        (["0.00000001"], "0.00000001"),
        (["21.50"], "21.5"),
        (["0.123456789012345678901234567890"], "0.12345678901234568"),
    ],
)
def test_the_sum_is_that_of_the_numbers_as_json_loads_reads_them(values: list[str], total: str) -> None:
    assert stored_sum(*values) == total


def test_a_sum_of_doubles_stays_one_however_large() -> None:
    # As an integer, 10**16 + 1 would be 10000000000000001.
    assert stored_sum("1e15", "9e15", "0.0", "1") == "10000000000000000.0"
    assert stored_sum("1.5e300", "0.5", "1") == f"{Decimal('1.5e300'):f}.0"


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_sum_beyond_a_double_is_exact_and_the_hour_continues(sign: str) -> None:
    values = [f"{sign}1.7e308", f"{sign}0.5", f"{sign}1.7e308", f"{sign}1"]
    assert hour(*values).sum == int(f"{sign}1") * (34 * 10**307 + 1)
    assert hour(*values).count == 4
    back = ["-1.7e308" if not sign else "1.7e308"] * 2
    assert hour(*values, *back).sum == 0  # doubles again, which do not hold 1.7e308 and 1


def test_a_sum_of_integers_beyond_a_double_is_exact_until_a_fraction_comes() -> None:
    large = "1" + "0" * 308
    assert hour(large, large).sum == 2 * 10**308
    assert hour(large, large, "0.5").sum == Decimal(f"{2 * 10**308}.5")


def test_two_devices_never_share_a_row() -> None:
    one = reading(metric="b/c")._replace(subject="a")
    other = reading(metric="c")._replace(subject="a/b")
    assert readings_hourly.key(event(readings_hourly, one)) == readings_hourly.key(event(readings_hourly, other))
    with pytest.raises(ValueError, match="belongs to device 'a' and metric 'b/c', and cannot also hold device 'a/b'"):
        fold(readings_hourly, [one, other])


@pytest.mark.parametrize("subject", [None, ""])
def test_a_reading_without_subject_has_no_key(subject: str | None) -> None:
    with pytest.raises(ValueError, match="has no subject"):
        readings_hourly.key(event(readings_hourly, reading()._replace(subject=subject)))


def test_the_longest_key_fits_into_an_index() -> None:
    longest = reading(metric="\U0001f321" * 255)._replace(subject="d" * 255)
    key = readings_hourly.key(event(readings_hourly, longest))
    assert len(f"readings_hourly{key}".encode()) < 2_704


def test_fields_are_the_members_of_the_state() -> None:
    assert list(readings_hourly.fields) == [member.name for member in msgspec.structs.fields(Hour)]


def naive(all_sent: list[Sent]) -> dict[str, dict[str, Any]]:
    """The rows as anybody would compute them from the event store, with `json.loads` and lists."""
    hours = defaultdict(list)
    for sent in all_sent:
        if sent.type == "reading.recorded":
            data = jsonb(sent.data)
            metric = json.loads(data)["metric"]
            hours[sent.subject, metric, sent.time[:13]].append(data)
    rows = {}
    for (device, metric, name), readings in hours.items():
        values = [json.loads(data)["value"] for data in readings]
        exact = [json.loads(data, parse_int=Decimal, parse_float=Decimal)["value"] for data in readings]
        rows[f"{device}/{metric}/{name}"] = {
            "device": device,
            "metric": metric,
            "hour": name,
            "count": len(values),
            "sum": repr(reduce(operator.add, values, 0)),
            "min": plain(min(exact)),
            "max": plain(max(exact)),
            "last": plain(exact[-1]),
        }
    return rows


def as_naive(hour: Hour) -> dict[str, Any]:
    state = jsonb(encoded(hour))
    texts = json.loads(state, parse_int=str, parse_float=str)
    return {**texts, "count": int(texts["count"]), "sum": repr(json.loads(state)["sum"])}


@given(devices_sent)
def test_the_fold_equals_a_naive_computation(sent: list[Sent]) -> None:
    rows = fold(readings_hourly, sent, stored=jsonb)
    assert {key: as_naive(row) for key, row in rows.items()} == naive(sent)


@given(devices_sent)
def test_a_round_trip_through_json_between_any_two_events_changes_nothing(sent: list[Sent]) -> None:
    assert fold(readings_hourly, sent, stored=str) == fold(readings_hourly, sent)


@given(devices_sent)
def test_events_read_from_jsonb_fold_to_the_same_rows(sent: list[Sent]) -> None:
    from_store = [each._replace(data=jsonb(each.data)) for each in sent]
    in_jsonb = {key: jsonb(encoded(row)) for key, row in fold(readings_hourly, sent).items()}
    assert {key: jsonb(encoded(row)) for key, row in fold(readings_hourly, from_store).items()} == in_jsonb


@given(st.lists(numbers, min_size=1, max_size=5))
def test_the_encoding_of_a_state_is_stable(values: list[str]) -> None:
    text = encoded(hour(*values))
    assert encoded(decoded(readings_hourly, text)) == text
    in_jsonb = jsonb(text)
    assert jsonb(encoded(decoded(readings_hourly, in_jsonb))) == in_jsonb


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_the_sum_of_any_doubles_is_pythons_or_exact(values: list[float]) -> None:
    expected = reduce(operator.add, values, 0.0)
    texts = [f"{Decimal(repr(value)):f}" for value in values]
    texts = [text if "." in text else f"{text}.0" for text in texts]
    if math.isfinite(expected):
        assert repr(float(stored_sum(*texts))) == repr(expected)
    else:
        assert Decimal(stored_sum(*texts)).is_finite()


@given(st.lists(st.sampled_from(["1.7e308", "-1.7e308", "1e308", "0.1", "5e-324", "1", "1" + "0" * 308]), max_size=12))
def test_no_values_poison_an_hour_and_its_row_stays_small(values: list[str]) -> None:
    state = hour("0.0", *values)
    assert state.count == len(values) + 1
    assert len(jsonb(encoded(state))) < 6_000
    with localcontext(prec=2_000):
        exact = sum(map(Decimal, values), Decimal(0))
    assert abs(state.sum - exact) <= abs(exact) / 1_000_000 + Decimal(10) ** 293
