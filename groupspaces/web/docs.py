"""The page `/api/docs`: the API's document as plain HTML.

Made once, from the document alone, without a script: it reads well in any browser and under the strictest
content security policy. Its style is `static/css/docs.css`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} API</title>
<link rel="stylesheet" href="/static/css/docs.css">
</head>
<body>
<header>
<h1>{title} API <small>{version}</small></h1>
<p>{description} The same as a file: <a href="/api/openapi.json">openapi.json</a> (OpenAPI 3.1).</p>
</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main>
{sections}
<section id="schemas"><h2>Schemas</h2>
{schemas}
</section>
</main>
</body>
</html>
"""


def docs_page(document: dict[str, Any]) -> str:
    """Render an OpenAPI document as a page."""
    tags = [tag["name"] for tag in document["tags"]]
    info = document["info"]
    return _PAGE.format(
        title=escape(info["title"]),
        version=escape(info["version"]),
        description=escape(info["description"]),
        links="".join(
            f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name in [*tags, "schemas"]
        ),
        sections="\n".join(_section(tag, document["paths"]) for tag in tags),
        schemas="\n".join(
            _schema(name, schema) for name, schema in document["components"]["schemas"].items()
        ),
    )


def _section(tag: str, paths: dict[str, Any]) -> str:
    operations = "\n".join(
        _operation(method, path, described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if tag in described["tags"]
    )
    return f'<section id="{_anchor(tag)}"><h2>{escape(tag.capitalize())}</h2>\n{operations}\n</section>'


def _operation(method: str, path: str, described: dict[str, Any]) -> str:
    parts = [f"<p>{escape(described['description'])}</p>"]
    own = [parameter for parameter in described.get("parameters", ()) if "$ref" not in parameter]
    if own:
        parts.append("<h4>Parameters</h4>" + _table(_parameter_row(parameter) for parameter in own))
    if "requestBody" in described:
        parts.append("<h4>Body</h4>" + _content(described["requestBody"]))
    parts.append("<h4>Answers</h4>" + _table(_response_row(*item) for item in described["responses"].items()))
    return (
        f'<details class="operation"><summary><code class="method {method}">{method.upper()}</code> '
        f"<code>{escape(path)}</code> {escape(described['summary'])}</summary>\n{''.join(parts)}</details>"
    )


def _parameter_row(parameter: dict[str, Any]) -> tuple[str, str, str]:
    return f"<code>{escape(parameter['name'])}</code>", parameter["in"], _type(parameter["schema"])


def _response_row(status: str, response: dict[str, Any]) -> tuple[str, str, str]:
    return f"<code>{status}</code>", escape(response["description"]), _content(response)


def _content(holder: dict[str, Any]) -> str:
    return "".join(
        _type(media["schema"]) for media in holder.get("content", {}).values() if "schema" in media
    )


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (f"<code>{escape(field)}</code>", _type(described), "required" if field in required else "")
        for field, described in schema.get("properties", {}).items()
    )
    return (
        f'<details id="schema-{_anchor(name)}"><summary><code>{escape(name)}</code></summary>\n'
        f"<p>{escape(schema.get('description', ''))}</p>{_table(rows)}</details>"
    )


def _type(schema: dict[str, Any]) -> str:
    """Say a schema in a few words, with a link to the one it names."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f'<a href="#schema-{_anchor(name)}">{escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    limits = [
        f"{name} {schema[name]}"
        for name in ("minimum", "maximum", "minLength", "maxLength")
        if name in schema
    ]
    return escape(", ".join([str(schema.get("type", "anything")), *limits]))


def _anchor(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name)
