"""A stage to go through the table of operations: callers of every kind, a fresh space for each call.

Nothing is listed twice: operations come from the table the server is made of. One that is added without a
sample body here fails the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx2

from groupspaces.app import operations
from groupspaces.features.accounts import api as accounts
from groupspaces.web.operations import Operation
from tests.features.world import PASSWORD, Person, World

OURS = tuple(
    operation
    for operation in operations()
    if operation.handler.__module__.startswith("groupspaces.features.")
)
OPERATORS = tuple(operation for operation in operations() if operation.access.name == "operator")
CALLERS = ("anonymous", "outsider", "member", "admin", "owner")

# The least that is accepted by each operation with a body.
BODIES: dict[str, Any] = {
    "POST /api/auth/sign-up": {"email": "", "password": PASSWORD, "name": "New"},
    "POST /api/auth/sign-in": {"email": "nobody@example.org", "password": PASSWORD},
    "POST /api/auth/confirm": {"password": "not theirs"},
    "PUT /api/auth/password": {"current": "not theirs", "new": PASSWORD},
    "POST /api/auth/password/forgot": {"email": "nobody@example.org"},
    "POST /api/auth/password/reset": {"token": "made up", "password": PASSWORD},
    "PUT /api/auth/email": {"email": "person1@example.org"},
    "POST /api/auth/email/verify": {"token": "made up"},
    "PUT /api/auth/totp": {"code": "000000"},
    "POST /api/auth/passkeys": {"ceremony": "made up", "credential": {}, "name": "Key"},
    "PATCH /api/auth/passkeys/{passkey_id}": {"name": "Key"},
    "POST /api/auth/passkeys/sign-in": {"ceremony": "made up", "credential": {}},
    "POST /api/tokens": {"name": "Robot", "scopes": ["read"]},
    "PATCH /api/users/me": {"bio": "x"},
    "DELETE /api/users/me": {"password": "not theirs"},
    "POST /api/spaces": {"name": "Another"},
    "PATCH /api/spaces/{space_id}": {"description": "x"},
    "PATCH /api/spaces/{space_id}/members/{user_id}": {"role": "admin"},
    "POST /api/spaces/{space_id}/invites": {},
    "POST /api/spaces/{space_id}/messages": {"content": "hi"},
    "PATCH /api/messages/{message_id}": {"content": "hi"},
    "PUT /api/spaces/{space_id}/read": {"message_id": 2**62},
    "PATCH /api/ops/jobs/{job_id}": {"paused": False},
    "POST /api/ops/users": {"email": "", "name": "Made"},
    "PATCH /api/ops/users/{user_id}": {"email_verified": True},
    "POST /api/ops/users/{user_id}/reset-link": {},
    "POST /api/ops/users/{user_id}/delete": {"confirm": "nobody"},
    "POST /api/ops/users/{user_id}/tokens": {"name": "Robot", "scopes": ["read"]},
    "PATCH /api/ops/replication": {"jitter": 0.2},
    "POST /api/ops/replication/preview": {"jitter": 0.3},
}


def key_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@dataclass
class Stage:
    """Five callers and a space of its own for each act."""

    world: World
    people: dict[str, Person]

    async def scene(self, *, author: str = "owner") -> dict[str, Any]:
        """Return path parameters for a fresh space with its members, a message, an invite and a session."""
        owner = self.people["owner"]
        space = await owner.space()
        for role in ("member", "admin"):
            await self.world.change(
                "INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (?, ?, ?, 0)",
                space["id"],
                self.people[role].id,
                role,
            )
        await self.world.change(
            "INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (?, ?, 'member', 0)",
            space["id"],
            self.people["target"].id,
        )
        message = await self.people[author].say(space["id"], "hello")
        invite = (await owner.post(f"/api/spaces/{space['id']}/invites", {})).json()
        return {
            "space_id": space["id"],
            "user_id": self.people["target"].id,
            "message_id": message["id"],
            "code": invite["code"],
            "session_id": 2**62,
            "passkey_id": 2**62,
            "name": "made-up",
            "token_id": 2**62,
            "linked_id": 2**62,
            "provider": "github",
            "job_id": "retention",
        }

    async def browser_for(self, operation: Operation, caller: str) -> Person:
        """Return a browser that is thrown away, so that signing up and out leave nothing behind."""
        browser = await self.world.stranger()
        if caller == "anonymous":
            return browser
        if operation in (
            accounts.post_sign_out,
            accounts.post_sign_up,
        ):  # which end the session they come with
            await self.sign_in(browser, self.people[caller])
        else:
            browser.client.cookies.update(self.people[caller].client.cookies)
        return browser

    async def sign_in(self, browser: Person, person: Person) -> int:
        """Sign somebody in with another browser and return the session's id."""
        answer = await browser.post("/api/auth/sign-in", {"email": person.email, "password": PASSWORD})
        assert answer.status_code == 200
        return int(answer.json()["session"]["id"])

    async def call(self, operation: Operation, person: Person, scene: dict[str, Any]) -> httpx2.Response:
        body = BODIES[key_of(operation)] if operation.body else None
        if operation is accounts.post_sign_up:
            body = body | {"email": f"{uuid4()}@example.org"}
        return await person.client.request(operation.method, operation.path.format(**scene), json=body)


async def staged(world: World) -> Stage:
    """Sign up a person for every kind of caller but the anonymous one, and one who is acted upon.

    The owner comes first and so is the operator.
    """
    return Stage(world, {name: await world.person(name.title()) for name in (*CALLERS[:0:-1], "target")})
