"""Older shapes of data at the door: refused unless the setting accepts them, and described as they are checked."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import jsonschema
import msgspec
import pytest
from jsonschema import Draft202012Validator

from headrace import OldShape, Projection
from headrace.events.envelope import Limits, ParsedEvent, parse_event
from headrace.events.known_types import EventTypes
from headrace.folding.folding import Folding
from web.ingestion.event_types import EventTypesAnswer
from web.openapi.both_ports import documentation_of_ingestion

from tests.support.data.readings import CelsiusReading, Reading, readings
from tests.unit.test_old_shapes import folded

READINGS = readings("readings", "read")
ANY: Any = Any


class Optional(msgspec.Struct):
    old_shapes: ClassVar = (
        OldShape(ANY, lambda _: Optional(), dataschema="urn:any"),
        OldShape(CelsiusReading, lambda old: Optional(old.celsius), dataschema="urn:celsius"),
    )

    value: float = 0.0


OPTIONAL: Projection[Any] = Projection("optional", state=dict, key=lambda event: event.id, description="")
OPTIONAL.on("read", Optional)(lambda state, event: state)


def event(data: Any = ..., **attributes: Any) -> dict[str, Any]:
    members = {"specversion": "1.0", "id": "e", "source": "/s", "type": "read", **attributes}
    return members if data is ... else {**members, "data": data}


def parsed(members: dict[str, Any]) -> ParsedEvent:
    return parse_event(json.dumps(members).encode(), Limits(), "2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("members", "refused", "accepted"),
    [
        (event({"value": 1}), None, None),
        (event({"celsius": 1}), ("/data/value", "Object missing required field `value`"), None),
        (event({"fahrenheit": 1}), ("/data/value", "Object missing required field `value`"), None),
        (event({"kelvin": 1}, dataschema="urn:kelvin"), ("/data/value", "Object missing required field `value`"), None),
        (event({"kelvin": 1}), *[("/data/value", "Object missing required field `value`")] * 2),
        (event({"celsius": "1"}), *[("/data/value", "Object missing required field `value`")] * 2),
        (
            event({"value": 1, "celsius": 1}),
            ("/data/celsius", "such data is read as its older shape CelsiusReading, which OLD_SHAPES=refuse refuses"),
            None,
        ),
        (
            event({"value": 1, "kelvin": 1}, dataschema="urn:kelvin"),
            ("/dataschema", "such data is read as its older shape KelvinReading, which OLD_SHAPES=refuse refuses"),
            None,
        ),
        (
            event({"value": 1, "celsius": "1"}),
            ("/data/celsius", "such data is read as its older shape CelsiusReading, which OLD_SHAPES=refuse refuses"),
            ("/data/celsius", "Expected `float`, got `str`"),
        ),
        # What the fold would do with it is no question of its shape: it is stored, and parked.
        (event({"celsius": -300}), ("/data/value", "Object missing required field `value`"), None),
        (event(), *[("/data/value", "Object missing required field `value`")] * 2),
        (event("celsius"), *[("/data", "Expected `object`, got `str`")] * 2),
    ],
)
def test_an_older_shape_is_refused_unless_the_setting_accepts_it(
    members: dict[str, Any], refused: tuple[str, str] | None, accepted: tuple[str, str] | None
) -> None:
    for accept, expected in ((False, refused), (True, accepted)):
        found = EventTypes([READINGS], accept_old_shapes=accept).errors(parsed(members))
        assert [(error.pointer, error.detail) for error in found] == ([] if expected is None else [expected])
        assert all(error.code == "invalid_data" for error in found)


SENT = [
    event({"value": 1}),
    event({"value": 1, "celsius": 1}),
    event({"celsius": 1}),
    event({"celsius": "1"}),
    event({"fahrenheit": 1}),
    event({"fahrenheit": 1, "celsius": 1}),
    event({"fahrenheit": "1", "celsius": 1}),
    event({"kelvin": 1}, dataschema="urn:kelvin"),
    event({"kelvin": 1}, dataschema="urn:other"),
    event({"kelvin": 1}),
    event({"kelvin": 1, "celsius": 1}, dataschema="urn:kelvin"),
    event({"value": 1, "celsius": 1}, dataschema="urn:celsius"),
    event({"value": 1}, dataschema="urn:celsius"),
    event({"value": 1}, dataschema="urn:any"),
    event([], dataschema="urn:any"),
    event([]),
    event(None),
    event(),
    event(dataschema="urn:any"),
    event(dataschema="urn:celsius"),
    event(dataschema="urn:kelvin"),
    event(data_base64="AAAA"),
    event(data_base64="AAAA", dataschema="urn:any"),
]


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize("projections", [[READINGS], [OPTIONAL], [READINGS, OPTIONAL]], ids=["one", "other", "both"])
@pytest.mark.parametrize("members", SENT, ids=[json.dumps(one)[55:] for one in SENT])
def test_the_schema_of_an_event_allows_what_the_door_accepts(
    members: dict[str, Any], projections: list[Projection[Any]], *, accept: bool
) -> None:
    is_accepted = not EventTypes(projections, accept_old_shapes=accept).errors(parsed(members))
    described: dict[str, Any] = msgspec.json.decode(
        documentation_of_ingestion(projections, Limits(), refuse_unknown=True, accept_old_shapes=accept).document
    )
    schema = {**described["components"]["schemas"]["CloudEvent"], "components": described["components"]}
    assert Draft202012Validator(schema).is_valid(members) == is_accepted


@pytest.mark.parametrize("members", SENT, ids=[json.dumps(one)[55:] for one in SENT])
def test_what_is_accepted_can_be_decoded_by_the_fold(members: dict[str, Any]) -> None:
    attributes = {name: value for name, value in members.items() if name not in {"data", "data_base64"}}
    for of in (READINGS, OPTIONAL):
        found = folded(of, members.get("data", {}), **attributes)
        is_accepted = not EventTypes([of], accept_old_shapes=True).errors(parsed(members))
        assert isinstance(found, str) != is_accepted


def test_known_types_list_their_older_shapes_in_the_order_in_which_they_are_tried() -> None:
    known = EventTypes([READINGS]).known["read"]
    assert [(one.schema["$ref"], one.has, one.dataschema) for one in known.old_shapes] == [
        ("#/$defs/FahrenheitReading", "fahrenheit", None),
        ("#/$defs/CelsiusReading", "celsius", None),
        ("#/$defs/KelvinReading", None, "urn:kelvin"),
    ]
    for one in known.old_shapes:
        jsonschema.Draft202012Validator.check_schema(one.schema)
    newest = msgspec.json.schema(Reading)
    assert (known.schema["$ref"], known.schema["$defs"]) == (newest["$ref"], newest["$defs"])
    encoded = json.loads(msgspec.json.encode(EventTypesAnswer([known])))["items"][0]["old_shapes"]
    assert [sorted(one) for one in encoded] == [["has", "schema"], ["has", "schema"], ["dataschema", "schema"]]


def test_an_older_shape_of_several_projections_is_listed_once() -> None:
    other: Any = msgspec.defstruct(
        "Other",
        [("other", float)],
        namespace={"old_shapes": (OldShape(CelsiusReading, lambda old: other(old.celsius), has="celsius"),)},
    )
    second: Projection[Any] = Projection("second", state=dict, key=lambda event: event.id, description="")
    second.on("read", other)(lambda state, event: state)
    once = [(one.has, one.dataschema) for one in EventTypes([READINGS]).known["read"].old_shapes]
    assert [(one.has, one.dataschema) for one in EventTypes([READINGS, second]).known["read"].old_shapes] == once


def test_a_data_type_without_older_shapes_is_decoded_by_msgspec_alone() -> None:
    plain: Projection[Any] = Projection("plain", state=dict, key=lambda event: event.id, description="")
    plain.on("read", CelsiusReading)(lambda state, event: state)
    assert EventTypes([plain]).known["read"].old_shapes != []  # a shape that is old for another type has older shapes

    class Plain(msgspec.Struct):
        value: float

    plain.on("plain", Plain)(lambda state, event: state)
    folding = Folding(plain)
    assert folded(plain, {"value": 1}, type="plain") == Plain(1.0)
    assert EventTypes([plain]).known["plain"].old_shapes == []
    assert folding.choose([]) == ([], [])
