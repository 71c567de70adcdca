"""Who may call what: every operation, by everybody, and again inside each write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.db.batch import Batch
from groupspaces.features.spaces import api as spaces
from groupspaces.web.operations import Operation
from tests.features.stage import BODIES, CALLERS, OURS, ROLES, Stage, key_of, staged
from tests.features.world import Person, World, problem, running

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
    if access in ("signed in", "operator"):
        return None
    if caller == "outsider":
        return 404
    if access == "shares a space":
        return None
    least = access.removesuffix(" of the space")
    return None if ROLES.index(caller) >= ROLES.index(least) else 403


def test_every_operation_is_covered_here_or_belongs_to_another_part() -> None:
    paths = {key_of(operation) for operation in operations()}
    assert {key_of(operation) for operation in OURS} <= paths
    assert BODIES.keys() == {key_of(operation) for operation in OURS if operation.body}


def test_only_these_operations_are_public() -> None:
    public = {key_of(operation) for operation in OURS if operation.access.name == "public"}
    assert public == {"POST /api/auth/sign-up", "POST /api/auth/sign-in", "GET /api/invites/{code}"}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("operation", OURS, ids=key_of)
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


WRITES_IN_A_SPACE = [
    operation
    for operation in OURS
    if operation.method != "GET" and operation.access.name.endswith(" of the space")
]
PRIVATE_WRITES = [
    operation for operation in OURS if operation.method != "GET" and operation.access.name != "public"
]


LOSSES = [
    pytest.param(operation, lost, id=f"{key_of(operation)}-{lost}")
    for operation in WRITES_IN_A_SPACE
    for lost in ("membership", "role", "space")
    if lost != "role" or operation.access.name != "member of the space"
]


@pytest.mark.parametrize(("operation", "lost"), LOSSES)
async def test_what_was_lost_after_the_check_is_noticed_in_the_write(
    stage: Stage, operation: Operation, lost: str
) -> None:
    """As when another instance took it away and this one's replica does not know yet."""
    least = operation.access.name.removesuffix(" of the space")
    actor = stage.people[least]
    scene = await stage.scene(author=least)
    space_id = scene["space_id"]
    sql, params = {
        "membership": ("DELETE FROM member WHERE space_id = ? AND user_id = ?", (space_id, actor.id)),
        "role": (
            "UPDATE member SET role = 'member' WHERE space_id = ? AND user_id = ?",
            (space_id, actor.id),
        ),
        "space": ("UPDATE space SET deleted_at_ms = 1 WHERE id = ?", (space_id,)),
    }[lost]
    if operation is spaces.delete_member:
        scene["user_id"] = actor.id  # a member may only leave
    answer, before, after = await _with_a_surprise(stage, operation, actor, scene, sql, params)
    assert answer.status_code in (403, 404), answer.text
    assert after == before


async def test_an_admin_demoted_after_the_check_removes_nobody(stage: Stage) -> None:
    actor, scene = stage.people["admin"], await stage.scene()
    sql = "UPDATE member SET role = 'member' WHERE space_id = ? AND user_id = ?"
    params = (scene["space_id"], actor.id)
    answer, before, after = await _with_a_surprise(stage, spaces.delete_member, actor, scene, sql, params)
    problem(answer, 403, "ROLE_TOO_LOW")
    assert after == before


@pytest.mark.parametrize("operation", PRIVATE_WRITES, ids=key_of)
async def test_a_session_that_ended_after_the_check_writes_nothing(
    stage: Stage, operation: Operation
) -> None:
    actor = stage.people["owner"]
    browser = await stage.world.stranger()
    session_id = await stage.sign_in(browser, actor)
    scene = await stage.scene() | {"session_id": session_id}
    sql = "DELETE FROM session WHERE id = ?"
    answer, before, after = await _with_a_surprise(stage, operation, browser, scene, sql, (session_id,))
    problem(answer, 401)
    assert after == before


async def _with_a_surprise(
    stage: Stage,
    operation: Operation,
    actor: Person,
    scene: dict[str, Any],
    sql: str,
    params: tuple[Any, ...],
) -> tuple[httpx2.Response, list[Any], list[Any]]:
    """Call, and change the primary between the access check and the call's first write.

    Returns the answer, and all product rows right after that change and at the end.
    """
    db = stage.world.db
    write = db.write
    before: list[Any] = []

    async def surprising_write(batch: Batch) -> Any:
        db.write = write  # type: ignore[method-assign]
        await stage.world.change(sql, *params)
        before.extend(await _everything(stage.world))
        return await write(batch)

    db.write = surprising_write  # type: ignore[method-assign]
    try:
        answer = await stage.call(operation, actor, scene)
    finally:
        db.write = write  # type: ignore[method-assign]
    assert before, "the operation never wrote: the surprise did not happen"
    return answer, before, await _everything(stage.world)


async def _everything(world: World) -> list[Any]:
    tables = ("user", "session", "space", "member", "invite", "message", "mention", "idempotency", "change")
    return [sorted(map(repr, await world.rows(f"SELECT * FROM {table}"))) for table in tables]
