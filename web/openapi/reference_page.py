"""An OpenAPI document as a self-contained HTML page: one style sheet, no script, no other files."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 12%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 2px solid var(--soft); }
code, pre { font: 0.9em/1.4 ui-monospace, monospace; }
pre { background: var(--soft); padding: 0.75rem; overflow-x: auto; }
details { border: 1px solid var(--soft); border-radius: 6px; margin: 0.5rem 0; padding: 0.5rem 0.75rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary code { font-weight: bold; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.75rem 0.25rem 0; overflow-wrap: anywhere; }
tr + tr > * { border-top: 1px solid var(--soft); }
nav li { display: inline; margin-right: 1rem; }
nav ul { padding: 0; }
"""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'"
)
_CODE = re.compile(r"`([^`]+)`")
_SCHEMAS = "#/components/schemas/"


def reference_page(document: Mapping[str, Any]) -> str:
    """The page as HTML."""
    info, schemas = document["info"], document["components"]["schemas"]
    tags = [tag["name"] for tag in document["tags"]]
    links = "".join(f'<li><a href="#{_id(tag)}">{escape(tag)}</a></li>' for tag in [*tags, "Schemas"])
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1><p>{_text(info['description'])}</p>",
            '<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>',
            f"<nav><ul>{links}</ul></nav>",
            *(part for tag in tags for part in _group(tag, document["paths"])),
            _heading("Schemas"),
            *(_schema(name, schema) for name, schema in sorted(schemas.items())),
            "</body></html>",
        ]
    )


def _group(tag: str, paths: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield _heading(tag)
    for path, methods in paths.items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield _operation(method, path, operation)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f'<details id="{_id(operation["operationId"])}">',
        f"<summary><code>{method.upper()} {escape(path)}</code> {_text(operation['summary'])}</summary>",
    ]
    if "description" in operation:
        parts.append(f"<p>{_text(operation['description'])}</p>")
    if parameters := operation.get("parameters"):
        rows = ([_name(one), one["in"], _shape(one["schema"]), _text(one["description"])] for one in parameters)
        parts += ["<h3>Parameters</h3>", _table(["Name", "In", "Value", ""], rows)]
    if body := operation.get("requestBody"):
        parts += ["<h3>Body</h3>", f"<p>{_text(body['description'])}</p>"]
        parts.append(_table(["Media type", "Value"], _contents(body["content"])))
    answers = ([status, _text(one["description"]), _carried(one)] for status, one in operation["responses"].items())
    parts += ["<h3>Answers</h3>", _table(["Status", "Meaning", "Carries"], answers), "</details>"]
    return "".join(parts)


def _carried(answer: Mapping[str, Any]) -> str:
    contents = [f"{media_type}: {shape}" for media_type, shape in _contents(answer.get("content", {}))]
    return "<br>".join([*contents, *(f"header {_code(name)}" for name in answer.get("headers", {}))])


def _contents(content: Mapping[str, Any]) -> list[list[str]]:
    return [[_code(media_type), _shape(one["schema"])] for media_type, one in content.items()]


def _shape(schema: Mapping[str, Any]) -> str:
    """A schema in one line: a link if it has a name, else JSON."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        return f'<a href="#{_id(name)}">{escape(name)}</a>'
    if set(schema) == {"anyOf"}:
        return " or ".join(_shape(one) for one in schema["anyOf"])
    return _code(json.dumps(schema)) if schema else "anything"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2))
    return f'<details id="{_id(name)}"><summary><code>{escape(name)}</code></summary><pre>{text}</pre></details>'


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Heads are plain text, cells are HTML."""
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _name(parameter: Mapping[str, Any]) -> str:
    return _code(parameter["name"]) + (" (required)" if parameter["required"] else "")


def _heading(name: str) -> str:
    return f'<h2 id="{_id(name)}">{escape(name)}</h2>'


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _text(text: str) -> str:
    """Plain text with code in backquotes, as HTML."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
