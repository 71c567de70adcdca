"""An instance that is behind lets nobody write what they may write no more.

For every operation that writes: what its caller's right rests on is taken away at `a`, and the call made at `b`, whose replica still
says yes. The operations come from the table the server is made of; one that says nowhere what it rests on fails here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.features.spaces import api as spaces
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.operations import Operation
from tests.conftest import _STARTED
from tests.features.stage import key_of
from tests.support.client import Participant, expect, refused
from tests.support.edge import WITH_AN_AUTHENTICATOR, Edge, Scene

pytestmark = pytest.mark.sqld

# (What is under /internal/ is for instances alone, and the command line speaks to its own; nobody's rights are in question there.)
WRITES = [
    operation
    for operation in operations()
    if operation.method != "GET"
    and not operation.path.startswith("/internal/")
    and operation.access is not COMMAND_LINE
    and key_of(operation) not in WITH_AN_AUTHENTICATOR
]

# These look like writes and leave the primary as it is, whoever calls.
WRITE_NOTHING = {
    "POST /api/auth/password/forgot",  # nobody has the address that is given
    "POST /api/auth/email/verification",  # a letter, where mail is set up
    "POST /api/auth/passkeys/options",  # what is begun is in the answer, signed
    "POST /api/auth/passkeys/sign-in/options",
    "POST /api/ops/secret/reseal",  # nothing was encrypted by an older secret
    "POST /api/ops/replication/preview",
    "POST /api/ops/replication/sync",
    "POST /api/ops/replication/verify",  # it reads, here and at the primary
}

FOR_OPERATORS = [
    operation
    for operation in WRITES
    if operation.access.name == "operator" and key_of(operation) not in WRITE_NOTHING
]

BY_TOKEN = [operation for operation in WRITES if operation.needs_session and operation.token_scope == "write"]

# What each kind of access rests on. Whatever else an operation's own rule needs is told in `ALSO`.
RESTS_ON = {
    "public": (),
    "signed in": ("session", "account"),
    "signed in, in person": ("session", "account"),
    "signed in, confirmed lately": ("session", "account"),
    "member of the space": ("session", "account", "membership", "space"),
    "admin of the space": ("session", "account", "membership", "space", "role"),
    "owner of the space": ("session", "account", "membership", "space", "role"),
    "operator": ("session", "account", "operator"),
}
# Access that says nothing of what a call is about leaves it to the operation: it must be here, if with nothing.
SAYS_LITTLE = ("public", "signed in", "signed in, in person", "signed in, confirmed lately")
ALSO: dict[str, tuple[str, ...]] = {
    "POST /api/auth/sign-up": ("invite",),
    "POST /api/auth/sign-in": ("account",),
    "POST /api/auth/sign-out": (),
    "POST /api/auth/confirm": (),
    "PUT /api/auth/password": (),
    "POST /api/auth/password/reset": ("account",),
    "PUT /api/auth/email": (),
    "POST /api/auth/email/verify": ("account",),
    "DELETE /api/auth/sessions": (),
    "POST /api/auth/totp": (),
    "PATCH /api/auth/passkeys/{passkey_id}": (),
    "DELETE /api/auth/passkeys/{passkey_id}": (),
    "DELETE /api/auth/linked/{linked_id}": (),
    "DELETE /api/auth/sessions/{session_id}": ("other session",),
    "POST /api/tokens": (),
    "DELETE /api/tokens/{token_id}": ("token",),
    "PATCH /api/users/me": (),
    "PUT /api/users/me/avatar": (),
    "DELETE /api/users/me/avatar": (),
    "DELETE /api/users/me": (),
    "POST /api/spaces": (),
    "POST /api/spaces/{space_id}/join": ("publicity", "space"),
    "PATCH /api/spaces/{space_id}/members/{user_id}": ("other member",),
    "DELETE /api/spaces/{space_id}/members/{user_id}": ("role", "other member"),
    "DELETE /api/spaces/{space_id}/invites/{code}": (),
    "POST /api/invites/{code}/accept": ("invite", "inviter", "space"),
    "PATCH /api/messages/{message_id}": ("message",),
}
# The password is right: when the primary opens no session all the same, `b` looks again.
LOOKS_AGAIN = {"POST /api/auth/sign-in"}
REFUSALS = {"session": (401,), "account": (401, 403), "role": (403,), "operator": (403,)}
# Signing up needs no invite where everybody may; one that was given and is no good is a wrong field, and so is a link.
INVALID = {
    ("POST /api/auth/sign-up", "invite"),
    ("POST /api/auth/password/reset", "account"),
    ("POST /api/auth/email/verify", "account"),
}


def rights(operation: Operation) -> tuple[str, ...]:
    """Return everything that a call of this operation rests on."""
    return RESTS_ON[operation.access.name] + ALSO.get(key_of(operation), ())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def common_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path_factory.mktemp("edge"))
    try:
        yield await edge.open()
    finally:
        await edge.close()


@pytest.fixture
def edge(common_edge: Edge, request: pytest.FixtureRequest) -> Edge:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_edge.processes)
    return common_edge


def test_every_write_says_what_it_rests_on() -> None:
    missing = [
        key_of(operation)
        for operation in WRITES
        if key_of(operation) not in WRITE_NOTHING
        and (
            operation.access.name not in RESTS_ON
            or (operation.access.name in SAYS_LITTLE and key_of(operation) not in ALSO)
        )
    ]
    assert missing == []
    assert (ALSO.keys() | WRITE_NOTHING) <= {key_of(operation) for operation in WRITES}


LOSSES = [
    pytest.param(operation, right, id=f"{key_of(operation)}-{right}")
    for operation in WRITES
    if key_of(operation) not in WRITE_NOTHING and operation.access.name in RESTS_ON
    for right in rights(operation)
]


@pytest.mark.parametrize(("operation", "right"), LOSSES)
async def test_a_right_lost_elsewhere_writes_nothing_here(
    edge: Edge, operation: Operation, right: str
) -> None:
    await _refused_without(right, edge, operation, await edge.scene(operation))


@pytest.mark.parametrize("right", ["session", "account", "membership", "space"])
async def test_nobody_leaves_what_they_are_not_in(edge: Edge, right: str) -> None:
    scene = await edge.scene(spaces.get_space)  # a scene whose actor is a member
    leaving = replace(scene, params={**scene.params, "user_id": scene.actor.here.id})
    await _refused_without(right, edge, spaces.delete_member, leaving)


@pytest.mark.parametrize("right", RESTS_ON["operator"])
@pytest.mark.parametrize("operation", FOR_OPERATORS, ids=key_of)
async def test_nor_does_another_instance_do_it(edge: Edge, operation: Operation, right: str) -> None:
    """`b` carries the call to `a`, neither of which has heard."""
    await _refused_without(right, edge, operation, await edge.scene(operation), query="?instance=a")


@pytest.mark.parametrize("operation", BY_TOKEN, ids=key_of)
async def test_nor_does_a_token_that_has_ended(edge: Edge, operation: Operation) -> None:
    """`b` remembers the token, and has not heard of its end."""
    for _ in range(5):
        scene = await edge.scene(operation)
        here = scene.actor.here
        token = expect(await here.post("/api/tokens", {"name": "Robot", "scopes": ["write"]}), 201)
        seq_before = await edge.bring_b_up(scene.actor)
        async with Participant(edge.b.url) as robot:
            robot.http.headers["authorization"] = f"Bearer {token['token']}"
            expect(await robot.get("/api/users/me"), 200)
            expect(await here.delete(f"/api/tokens/{token['id']}"), 204)
            before = edge.digests()
            refused(await edge.call(operation, scene, robot), 401, "NOT_SIGNED_IN")
        assert edge.digests() == before
        if await edge.seq_at_b() == seq_before:
            return
        # That the token was used is written now and then, and what was written is fetched: `b` has heard, and nothing is shown.
    pytest.fail("B has heard of it each time.")


async def _refused_without(
    right: str, edge: Edge, operation: Operation, scene: Scene, *, query: str = ""
) -> None:
    """Take a right away at `a`, call at `b`, and see that nothing comes of it."""
    seq_before = await edge.bring_b_up(scene.actor)
    give_back = await TAKE[right](edge, scene)
    try:
        before = edge.digests()
        answer = await edge.call(operation, scene, query=query)
        if key_of(operation) not in LOOKS_AGAIN:
            assert await edge.seq_at_b() == seq_before, "B has heard of it: nothing is shown by its refusal"
        assert edge.digests() == before
        statuses = REFUSALS.get(right, (401, 403, 404))
        if (key_of(operation), right) in INVALID:
            statuses = (401, 422)  # a page of the person's own is asked first whether their session stands
        assert refused(answer, answer.status_code)["status"] in statuses, answer.text
    finally:
        if give_back is not None:
            edge.decree(give_back, scene.actor.here.id)


@pytest.mark.parametrize("operation", WRITES, ids=key_of)
async def test_the_same_call_is_fine_while_the_right_stands(edge: Edge, operation: Operation) -> None:
    scene = await edge.scene(operation)
    await edge.bring_b_up(scene.actor)
    before = edge.digests()
    answer = await edge.call(operation, scene)
    expect(answer, operation.status)
    assert (edge.digests() == before) == (key_of(operation) in WRITE_NOTHING)


# --- what may be lost, and how; they return the SQL that gives back what the next test needs ---


async def _end_session(edge: Edge, scene: Scene) -> None:
    expect(await scene.actor.here.post("/api/auth/sign-out"), 204)


async def _end_other_session(edge: Edge, scene: Scene) -> None:
    expect(await scene.actor.here.delete(f"/api/auth/sessions/{scene.params['session_id']}"), 204)


async def _end_token(edge: Edge, scene: Scene) -> None:
    expect(await scene.actor.here.delete(f"/api/tokens/{scene.params['token_id']}"), 204)


async def _suspend(edge: Edge, scene: Scene) -> str:
    edge.decree("UPDATE user SET suspended_at_ms = 1 WHERE id = ?", scene.actor.here.id)
    return "UPDATE user SET suspended_at_ms = NULL WHERE id = ?"


async def _take_operator(edge: Edge, scene: Scene) -> str:
    edge.decree("UPDATE user SET is_operator = 0 WHERE id = ?", scene.actor.here.id)
    return "UPDATE user SET is_operator = 1 WHERE id = ?"


async def _remove(edge: Edge, scene: Scene) -> None:
    await _delete(scene, f"/members/{scene.actor.here.id}")


async def _remove_other(edge: Edge, scene: Scene) -> None:
    await _delete(scene, f"/members/{scene.target_id}")


async def _delete_space(edge: Edge, scene: Scene) -> None:
    await _delete(scene, "")


async def _withdraw_invite(edge: Edge, scene: Scene) -> None:
    await _delete(scene, f"/invites/{scene.params['code']}")


async def _delete_message(edge: Edge, scene: Scene) -> None:
    expect(await scene.founder.delete(f"/api/messages/{scene.params['message_id']}"), 204)


async def _demote(edge: Edge, scene: Scene) -> None:
    await _patch(scene, f"/members/{scene.actor.here.id}", {"role": "member"})


async def _demote_inviter(edge: Edge, scene: Scene) -> None:
    await _patch(scene, f"/members/{scene.target_id}", {"role": "owner"})
    await _patch(scene, f"/members/{scene.founder.id}", {"role": "member"})


async def _close_space(edge: Edge, scene: Scene) -> None:
    await _patch(scene, "", {"visibility": "private"})


async def _delete(scene: Scene, path: str) -> None:
    expect(await scene.founder.delete(f"/api/spaces/{scene.params['space_id']}{path}"), 204)


async def _patch(scene: Scene, path: str, body: dict[str, str]) -> None:
    expect(await scene.founder.patch(f"/api/spaces/{scene.params['space_id']}{path}", body), 200)


TAKE: dict[str, Callable[[Edge, Scene], Awaitable[str | None]]] = {
    "session": _end_session,
    "other session": _end_other_session,
    "token": _end_token,
    "account": _suspend,
    "operator": _take_operator,
    "membership": _remove,
    "role": _demote,
    "space": _delete_space,
    "publicity": _close_space,
    "other member": _remove_other,
    "message": _delete_message,
    "invite": _withdraw_invite,
    "inviter": _demote_inviter,
}
