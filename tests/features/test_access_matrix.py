"""Who may call what: every operation, by everybody. (Inside each write again: `integration/test_stale_edges.py`.)"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.web.operations import Operation
from tests.features.stage import BODIES, CALLERS, OPERATORS, OURS, ROLES, Stage, key_of, staged
from tests.features.world import problem, running

# What an admitted caller of the least role is told when the operation itself says no.
NOT_THEIRS = {
    "PATCH /api/messages/{message_id}": (403, "AUTHOR_ONLY"),
    "DELETE /api/messages/{message_id}": (403, "AUTHOR_ONLY"),
    "DELETE /api/spaces/{space_id}/members/{user_id}": (403, "ROLE_TOO_LOW"),
    "POST /api/spaces/{space_id}/join": (404, "NOT_FOUND"),
    "DELETE /api/auth/sessions/{session_id}": (404, "NOT_FOUND"),
    "POST /api/auth/sign-in": (401, "BAD_CREDENTIALS"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with running(tmp_path_factory.mktemp("matrix") / "data") as world:
        yield await staged(world)


def expected(access: str, caller: str) -> int | None:
    """Return the status of a caller who is not admitted, or None for one who is."""
    if access == "public":
        return None
    if caller == "anonymous":
        return 401
    if access.startswith("signed in"):
        return None
    if access == "operator":
        return None if caller == "owner" else 403
    if caller == "outsider":
        return 404
    if access == "shares a space":
        return None
    least = access.removesuffix(" of the space")
    return None if ROLES.index(caller) >= ROLES.index(least) else 403


def test_every_operation_is_covered_here_or_belongs_to_another_part() -> None:
    paths = {key_of(operation) for operation in operations()}
    assert {key_of(operation) for operation in OURS} <= paths
    assert BODIES.keys() == {key_of(operation) for operation in (*OURS, *OPERATORS) if operation.body}


def test_only_these_operations_are_public() -> None:
    public = {key_of(operation) for operation in OURS if operation.access.name == "public"}
    assert public == {"POST /api/auth/sign-up", "POST /api/auth/sign-in", "GET /api/invites/{code}"}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("operation", [*OURS, *OPERATORS], ids=key_of)
async def test_who_may_call_it(stage: Stage, operation: Operation, caller: str) -> None:
    answer = await stage.call(operation, await stage.browser_for(operation, caller), await stage.scene())
    refused = expected(operation.access.name, caller)
    if refused is not None:
        problem(answer, refused)
    elif answer.status_code >= 400:
        assert (answer.status_code, problem(answer, answer.status_code)["code"]) == NOT_THEIRS[
            key_of(operation)
        ]
    else:
        assert answer.status_code == operation.status
