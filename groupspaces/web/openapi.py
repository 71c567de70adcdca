"""The API's own description: OpenAPI 3.1, made from the operations themselves.

Owns `GET /api/openapi.json` and the page that shows it, `GET /api/docs`. The schemas are those that validate requests,
so the document cannot promise what the server refuses.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from groupspaces import __version__

from .context import Context
from .cookies import SESSION_COOKIE
from .decoding import MAX_ID, path_parameter_is_id
from .dispatch import PAGE
from .docs import docs_page
from .idempotency import MAX_CHARS
from .operations import PUBLIC, Operation, operation
from .problems import Problem

_REF = "#/components/schemas/{name}"
_JSON = "application/json"
_FORM = "multipart/form-data"
_FILE = {"type": "string", "contentMediaType": "application/octet-stream"}
_PROBLEM = "application/problem+json"

_TEXT_PATTERN = r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$"

_PROBLEM_WORDS = {
    400: "The body is no JSON, or names a field twice",
    401: "Not signed in",
    403: "Signed in, and not allowed; or sent by a page of another site",
    404: "Not there, or not yours to see",
    409: "In conflict with what is there",
    413: "The body is too large",
    415: "The body is not JSON",
    422: "A field was refused; `errors` names it",
    429: "Too many requests; see `Retry-After`",
    503: "Not now, see `Retry-After`: `PRIMARY_UNAVAILABLE` (a write while the primary is away; reads go on), "
    "`REPLICA_BEHIND` (a read that asked for more than this replica has), `STORAGE_UNAVAILABLE` (the disk) and others",
}

_HEADERS = {
    "X-Request-ID": ("Names this request in the log", {"type": "string"}),
    "GS-Feed-Seq": ("Change-feed position of the state that answered", {"type": "integer"}),
    "GS-As-Of": (
        "When that state was last known equal to the primary",
        {"type": "string", "format": "date-time"},
    ),
    "GS-Bookmark": (
        "Change-feed position that holds this write; comes with a read that may have shown more than GS-Feed-Seq says",
        {"type": "integer"},
    ),
    "Retry-After": ("Seconds", {"type": "integer"}),
}

_PARAMETERS = {
    "GS-Bookmark": (
        "Answer from a state that includes this change-feed position",
        {"type": "integer", "minimum": 0, "maximum": MAX_ID},
    ),
    "GS-Max-Stale": (
        "Answer only from a state at most this many seconds old",
        {"type": "integer", "minimum": 0, "maximum": MAX_ID},
    ),
    "GS-User": (
        "Whom the caller takes itself for: 401 `OTHER_SESSION` when the session is somebody else's",
        {"type": "integer", "minimum": 1, "maximum": MAX_ID},
    ),
    "Idempotency-Key": (
        "A repeat within 24 hours creates nothing and is answered with the first result",
        {"type": "string", "minLength": 1, "maxLength": MAX_CHARS, "pattern": "^[!-~]+$"},
    ),
}


_SECURITY_SCHEMES = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "Somebody signed in with a browser; where the site is https the name begins with __Host-",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "gs_…",
        "description": "An API token, made in the settings. Each operation names the scope it needs; "
        "a token bound to spaces does only what stays within one of them",
    },
}

_INSTANCE = {
    "name": "instance",
    "in": "query",
    "description": "The id of the instance that shall answer, when it is not the one that is asked",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Describe `operations` as an OpenAPI 3.1 document."""
    operations = tuple(operations)
    types = [kind for op in operations for kind in (op.body, op.returns) if kind is not None]
    queries = [op.query for op in operations if op.query is not None]
    schemas, components = msgspec.json.schema_components([*types, *queries, Problem], ref_template=_REF)
    schema_of = dict(zip(map(id, [*types, *queries]), schemas, strict=False))
    for op in operations:
        if op.body is not None:
            _forbid_control_characters(schema_of[id(op.body)], components, set())
    paths: dict[str, dict[str, Any]] = {}
    for op in operations:
        paths.setdefault(op.path, {})[op.method.lower()] = _described(op, schema_of, components)
    only_queries = {query.__name__ for query in queries} - {getattr(kind, "__name__", "") for kind in types}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Group Spaces",
            "version": __version__,
            "description": "Spaces where people chat, learn and work together.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"session": []}, {"token": []}],
        "tags": [{"name": tag} for tag in sorted({op.tag for op in operations})],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in only_queries},
            "securitySchemes": _SECURITY_SCHEMES,
            "headers": {
                name: {"description": words, "schema": schema} for name, (words, schema) in _HEADERS.items()
            },
            "parameters": {
                name: {"name": name, "in": "header", "description": words, "schema": schema}
                for name, (words, schema) in _PARAMETERS.items()
            }
            | {"instance": _INSTANCE},
        },
    }


def documentation(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """Return the operations that show the document of `operations` and of themselves, made when it is first asked for."""
    operations = tuple(operations)

    @operation(
        "GET",
        "/api/openapi.json",
        access=PUBLIC,
        summary="Describe this API as OpenAPI 3.1",
        tag="documentation",
        returns=dict[str, Any],
        reads_data=False,
    )
    async def openapi_json(ctx: Context) -> bytes:
        return await asyncio.to_thread(as_json)

    @operation(
        "GET",
        "/api/docs",
        access=PUBLIC,
        summary="Show this API to people",
        tag="documentation",
        returns=str,
        media_type="text/html; charset=utf-8",
        reads_data=False,
    )
    async def docs(ctx: Context) -> bytes:
        ctx.scope[PAGE] = True
        return await asyncio.to_thread(as_page)

    own = (openapi_json, docs)

    # Off the loop: it takes 50 ms.
    @functools.cache
    def as_json() -> bytes:
        return msgspec.json.encode(document((*operations, *own)))

    @functools.cache
    def as_page() -> bytes:
        return docs_page(document((*operations, *own))).encode()

    return own


def _described(op: Operation, schema_of: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{op.tag}_{op.handler.__name__}".replace(" ", "_").replace("-", "_"),
        "summary": op.summary,
        "tags": [op.tag],
        "description": f"Access: {op.access.name}.{_for_tokens(op)}",
        "security": _security(op),
    }
    if parameters := _parameters(op, schema_of, components):
        described["parameters"] = parameters
    if op.body is not None:
        described["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema_of[id(op.body)]}}}
    if op.takes:
        described["requestBody"] = {
            "required": True,
            "content": {media_type: _upload(media_type) for media_type in op.takes},
        }
    described["responses"] = _responses(op, schema_of)
    return described


def _security(op: Operation) -> list[dict[str, list[str]]]:
    """Return what a caller may bring: OpenAPI 3.1 lets a scheme of any kind name the roles that are needed, here scopes."""
    if not op.needs_session:
        return []
    session: dict[str, list[str]] = {"session": []}
    return [session] if op.token_scope is None else [session, {"token": [op.token_scope]}]


def _for_tokens(op: Operation) -> str:
    if not op.needs_session:
        return ""
    if op.token_scope is None:
        return " In person only: no API token may do it."
    bound = ", and may be bound to the space" if op.access.is_of_a_space else " and is not bound to a space"
    return f" API tokens: one that has the scope `{op.token_scope}`{bound}."


def _upload(media_type: str) -> dict[str, Any]:
    if media_type != _FORM:
        return {}
    return {"schema": {"type": "object", "properties": {"file": _FILE}, "required": ["file"]}}


def _forbid_control_characters(schema: Any, components: dict[str, Any], seen: set[str]) -> None:
    """Say of every free text in a request what `decoding` refuses."""
    if isinstance(schema, list):
        for inner in schema:
            _forbid_control_characters(inner, components, seen)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "string" and not schema.keys() & {"pattern", "enum", "format"}:
        schema["pattern"] = _TEXT_PATTERN
    if "$ref" in schema and schema["$ref"] not in seen:
        seen.add(schema["$ref"])
        _forbid_control_characters(components[schema["$ref"].rsplit("/", 1)[-1]], components, seen)
    for inner in schema.values():
        _forbid_control_characters(inner, components, seen)


def _parameters(op: Operation, schema_of: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _path_schema(name)}
        for name in op.parameter_names
    ]
    if op.takes_instance:
        parameters.append({"$ref": "#/components/parameters/instance"})
    if op.query is not None:
        query = components[schema_of[id(op.query)]["$ref"].rsplit("/", 1)[-1]]
        required = query.get("required", ())
        parameters += (
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in query["properties"].items()
        )
    headers = ["GS-Bookmark", "GS-Max-Stale"] if _is_held(op) else []
    if op.needs_session:
        headers.append("GS-User")
    if op.replay is not None:
        headers.append("Idempotency-Key")
    return parameters + [{"$ref": f"#/components/parameters/{name}"} for name in headers]


def _is_held(op: Operation) -> bool:
    return op.method == "GET" and op.reads_data


def _path_schema(name: str) -> dict[str, Any]:
    if path_parameter_is_id(name):
        return {"type": "integer", "minimum": 1, "maximum": MAX_ID}
    return {"type": "string", "minLength": 1, "maxLength": 64}


def _responses(op: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    names = ["X-Request-ID"]
    if op.method == "GET":
        names += ["GS-Feed-Seq", "GS-As-Of"]
    if op.method != "GET" or op.reads_data:
        names.append("GS-Bookmark")
    answer: dict[str, Any] = {"description": op.summary, "headers": _header_refs(names)}
    if op.raw and op.returns is None:
        answer["content"] = {op.media_type: {}}
    elif op.returns is not None:
        answer["content"] = {op.media_type: {"schema": schema_of[id(op.returns)]}}
    responses = {str(op.status): answer}
    responses |= {str(status): {"description": op.summary} for status in op.also if status < 400}
    for status in _problem_statuses(op):
        responses[str(status)] = {
            "description": _PROBLEM_WORDS[status],
            "headers": _header_refs(["X-Request-ID", *(["Retry-After"] if status in (429, 503) else [])]),
            "content": {_PROBLEM: {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
    return responses


def _problem_statuses(op: Operation) -> list[int]:
    statuses = {503}
    if op.method != "GET" or _is_held(op) or op.query is not None or op.needs_session:
        statuses.add(422)  # the GS- headers and queries of reads, the Idempotency-Key of writes
    if op.needs_session:
        statuses |= {401, 403, 404}
    elif op.access is not PUBLIC:
        statuses.add(403)
    if op.method != "GET":
        statuses |= {403, 409}
    if op.parameter_names:
        statuses.add(404)
    if op.body is not None or op.takes:
        statuses |= {400, 413, 415}
    if op.rate == "auth":
        statuses.add(401)
    statuses |= {status for status in op.also if status >= 400}
    if op.rate != "free":
        statuses.add(429)
    return sorted(statuses)


def _header_refs(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
