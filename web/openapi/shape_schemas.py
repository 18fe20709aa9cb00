"""What an event must be so that its data has an accepted shape, as JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from headrace.events.known_types import NO_DATA
from headrace.old_shapes import Way, ways
from web.openapi.document import Schema


class DataForms:
    """The forms of the data of one type of events, for one data type."""

    def __init__(self, data: Any, event_type: str, *, accept_old_shapes: bool) -> None:
        self._data = data
        self._ways = list(ways(data, event_type))
        self._accepted = self._ways if accept_old_shapes else []

    @property
    def types(self) -> list[Any]:
        """The types that data may have: the newest, and accepted older shapes."""
        return [self._data, *(way.old.shape for way in self._accepted)]

    def plain(self, schemas: Mapping[Any, Schema]) -> Schema | None:
        """The schema of the data; None if the whole event decides which it is."""
        return None if self._ways else schemas[self._data]

    def with_data(self, schemas: Mapping[Any, Schema]) -> Schema:
        """What an event with data must be."""
        return {"anyOf": list(self._forms(self._ways, lambda type_: {"properties": {"data": schemas[type_]}}))}

    def without_data(self) -> Schema | None:
        """What an event without data must be; None if there is no such event. Its data counts as an empty object."""
        recognised = [way for way in self._ways if way.old.has is None]
        forms = list(self._forms(recognised, lambda type_: {} if takes_nothing(type_) else None))
        return {"anyOf": forms} if forms else None

    def _forms(self, recognised: Sequence[Way], fits: Any) -> Iterator[Schema]:
        before: list[Schema] = []
        for way in recognised:
            schema = fits(way.old.shape) if way in self._accepted else None
            if schema is not None:
                yield {"allOf": [*before, _is(way), schema]}
            before.append({"not": _is(way)})
        schema = fits(self._data)
        if schema is not None:
            yield {"allOf": [*before, schema]}


def takes_nothing(data: Any) -> bool:
    """Whether an event of this data type may have no data."""
    try:
        msgspec.json.decode(NO_DATA, type=data)
    except msgspec.ValidationError:
        return False
    return True


def _is(way: Way) -> Schema:
    """What is true of an event whose data has this shape."""
    properties: dict[str, Schema] = {}
    if way.old.dataschema is not None:
        properties["dataschema"] = {"const": way.old.dataschema}
    if way.old.has is not None:
        properties["data"] = {"type": "object", "required": [way.old.has]}
    return {"properties": properties, "required": list(properties)}
