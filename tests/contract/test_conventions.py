"""What every operation of the whole application promises, whatever it does: the conventions of the HTTP contract."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from groupspaces.app import openapi_document, operations
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.operations import Operation
from tests.features.cast import Cast, Scene
from tests.features.stage import BODIES, key_of
from tests.features.world import World, running

PUBLIC = {
    "POST /api/auth/sign-up",
    "POST /api/auth/sign-in",
    "GET /api/auth/providers",
    "POST /api/auth/password/forgot",
    "POST /api/auth/password/reset",
    "POST /api/auth/email/verify",
    "POST /api/auth/passkeys/sign-in/options",
    "POST /api/auth/passkeys/sign-in",
    "GET /auth/{provider}/start",
    "GET /auth/{provider}/callback",
    "GET /api/invites/{code}",
    "GET /api/health",
    "GET /api/health/live",
    "GET /api/health/ready",
    "GET /metrics",
    "GET /api/openapi.json",
    "GET /api/docs",
    "POST /internal/doorbell",
}
# What an authenticator says is looked at as a whole: see `features/test_passkeys.py`.
MADE_BY_BROWSERS = frozenset({"credential"})
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

ALL = operations()
READS = [op for op in ALL if op.method == "GET" and not op.raw and op.returns is not str]
WITH_BODY = [op for op in ALL if op.body is not None]
WITH_ID = [op for op in ALL if any(name.endswith("_id") for name in op.parameter_names)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running(tmp_path_factory.mktemp("contract") / "data") as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cast(world: World) -> Cast:
    return await Cast.of(world)


Callers = dict[str, Scene]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def callers(cast: Cast) -> Callers:
    """Those by whom calls are made that change nothing."""
    return {caller: await cast.scene(caller) for caller in ("anonymous", "owner", "operator", "command line")}


def caller_of(callers: Callers, op: Operation) -> Scene:
    """Return who may make a call."""
    name = {"operator": "operator", COMMAND_LINE.name: "command line"}.get(op.access.name, "owner")
    return callers[name]


def is_problem(answer: httpx2.Response, *statuses: int) -> dict[str, Any]:
    """Check the form of a problem, and that it shows nothing of the inside."""
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", problem["code"])
    assert problem["request_id"] == answer.headers["x-request-id"]
    for leak in ("Traceback", "SELECT", "INSERT", ".py", "apsw", "msgspec", "/data"):
        assert leak not in answer.text
    return problem


def test_exactly_these_operations_are_public() -> None:
    described = openapi_document()["paths"]
    public = {
        f"{method.upper()} {path}"
        for path, methods in described.items()
        for method, op in methods.items()
        if op.get("security") == []
    }
    assert public == PUBLIC


@pytest.mark.parametrize("op", ALL, ids=key_of)
async def test_without_a_session_everything_else_is_401(callers: Callers, op: Operation) -> None:
    scene = callers["anonymous"]
    answer = await scene.request(op.method, scene.path(op))
    if key_of(op) in PUBLIC:
        # What instances tell each other is signed instead.
        assert answer.status_code != 401 or op.rate == "auth" or op.path.startswith("/internal/")
    else:
        assert is_problem(answer, 401)["code"] == "NOT_SIGNED_IN"


@pytest.mark.parametrize("op", READS, ids=key_of)
async def test_an_answer_is_of_the_type_the_document_names(callers: Callers, op: Operation) -> None:
    scene = caller_of(callers, op)
    answer = await scene.get(scene.path(op))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == op.media_type
    described = openapi_document()["paths"][op.path]["get"]["responses"]["200"]
    assert op.media_type in described["content"]
    if op.media_type != "application/json":
        return
    msgspec.json.decode(answer.content, type=op.returns)
    for name, value in times_in(answer.json()):
        assert TIME.match(value), f"{name} is {value}"


@pytest.mark.parametrize("op", READS, ids=key_of)
async def test_a_read_says_how_fresh_it_is(callers: Callers, op: Operation) -> None:
    scene = caller_of(callers, op)
    answer = await scene.get(scene.path(op))
    assert int(answer.headers["gs-feed-seq"]) > 0
    assert TIME.match(answer.headers["gs-as-of"])
    assert answer.headers["x-request-id"]


HOSTILE: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "malformed": (b'{"', (400,)),
    "not an object": (b"[]", (422,)),
    "null": (b"null", (422,)),
    "unknown field": (b'{"surely_unknown": 1}', (422,)),
    "invalid UTF-8": (b'{"surely_\xff": 1}', (400, 422)),
    "too large": (b" " * 1_048_577, (413,)),
    "deep": (b'{"surely_unknown":' + b"[" * 50_000 + b"]" * 50_000 + b"}", (422, 400)),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("op", WITH_BODY, ids=key_of)
async def test_a_hostile_body_is_a_clear_problem(callers: Callers, op: Operation, case: str) -> None:
    content, statuses = HOSTILE[case]
    scene = caller_of(callers, op)
    answer = await scene.request(
        op.method,
        scene.path(op),
        content=content,
        headers={"content-type": "application/json"},
    )
    is_problem(answer, *statuses)


@pytest.mark.parametrize("op", WITH_BODY, ids=key_of)
async def test_each_text_field_refuses_control_characters_and_wrong_types(
    callers: Callers, op: Operation
) -> None:
    scene = caller_of(callers, op)
    body = {**BODIES[key_of(op)]}
    assert op.body is not None
    for field in msgspec.structs.fields(op.body):
        if field.encode_name in MADE_BY_BROWSERS:
            continue
        for value in ("a\x00b", "\x1b[31m", {"an": "object"}, [[1]], 2**70):
            wrong = json.dumps({**body, field.encode_name: value})
            answer = await scene.request(
                op.method, scene.path(op), content=wrong, headers={"content-type": "application/json"}
            )
            problem = is_problem(answer, 422)
            assert problem["errors"], (field.name, value)


@pytest.mark.parametrize("op", WITH_BODY, ids=key_of)
async def test_a_body_that_is_not_json_is_415(callers: Callers, op: Operation) -> None:
    scene = caller_of(callers, op)
    answer = await scene.request(
        op.method, scene.path(op), content=b"a=b", headers={"content-type": "text/plain"}
    )
    is_problem(answer, 415)


@pytest.mark.parametrize("op", WITH_ID, ids=key_of)
async def test_an_id_that_cannot_exist_is_404(callers: Callers, op: Operation) -> None:
    for text in ("0", "-1", "9223372036854775807", "9223372036854775808", "1" * 100, "1e3", "x", "%00"):
        for name in op.parameter_names:
            if name.endswith("_id"):
                scene = caller_of(callers, op)
                path = scene.path(op, **{name: text})
                answer = await scene.request(op.method, path, json=BODIES.get(key_of(op)))
                is_problem(answer, 404)


async def test_cookie_writes_of_other_origins_are_refused(callers: Callers) -> None:
    scene = callers["owner"]
    for op in ALL:
        if op.method != "GET":
            answer = await scene.request(
                op.method, scene.path(op), headers={"origin": "https://evil.example"}
            )
            assert is_problem(answer, 403)["code"] == "CROSS_ORIGIN", key_of(op)


async def test_metrics_are_for_local_processes_and_token_holders(world: World, callers: Callers) -> None:
    local = await (await world.stranger()).get("/metrics")
    assert local.status_code == 200
    families = list(text_string_to_metric_families(local.text))
    assert families
    assert all(family.name.startswith("groupspaces_") for family in families)
    assert "/api/spaces/{space_id}" in local.text
    forwarded = await (await world.stranger()).get("/metrics", headers={"x-forwarded-for": "203.0.113.7"})
    assert is_problem(forwarded, 403)["code"] == "METRICS_TOKEN_NEEDED"


async def test_the_address_of_a_page_is_answered_by_the_client(world: World) -> None:
    page = await (await world.stranger()).get("/spaces/1")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


def times_in(value: Any, name: str = "") -> list[tuple[str, str]]:
    """List every field whose name says that it is a time."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in times_in(inner, key)]
    if isinstance(value, list):
        return [found for inner in value for found in times_in(inner, name)]
    is_time = name.endswith(("_at", "timestamp", "as_of", "_until"))
    return [(name, value)] if is_time and isinstance(value, str) else []
