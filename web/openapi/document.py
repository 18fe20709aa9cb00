"""The API of a port as an OpenAPI 3.1 document, made from the types that its views read and answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import msgspec

VERSION = "3.1.1"
API_VERSION = "1"
REFERENCE = "#/components/schemas/{name}"

Schema = Mapping[str, Any]
Described = Any
"""A type that msgspec can describe; a tuple of alternative types; or a Schema where no type says enough."""


class Parameter(NamedTuple):
    """A part of a request other than its body."""

    name: str
    place: Literal["query", "path", "header"]
    schema: Schema
    description: str
    is_required: bool = False
    is_list: bool = False
    """In the query: several values, separated by commas."""


class Answer(NamedTuple):
    """The meaning, content and headers of a status."""

    description: str
    content: Mapping[str, Described] = {}
    """By media type."""
    headers: Sequence[str] = ()
    """Keys of HEADERS."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A method of a path."""

    method: Literal["get", "post"]
    path: str
    route: str = ""
    """The pattern of the route, if it differs from the path; see `route_of`."""
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Described] = {}
    """The body of a request, by media type."""
    body_description: str = ""
    body_is_required: bool = True
    answers: Mapping[int, Answer]
    security: Sequence[Mapping[str, Sequence[str]]] = ()
    """Each of them will do; empty: nothing is needed."""

    @property
    def route_of(self) -> tuple[str, str]:
        """The method and the pattern of the described route."""
        return self.method.upper(), self.route or self.path

    def types(self) -> Iterator[Any]:
        """All types in its bodies and answers."""
        contents = [self.body, *(answer.content for answer in self.answers.values())]
        for described in chain.from_iterable(content.values() for content in contents):
            if isinstance(described, tuple):
                yield from described
            elif not isinstance(described, Mapping):
                yield described


HEADERS: Mapping[str, Schema] = {
    "Accept-Encoding": {"description": "The supported content codings.", "schema": {"type": "string"}},
    "ETag": {"description": "Changes whenever the row does.", "schema": {"type": "string"}},
    "Location": {"description": "The path of what was made, or of the event's progress.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "The preferences that the answer follows (RFC 7240).",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {"description": "How to authenticate (RFC 6750).", "schema": {"type": "string"}},
    "X-Request-Id": {"description": "The id of the request: as it was sent, or made.", "schema": {"type": "string"}},
}
EVERY_ANSWER = ("X-Request-Id",)


def document(
    title: str,
    description: str,
    operations: Sequence[Operation],
    *,
    written: Mapping[str, Schema] | None = None,
    security_schemes: Mapping[str, Schema] | None = None,
) -> dict[str, Any]:
    """The document of one port; `written` are further schemas, by name, beside those of the operations' types."""
    described = list(dict.fromkeys(one for operation in operations for one in operation.types()))
    schemas, components = msgspec.json.schema_components(described, ref_template=REFERENCE)
    by_type = dict(zip(described, schemas, strict=True))
    return {
        "openapi": VERSION,
        "info": {
            "title": title,
            "version": API_VERSION,
            "description": description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": _paths(operations, by_type),
        "components": {
            "schemas": _as_answered({**components, **(written or {})}),
            "headers": dict(HEADERS),
            **({"securitySchemes": dict(security_schemes)} if security_schemes else {}),
        },
    }


def reference(name: str) -> Schema:
    """A schema that refers to another by name."""
    return {"$ref": REFERENCE.format(name=name)}


def _paths(operations: Sequence[Operation], by_type: Mapping[Any, Schema]) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    ids: Counter[str] = Counter()
    for operation in operations:
        described = _operation(operation, by_type)
        ids[described["operationId"]] += 1
        # Those of the projections `a-b` and `a_b` are spelled alike.
        if (times := ids[described["operationId"]]) > 1:
            described["operationId"] += f"_{times}"
        paths.setdefault(operation.path, {})[operation.method] = described
    return paths


def _operation(operation: Operation, by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    path = operation.path + ("empty" if operation.path.endswith("/") else "")
    words = path.replace("{", "").replace("}", "").removeprefix("/api/v1").split("/")
    described: dict[str, Any] = {
        "operationId": "_".join([operation.method, *filter(None, words)]).replace(".", "_").replace("-", "_"),
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.body:
        body = {"required": operation.body_is_required, "content": _content(operation.body, by_type)}
        described["requestBody"] = {"description": operation.body_description, **body}
    if operation.security:
        described["security"] = list(operation.security)
    described["responses"] = {
        str(status): _answer(answer, by_type) for status, answer in sorted(operation.answers.items())
    }
    return described


def _parameter(one: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": one.name,
        "in": one.place,
        "description": one.description,
        "required": one.is_required or one.place == "path",
        "schema": one.schema,
    }
    return {**described, "style": "form", "explode": False} if one.is_list else described


def _answer(answer: Answer, by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.description}
    headers = (*answer.headers, *EVERY_ANSWER)
    described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    if answer.content:
        described["content"] = _content(answer.content, by_type)
    return described


def _content(content: Mapping[str, Described], by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": _schema(described, by_type)} for media_type, described in content.items()}


def _schema(described: Described, by_type: Mapping[Any, Schema]) -> Schema:
    if isinstance(described, Mapping):
        return described
    if isinstance(described, tuple):
        return {"anyOf": [by_type[one] for one in described]}
    return by_type[described]


def _as_answered(schema: Any) -> Any:
    """The schema with decimals as numbers, as states have them; msgspec describes them as strings."""
    if isinstance(schema, Mapping):
        if schema.get("format") == "decimal":
            return {**{name: value for name, value in schema.items() if name != "format"}, "type": "number"}
        return {name: _as_answered(value) for name, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_as_answered(one) for one in schema]
    return schema
