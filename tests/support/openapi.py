"""The OpenAPI document as a list of calls that a test can make: every operation with its parameters, bodies and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What a required field needs when nothing else is said; the schema alone does not tell what is meant.
EXAMPLES: dict[str, Any] = {
    "email": "somebody@example.org",
    "password": "correct horse battery",
    "name": "Somebody",
    "content": "hello",
    "role": "member",
    "message_id": 1,
    "username": "somebody",
    "scopes": ["read"],
    "new": "another correct horse battery",
}
_SAMPLES: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
}


@dataclass(frozen=True)
class DocumentedCall:
    """One operation. `body` is the schema of its JSON body with references resolved, None without one."""

    method: str
    path: str
    is_public: bool
    statuses: frozenset[int]
    path_parameters: Mapping[str, Mapping[str, Any]]
    query_parameters: Mapping[str, Mapping[str, Any]]
    body: Mapping[str, Any] | None
    takes_key: bool
    takes_bookmark: bool

    @property
    def name(self) -> str:
        """Method and path template."""
        return f"{self.method} {self.path}"

    def url(self, values: Mapping[str, Any]) -> str:
        """Fill the path in."""
        return self.path.format_map({name: values[name] for name in self.path_parameters})

    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the fields of the body."""
        found: Mapping[str, Mapping[str, Any]] = (self.body or {}).get("properties", {})
        return found

    def valid_body(self) -> dict[str, Any]:
        """Return a body with the required fields, or with one field where none is required."""
        body = self.body or {}
        names = body.get("required") or [name for name in self.properties() if name in EXAMPLES][:1]
        return {
            name: EXAMPLES[name] if name in EXAMPLES else _sample(self.properties()[name]) for name in names
        }


def _sample(schema: Mapping[str, Any]) -> Any:
    """Return something that the schema allows, if not more than that."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    return _SAMPLES.get(schema.get("type", "string"), "text")


def documented_calls(document: Mapping[str, Any]) -> list[DocumentedCall]:
    """Return every operation of the document."""
    return [
        _call(document, method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method != "parameters"
    ]


def _call(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> DocumentedCall:
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", [])]
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return DocumentedCall(
        method=method,
        path=path,
        is_public=operation.get("security") == [],
        statuses=frozenset(map(int, operation["responses"])),
        path_parameters={p["name"]: p["schema"] for p in parameters if p["in"] == "path"},
        query_parameters={p["name"]: p["schema"] for p in parameters if p["in"] == "query"},
        body=None if schema is None else _resolved(document, schema),
        takes_key=any(p["name"] == "Idempotency-Key" for p in parameters),
        takes_bookmark=any(p["name"] == "GS-Bookmark" for p in parameters),
    )


def _resolved(document: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        value = found
    return value
