"""`check-history` decodes an event as the fold does: it fits unless the fold would park it for its data."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agents.verify.checked_type import CheckedType
from agents.verify.history_check import checked_types
from headrace import Projection

from tests.support.data.readings import Reading, readings
from tests.unit.test_old_shapes import folded, past


class Plain(msgspec.Struct):
    value: float = 0.0
    name: str | None = None


def plain() -> Projection[Any]:
    made: Projection[Any] = Projection("plain", state=dict, key=lambda event: event.id, description="")
    made.on("read", Plain)(lambda state, event: state)
    return made


values = st.one_of(
    st.none(), st.integers(-400, 400), st.just(1e9), st.text(max_size=3), st.lists(st.none(), max_size=1)
)
members = st.sampled_from(["value", "name", "celsius", "fahrenheit", "kelvin"])
some_data = st.one_of(values, st.dictionaries(members, values, max_size=3))


@given(some_data, st.sampled_from([{}, {"dataschema": "urn:kelvin"}, {"dataschema": None}]))
def test_an_event_fits_if_each_fold_can_read_it(data: Any, attributes: dict[str, Any]) -> None:
    for of in ([readings("p", "read")], [plain()], [plain(), readings("p", "read")]):
        errors = [found for one in of if isinstance(found := folded(one, data, **attributes), str)]
        checked = checked_types(of, examples=1)["read"]
        checked.add(1, past(data, **attributes)[0].text)
        report = checked.report()
        assert [one.error for one in report.examples] == errors[:1]
        assert (report.events, report.misfits) == (1, len(errors[:1]))
        assert report.newest + sum(one.events for one in report.old_shapes) == 1 - report.misfits


def test_an_event_without_data_is_read_as_an_empty_object() -> None:
    envelope = json.loads(past({})[0].text)
    del envelope["data"]
    for data_type, misfits in ((Plain, 0), (Reading, 1)):
        checked = CheckedType("read", [data_type], examples=1)
        checked.add(1, json.dumps(envelope))
        assert checked.report().misfits == misfits


def test_types_whose_data_is_not_decoded_are_not_checked() -> None:
    made = plain()
    made.on("raw", msgspec.Raw)(lambda state, event: state)
    made.on_every_other_event(lambda state, event: state)
    assert list(checked_types([made], examples=1)) == ["read"]
