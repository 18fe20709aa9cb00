"""What an HTTP port answers to, as an OpenAPI 3.1 document, made from the types that its views read and answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import msgspec

VERSION = "3.1.1"
API_VERSION = "1"
REFERENCE = "#/components/schemas/{name}"

Schema = Mapping[str, Any]
Described = Any
"""A type that msgspec can describe; several of them, of which it is one; or a Schema where no type tells it all."""


class Parameter(NamedTuple):
    """Something that a request can carry beside its body."""

    name: str
    place: Literal["query", "path", "header"]
    schema: Schema
    description: str
    is_required: bool = False
    is_list: bool = False
    """Of the query: several values with commas between them."""


class Answer(NamedTuple):
    """What a status means and carries."""

    description: str
    content: Mapping[str, Described] = {}
    """By media type."""
    headers: Sequence[str] = ()
    """Names of HEADERS that it may have."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What a method of a path does."""

    method: Literal["get", "post"]
    path: str
    route: str = ""
    """The route whose view answers, where it is not called as the path; see `route_of`."""
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Mapping[str, Described] = {}
    """What a request's body may be, by media type."""
    body_description: str = ""
    body_is_required: bool = True
    answers: Mapping[int, Answer]

    @property
    def route_of(self) -> tuple[str, str]:
        """The method and the pattern of the route that it describes."""
        return self.method.upper(), self.route or self.path

    def types(self) -> Iterator[Any]:
        """All types that are described in it."""
        contents = [self.body, *(answer.content for answer in self.answers.values())]
        for described in chain.from_iterable(content.values() for content in contents):
            if isinstance(described, tuple):
                yield from described
            elif not isinstance(described, Mapping):
                yield described


HEADERS: Mapping[str, Schema] = {
    "Accept-Encoding": {"description": "The content codings that are understood.", "schema": {"type": "string"}},
    "ETag": {"description": "Changes whenever the row does.", "schema": {"type": "string"}},
    "Location": {"description": "Where the event's story is told.", "schema": {"type": "string"}},
    "Preference-Applied": {
        "description": "Which preferences the answer follows (RFC 7240).",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds after which the same request may succeed.",
        "schema": {"type": "integer", "minimum": 0},
    },
}


def document(
    title: str,
    description: str,
    operations: Sequence[Operation],
    *,
    written: Mapping[str, Schema] | None = None,
) -> dict[str, Any]:
    """The document of one port; `written` are schemas by their names, beside those of the operations' types."""
    described = list(dict.fromkeys(one for operation in operations for one in operation.types()))
    schemas, components = msgspec.json.schema_components(described, ref_template=REFERENCE)
    by_type = dict(zip(described, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, by_type)
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
        "paths": paths,
        "components": {"schemas": _as_answered({**components, **(written or {})}), "headers": dict(HEADERS)},
    }


def reference(name: str) -> Schema:
    """A schema that is another one, by its name."""
    return {"$ref": REFERENCE.format(name=name)}


def _operation(operation: Operation, by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    words = operation.path.replace("{", "").replace("}", "").removeprefix("/api/v1").split("/")
    told: dict[str, Any] = {
        "operationId": "_".join([operation.method, *filter(None, words)]).replace(".", "_").replace("-", "_"),
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        told["description"] = operation.description
    if operation.parameters:
        told["parameters"] = [_parameter(one) for one in operation.parameters]
    if operation.body:
        body = {"required": operation.body_is_required, "content": _content(operation.body, by_type)}
        told["requestBody"] = {"description": operation.body_description, **body}
    told["responses"] = {str(status): _answer(answer, by_type) for status, answer in sorted(operation.answers.items())}
    return told


def _parameter(one: Parameter) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": one.name,
        "in": one.place,
        "description": one.description,
        "required": one.is_required or one.place == "path",
        "schema": one.schema,
    }
    return {**told, "style": "form", "explode": False} if one.is_list else told


def _answer(answer: Answer, by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.description}
    if answer.headers:
        told["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in answer.headers}
    if answer.content:
        told["content"] = _content(answer.content, by_type)
    return told


def _content(content: Mapping[str, Described], by_type: Mapping[Any, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": _schema(described, by_type)} for media_type, described in content.items()}


def _schema(described: Described, by_type: Mapping[Any, Schema]) -> Schema:
    if isinstance(described, Mapping):
        return described
    if isinstance(described, tuple):
        return {"anyOf": [by_type[one] for one in described]}
    return by_type[described]


def _as_answered(schema: Any) -> Any:
    """The schema with Decimals as they are answered: msgspec takes them for texts, and states have numbers."""
    if isinstance(schema, Mapping):
        if schema.get("format") == "decimal":
            return {**{name: value for name, value in schema.items() if name != "format"}, "type": "number"}
        return {name: _as_answered(value) for name, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_as_answered(one) for one in schema]
    return schema
