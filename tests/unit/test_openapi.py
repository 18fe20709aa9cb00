"""OpenAPI documents, and the page for people, from declared operations."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from agents.projections.devices import devices
from agents.projections.event_types import event_types
from agents.projections.readings_hourly import readings_hourly
from headrace.events.envelope import InvalidEnvelope, Limits, parse_event
from headrace.events.known_types import EventTypes
from headrace.projection import Projection
from web.openapi.both_ports import documentation_of_ingestion, documentation_of_query
from web.openapi.document import Answer, Operation, document
from web.openapi.pages import Documentation
from web.query.parked import DiscardBody, RetryBody

PROJECTIONS = (devices, readings_hourly, event_types)
REGISTERED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "device.registered", "subject": "d"}
OTHER = {"specversion": "1.0", "id": "1", "source": "/s", "type": "other"}


def ingestion(*, refuse_unknown: bool = False) -> Documentation:
    return documentation_of_ingestion(PROJECTIONS, Limits(), refuse_unknown=refuse_unknown)


def both() -> list[Documentation]:
    return [ingestion(), documentation_of_query(PROJECTIONS)]


def read(documentation: Documentation) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(documentation.document)
    return found


def validator(of: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": of["components"]})


class Counted(msgspec.Struct):
    """How many."""

    n: int


def test_an_operation_is_described_by_the_types_of_its_answers() -> None:
    operation = Operation(
        method="get", path="/n", tag="t", summary="s", answers={200: Answer("All.", {"application/json": Counted})}
    )
    told = document("Title", "What it is.", [operation])
    answer = told["paths"]["/n"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Counted"}
    assert told["components"]["schemas"]["Counted"]["required"] == ["n"]


@pytest.mark.parametrize("refuse_unknown", [False, True])
@pytest.mark.parametrize(
    "event",
    [
        {**REGISTERED, "data": {"name": "n"}},
        {**REGISTERED, "data": {"name": "n", "more": 1}, "extension1": True},
        {**REGISTERED, "data": {"name": ""}},
        {**REGISTERED, "data": {}},
        {**REGISTERED},
        {**REGISTERED, "data_base64": "AAAA"},
        {**{name: value for name, value in REGISTERED.items() if name != "subject"}, "data": {"name": "n"}},
        {**REGISTERED, "type": "device.retired"},
        {**REGISTERED, "type": "device.retired", "data_base64": "AAAA"},
        {**REGISTERED, "type": "device.retired", "data_base64": "AAAA", "data": None},
        {**REGISTERED, "type": "device.retired", "data": None},
        {**REGISTERED, "type": "reading.recorded", "data": {"metric": "m", "value": 1}},
        {**REGISTERED, "type": "reading.recorded", "data": {"metric": "m", "value": "1"}},
        OTHER,
        {**OTHER, "data": None},
        {**OTHER, "data": [1, {"deep": "er"}]},
        {**OTHER, "data_base64": "AAAA", "data": None},
        {**OTHER, "data_base64": "AAAA", "data": 1},
        {**OTHER, "data_base64": "A"},
        {**OTHER, "subject": None, "time": None, "extension": None},
        {**OTHER, "subject": ""},
        {**OTHER, "id": "a\u0001"},
        {**OTHER, "id": "a" * 256},
        {**OTHER, "source": " "},
        {**OTHER, "specversion": "0.3"},
        {**OTHER, "Extension": "a"},
        {**OTHER, "extension": 1.5},
        {**OTHER, "extension": 2**31},
        {**OTHER, "extension": {}},
        {**OTHER, "datacontenttype": "text/plain; charset=utf-8"},
        {**OTHER, "datacontenttype": "text"},
        {**OTHER, "dataschema": "urn:x"},
        {**OTHER, "dataschema": "relative"},
    ],
)
def test_the_schema_of_an_event_takes_what_the_door_takes(event: dict[str, Any], *, refuse_unknown: bool) -> None:
    try:
        parsed = parse_event(msgspec.json.encode(event), Limits(), "2026-01-01T00:00:00Z")
        is_taken = not EventTypes(PROJECTIONS, refuse_unknown=refuse_unknown).errors(parsed)
    except InvalidEnvelope:
        is_taken = False
    told = read(ingestion(refuse_unknown=refuse_unknown))
    assert validator(told, {"$ref": "#/components/schemas/CloudEvent"}).is_valid(event) == is_taken


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("retry", {"key": "k"}),
        ("retry", {"all": True}),
        ("retry", {"all": False}),
        ("retry", {"key": "k", "partition_key": None, "all": False}),
        ("retry", {"key": "k", "all": True}),
        ("retry", {}),
        ("retry", {"key": "k", "other": 1}),
        ("discard", {"reason": "r", "position": 1}),
        ("discard", {"reason": "r", "position": 0}),
        ("discard", {"reason": "r", "position": 1, "key": "k"}),
        ("discard", {"reason": " ", "key": "k"}),
        ("discard", {"key": "k"}),
        ("discard", {"reason": "r", "partition_key": ""}),
    ],
)
def test_the_bodies_of_parked_events_are_as_they_are_read(what: str, body: dict[str, Any]) -> None:
    is_taken = True
    try:
        if what == "retry":
            assert msgspec.convert(body, RetryBody).group is None or body
        else:
            assert msgspec.convert(body, DiscardBody).what
    except ValueError:
        is_taken = False
    told = read(documentation_of_query(PROJECTIONS))
    request = told["paths"][f"/api/v1/parked/{{projection}}/{what}"]["post"]["requestBody"]
    assert validator(told, request["content"]["application/json"]["schema"]).is_valid(body) == is_taken


def test_each_projection_has_its_own_rows_and_filters() -> None:
    told = read(documentation_of_query(PROJECTIONS))
    page = told["paths"]["/api/v1/projections/readings_hourly"]["get"]
    assert {"device", "count[gte]", "hour[prefix]", "last[in]", "sort"} <= {one["name"] for one in page["parameters"]}
    row = told["components"]["schemas"]["ReadingsHourlyRow"]
    assert row["properties"]["state"] == {"$ref": "#/components/schemas/Hour"}
    assert told["components"]["schemas"]["Hour"]["properties"]["sum"] == {"type": "number"}


class _Page(HTMLParser):
    """What a page refers to, and what is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in {"href", "src", "action", "srcset", "data"}:
                self.addresses.append(value or "")
            elif name.startswith("on") or name == "style":
                self.handlers.append(name)


@pytest.mark.parametrize("documentation", both())
async def test_the_page_needs_nothing_but_itself(documentation: Documentation) -> None:
    answer = await documentation.page(None)  # type: ignore[arg-type]  # the same for every request
    assert isinstance(answer.body, bytes)
    text = answer.body.decode()
    page = _Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not page.handlers
    assert all(address == "/openapi.json" or address[1:] in page.ids for address in page.addresses)
    assert "//" not in "".join(page.addresses)
    assert "url(" not in text
    assert "@import" not in text
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("documentation", both())
async def test_the_page_tells_of_every_operation(documentation: Documentation) -> None:
    answer = await documentation.page(None)  # type: ignore[arg-type]  # the same for every request
    assert isinstance(answer.body, bytes)
    ids = _Page(answer.body.decode()).ids
    assert len(ids) == len(set(ids))
    for methods in read(documentation)["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] in ids


def test_projections_whose_names_are_alike_have_types_and_operations_of_their_own() -> None:
    names = ("a_b", "a__b", "a-b", "a.b", "A_B")
    alike = [Projection(name, state=Counted, key=lambda event: event.id, description="") for name in names]
    told = read(documentation_of_query(alike))
    ids = [one["operationId"] for path in told["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    rows = {name: told["paths"][f"/api/v1/projections/{name}/{{key}}"]["get"]["responses"]["200"] for name in names}
    assert len({answer["content"]["application/json"]["schema"]["$ref"] for answer in rows.values()}) == len(names)


def test_a_page_may_be_asked_for_by_key_and_with_its_total() -> None:
    told = read(documentation_of_query(PROJECTIONS))
    of_devices = told["paths"]["/api/v1/projections/devices"]["get"]["parameters"]
    names = {one["name"]: one["schema"] for one in of_devices}
    assert names.keys() >= {"key", "key[prefix]", "key[in]", "total"}
    assert names["total"] == {"type": "boolean", "default": False}
    page = told["components"]["schemas"]["DevicesPage"]
    assert (page["properties"]["total"], page["required"]) == ({"type": "integer"}, ["items", "next_cursor"])
    assert told["paths"]["/api/v1/projections/devices/"]["get"]["operationId"] == "get_projections_devices_empty"
