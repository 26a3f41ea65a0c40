"""An OpenAPI document as HTML: its operations, then the schemas that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

Schema = dict[str, Any]

GROUPS = (
    ("OpenAI's API, and Anthropic's Messages", "/v1/"),
    ("The router's own API", "/api/v1/"),
    ("Ollama's API", "/api/"),
    ("Beside these", "/"),
)
"""A title, and how its paths begin; a path belongs to the first that fits."""


def render(document: Schema) -> str:
    """The body of the page. Everything that comes from the document is escaped."""
    return "\n".join(_parts(document))


def _parts(document: Schema) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
    yield f"<p>{_prose(info['description'])} Clients can read <a href='/openapi.json'>the same as JSON</a>.</p>"
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    operations.sort(key=lambda operation: _group(operation[0]))
    yield "<nav>"
    for group, members in groupby(operations, key=lambda operation: _group(operation[0])):
        yield f"<h2>{escape(GROUPS[group][0])}</h2><ul>"
        for name, operation in members:
            summary = escape(operation.get("summary", ""))
            yield f"<li><a href='#{_anchor(name)}'><code>{escape(name)}</code></a> {summary}</li>"
        yield "</ul>"
    yield "</nav>"
    yield "<h2>Endpoints</h2>"
    for name, operation in operations:
        yield from _operation(name, operation)
    yield "<h2>Schemas</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield from _component(name, schema)


def _group(name: str) -> int:
    path = name.partition(" ")[2]
    if path == "/api/health":  # liveness is the gateway's own, not Ollama's
        return len(GROUPS) - 1
    return next(index for index, (_, start) in enumerate(GROUPS) if path.startswith(start))


def _operation(name: str, operation: Schema) -> Iterator[str]:
    yield f"<section id='{_anchor(name)}'><h3><code>{escape(name)}</code></h3>"
    yield f"<p>{_prose(operation.get('summary', ''))}. {_prose(operation.get('description', ''))}</p>"
    rows = [
        (f"{one['name']} ({one['in']})", one.get("schema", {}), one.get("required", False), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    if rows:
        yield from _table(rows)
    if "requestBody" in operation:
        yield f"<p>Body: {_content(operation['requestBody'])}</p>"
    yield "<table><tr><th scope='col'>Status</th><th scope='col'>Answer</th></tr>"
    for status, response in operation["responses"].items():
        said = _prose(response.get("description", ""))
        yield f"<tr><td>{escape(status)}</td><td>{said} {_content(response)}</td></tr>"
    yield "</table></section>"


def _component(name: str, schema: Schema) -> Iterator[str]:
    yield f"<section id='{_anchor(name)}'><h3><code>{escape(name)}</code></h3>"
    if schema.get("description"):
        yield f"<p>{_prose(schema['description'])}</p>"
    parts = schema.get("allOf", [schema])
    based = [_type(part) for part in parts if "$ref" in part]
    if based:
        yield f"<p>Every field of {', '.join(based)}, and:</p>"
    rows = [
        (field, detail, field in part.get("required", ()), detail.get("description", ""))
        for part in parts
        for field, detail in part.get("properties", {}).items()
    ]
    if rows:
        yield from _table(rows)
    elif not based:
        yield f"<p>{_type(schema)}</p>"
    yield "</section>"


def _table(rows: list[tuple[str, Schema, bool, str]]) -> Iterator[str]:
    yield "<table><tr><th scope='col'>Name</th><th scope='col'>Type</th><th scope='col'>Meaning</th></tr>"
    for name, schema, required, description in rows:
        meaning = _prose(description) + (" <strong>Needed.</strong>" if required else "")
        yield f"<tr><td><code>{escape(name)}</code></td><td>{_type(schema)}</td><td>{meaning}</td></tr>"
    yield "</table>"


def _content(body: Schema) -> str:
    return ", ".join(
        f"<code>{escape(media)}</code>: {_type(content.get('schema', {}))}"
        for media, content in body.get("content", {}).items()
    )


def _type(schema: Schema) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href='#{_anchor(name)}'>{escape(name)}</a>"
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema and "properties" not in schema:
            return " or ".join(_type(one) for one in schema[word])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(one))}</code>" for one in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        inner = schema.get("items") or {}
        return f"list of {_type(inner)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    if kind == "object" and "properties" in schema:
        fields = (f"<code>{escape(name)}</code>: {_type(one)}" for name, one in schema["properties"].items())
        return f"{{{', '.join(fields)}}}"
    words = " or ".join(kind) if isinstance(kind, list) else kind
    bounds = [
        f"{sign} {schema[name]}"
        for name, sign in (("minimum", "≥"), ("maximum", "≤"), ("minLength", "length ≥"), ("maxLength", "length ≤"))
        if name in schema
    ]
    return escape(" ".join([words, ", ".join(bounds)]).strip())


def _prose(text: str) -> str:
    """Escaped, with `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
