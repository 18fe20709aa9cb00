"""The projection `devices`: one test a sentence of the contract, and the fold against a naive one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projections import devices as module
from agents.projections.devices import Device, LatestReading, devices
from headrace.events.rfc3339 import instant

from tests.support.data.folded import Sent, devices_sent, encoded, event, fold, jsonb, plain

NOON, ONE, TWO = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z", "2026-01-31T14:00:00Z"


def registration(name: str = "A", model: str | None = None, time: str = NOON) -> Sent:
    return Sent("device.registered", json.dumps({"name": name} | ({"model": model} if model else {})), time)


def reading(value: str = "21.50", metric: str = "t", time: str = NOON, unit: str = '"C"') -> Sent:
    return Sent("reading.recorded", f'{{"metric": "{metric}", "value": {value}, "unit": {unit}}}', time)


def retirement(time: str = NOON) -> Sent:
    return Sent("device.retired", "{}", time)


def device(*sent: Sent) -> Device:
    return fold(devices, sent)["d1"]


def test_the_key_is_the_devices_id() -> None:
    assert fold(devices, [registration()._replace(subject="a/b c")]).keys() == {"a/b c"}


def test_the_status_is_unregistered_until_the_first_registration() -> None:
    assert device(reading()).status == "unregistered"


def test_a_registration_makes_the_device_active() -> None:
    assert device(reading(), registration()).status == "active"


def test_a_retirement_makes_the_device_retired() -> None:
    assert device(registration(), retirement()).status == "retired"


def test_a_retirement_makes_a_device_retired_that_was_never_registered() -> None:
    assert device(retirement()).status == "retired"


def test_of_registration_and_retirement_the_last_in_order_counts_whatever_its_time() -> None:
    assert device(retirement(TWO), registration(time=NOON)).status == "active"
    assert device(registration(time=TWO), retirement(NOON)).status == "retired"


@pytest.mark.parametrize("status", ["active", "retired"])
def test_readings_never_change_the_status(status: str) -> None:
    before = [registration()] if status == "active" else [registration(), retirement()]
    assert device(*before, reading(time=TWO)).status == status


def test_name_model_and_registered_at_come_from_the_last_registration_in_order() -> None:
    last = device(registration("A", "M1", TWO), registration("B", "M2", ONE))
    assert (last.name, last.model, last.registered_at) == ("B", "M2", ONE)


def test_name_model_and_times_are_null_where_absent() -> None:
    unregistered = json.loads(encoded(device(reading())))
    assert [unregistered[name] for name in ("name", "model", "registered_at", "retired_at")] == [None] * 4
    assert device(registration("A", "M1"), registration("A")).model is None


def test_retired_at_comes_from_the_last_retirement_in_order() -> None:
    assert device(retirement(TWO), retirement(ONE)).retired_at == ONE


def test_retired_at_stays_after_a_later_registration() -> None:
    assert device(retirement(ONE), registration(time=TWO)).retired_at == ONE


def test_first_seen_and_last_seen_are_the_least_and_greatest_times_of_its_events() -> None:
    seen = device(reading(time=ONE), registration(time=TWO), retirement(NOON))
    assert (seen.first_seen, seen.last_seen) == (NOON, TWO)


def test_times_are_compared_as_instants_and_not_as_texts() -> None:
    seen = device(reading(time="2026-01-31T12:00:00.5Z"), reading(time="2026-01-31T12:00:00Z"))
    assert (seen.first_seen, seen.last_seen) == ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z")


def test_readings_is_the_count_of_readings() -> None:
    assert device(registration(), reading(), reading("1", "p"), retirement()).readings == 2


def test_latest_holds_for_each_metric_the_reading_with_the_greatest_time() -> None:
    latest = device(reading("2", time=ONE), reading("1", time=NOON, unit="null"), reading("3", "p", unit="null")).latest
    assert latest == {"t": LatestReading(Decimal(2), "C", ONE), "p": LatestReading(Decimal(3), None, NOON)}


def test_of_readings_with_equal_times_latest_holds_the_last_in_order() -> None:
    latest = device(reading("1", time="2026-01-31T12:00:00.50Z"), reading("2", time="2026-01-31T12:00:00.5Z")).latest
    assert latest["t"] == LatestReading(Decimal(2), "C", "2026-01-31T12:00:00.5Z")


def test_an_event_of_another_type_is_not_minded() -> None:
    assert fold(devices, [Sent("door.opened")]) == {}


def test_the_state_is_the_json_of_the_contract() -> None:
    state = encoded(device(registration("Boiler", time=NOON), reading("21.50", time=ONE)))
    assert state == (
        f'{{"status":"active","name":"Boiler","model":null,"registered_at":"{NOON}","retired_at":null,'
        f'"first_seen":"{NOON}","last_seen":"{ONE}","readings":1,'
        f'"latest":{{"t":{{"value":21.50,"unit":"C","time":"{ONE}"}}}}}}'
    )


@pytest.mark.parametrize("value", ["123456789012345678901234567890", "0.123456789012345678901234567890", "-7", "21.50"])
def test_a_value_comes_back_as_it_was_sent(value: str) -> None:
    assert f'"value":{value},' in encoded(device(reading(value)))


def test_fields_are_members_of_the_state() -> None:
    assert set(devices.fields) == {member.name for member in msgspec.structs.fields(Device)} - {"latest"}


def test_a_state_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        device(reading()).readings = 5  # type: ignore[misc]


@pytest.mark.parametrize("subject", [None, ""])
def test_an_event_without_subject_has_no_key(subject: str | None) -> None:
    nameless = event(devices, retirement()._replace(subject=subject), position=7)
    with pytest.raises(ValueError, match=r"position 7 has no subject: device\.retired needs a device id"):
        devices.key(nameless)


def naive(all_sent: list[Sent], subject: str) -> dict[str, Any]:
    """The state as the contract words it, over the whole list at once."""
    sent = [(each, json.loads(each.data, parse_int=Decimal, parse_float=Decimal)) for each in all_sent]
    sent = [(each, data) for each, data in sent if each.subject == subject]
    registrations = [(each, data) for each, data in sent if each.type == "device.registered"]
    retirements = [each for each, _ in sent if each.type == "device.retired"]
    readings = [(each, data) for each, data in sent if each.type == "reading.recorded"]
    last_change = ["", *(each.type for each, _ in sent if each.type != "reading.recorded")][-1]
    last_registration = registrations[-1] if registrations else None
    by_instant = sorted((each.time for each, _ in sent), key=instant)
    latest = {
        data["metric"]: {"value": plain(data["value"]), "unit": data["unit"], "time": each.time}
        for each, data in sorted(readings, key=lambda reading: instant(reading[0].time))
    }
    return {
        "status": {"device.registered": "active", "device.retired": "retired", "": "unregistered"}[last_change],
        "name": last_registration[1]["name"] if last_registration else None,
        "model": last_registration[1].get("model") if last_registration else None,
        "registered_at": last_registration[0].time if last_registration else None,
        "retired_at": retirements[-1].time if retirements else None,
        "first_seen": by_instant[0],
        "last_seen": next(time for time in by_instant if instant(time) == instant(by_instant[-1])),
        "readings": len(readings),
        "latest": latest,
    }


@given(devices_sent)
def test_the_fold_equals_a_naive_computation(sent: list[Sent]) -> None:
    rows = fold(devices, sent)
    assert rows.keys() == {each.subject for each in sent}
    for subject, state in rows.items():
        assert json.loads(jsonb(encoded(state)), parse_int=str, parse_float=str) == {
            **(expected := naive(sent, subject)),
            "readings": str(expected["readings"]),
        }


@given(devices_sent)
def test_a_round_trip_through_json_or_jsonb_between_any_two_events_changes_nothing(sent: list[Sent]) -> None:
    rows = fold(devices, sent)
    assert fold(devices, sent, stored=str) == rows
    in_jsonb = {key: jsonb(encoded(state)) for key, state in rows.items()}
    assert {key: jsonb(encoded(state)) for key, state in fold(devices, sent, stored=jsonb).items()} == in_jsonb


@given(devices_sent)
def test_events_read_from_jsonb_fold_to_the_same_rows(sent: list[Sent]) -> None:
    from_store = [each._replace(data=jsonb(each.data)) for each in sent]
    in_jsonb = {key: jsonb(encoded(state)) for key, state in fold(devices, sent).items()}
    assert {key: jsonb(encoded(state)) for key, state in fold(devices, from_store).items()} == in_jsonb


def test_the_first_thousand_metrics_are_kept_and_readings_of_more_are_only_counted() -> None:
    state = device(*(reading(metric=f"m{number}") for number in range(module.MAX_METRICS + 5)))
    assert (state.readings, len(state.latest)) == (module.MAX_METRICS + 5, module.MAX_METRICS)
    assert "m1000" not in state.latest
    later = reading("7", metric="m3", time=ONE)
    assert device(*(reading(metric=f"m{number}") for number in range(1_001)), later).latest["m3"].value == 7


@given(st.lists(st.sampled_from("abcdef"), max_size=30))
def test_a_device_never_has_more_metrics_than_the_limit(metrics: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_METRICS", 3)
        state = device(registration(), *(reading(metric=metric) for metric in metrics))
    assert list(state.latest) == list(dict.fromkeys(metrics))[:3]
    assert state.readings == len(metrics)
