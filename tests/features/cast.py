"""Everybody there is, and one of everything they could name: the cast for tests that go through the table of operations.

A `Scene` is fresh for each call: people of every kind with their credentials, a space of theirs and one of somebody else's. It is
written straight into the tables, as one batch, so that a thousand of them take seconds. What makes such rows in earnest is tested
where it is at home.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec
from PIL import Image
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from groupspaces.db.batch import Batch, Statement, Value
from groupspaces.db.changes import NOW_MS, record
from groupspaces.identity import identify
from groupspaces.keys import KeyRing
from groupspaces.ops.backups.making import file_name
from groupspaces.web.context import LOCAL_OPERATOR
from groupspaces.web.cookies import SessionCookies, hash_token, new_token
from groupspaces.web.operations import Operation
from groupspaces.web.tokens import new_api_token
from tests.features.stage import BODIES, key_of
from tests.features.world import PASSWORD, URL, World
from tests.support.backups import unfit_archive
from tests.support.wait import wait_until

_EVENTS = "text/event-stream"
_NO_MAINTENANCE = Statement("DELETE FROM maintenance")
_DAY_MS = 86_400_000

# Those who belong to the scene's space; the tokens are the owner's, but for the operator's.
_ROLES = {"member": "member", "admin": "admin", "owner": "owner", "suspended": "admin", "target": "member"}
_PEOPLE = ("target", "stranger", "member", "admin", "owner", "suspended", "operator", "neighbour")
_SCOPES = {
    "token:read": ["read"],
    "token:write": ["write"],
    "token:space": ["write", "space:{space_id}"],
    "token:ops": ["ops"],
}
_HOLDERS = {"unconfirmed": "owner", "token:ops": "operator"} | dict.fromkeys(
    ("token:read", "token:write", "token:space"), "owner"
)

# Who calls. `unconfirmed` is the owner long after they proved that it is them, `command line` whoever may open the data folder.
CALLERS = (
    "anonymous",
    "stranger",
    "member",
    "admin",
    "owner",
    "unconfirmed",
    "suspended",
    *_SCOPES,
    "operator",
    "command line",
)

# Those who may run a job run one each, as it takes its time.
_JOBS = {"operator": "retention", "command line": "last_seen"}

_numbers = itertools.count(1)
_jitters = itertools.cycle(number / 1000 for number in range(1, 500))


@dataclass
class Scene:
    """One call about to be made: who makes it, what paths and bodies may name, and the same things of another space."""

    client: httpx2.AsyncClient
    number: int
    caller_email: str
    theirs: dict[str, Any]
    foreign: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        operation: Operation,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> httpx2.Response:
        """Make the call, with some parameters or fields other than the caller's own."""
        given: dict[str, Any] = {}
        if operation.takes:
            given["files"] = {"file": ("picture.png", PICTURE, "image/png")}
        elif operation.body is not None:
            given["json"] = self.body_of(operation) | dict(body or {})
        # A stream has no end; that it opens is all there is to know.
        method = "HEAD" if operation.media_type == _EVENTS else operation.method
        return await self.request(method, self.path(operation, **(params or {})), **given)

    def path(self, operation: Operation, **params: Any) -> str:
        """Return the address of a call, with the caller's own ids where no others are given."""
        return operation.path.format(**(self.theirs | params))

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Call as the caller; `headers` come beside what says who that is."""
        headers = self.headers | options.pop("headers", {})
        return await self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str) -> httpx2.Response:
        """GET an address as the caller."""
        return await self.request("GET", path)

    def body_of(self, operation: Operation) -> dict[str, Any]:
        """Return a body with which this call succeeds, as far as one can be made up."""
        key = key_of(operation)
        assert key in BODIES, f"{key} has no sample body yet: add one to BODIES in tests/features/stage.py."
        return dict(BODIES[key]) | _BODIES.get(key, lambda scene: {})(self)


# What has to be this scene's own in a body; all else is as `BODIES` says.
_BODIES: dict[str, Callable[[Scene], dict[str, Any]]] = {
    "POST /api/auth/sign-up": lambda scene: {"email": f"new{scene.number}@example.org"},
    "POST /api/auth/sign-in": lambda scene: {"email": scene.caller_email, "password": PASSWORD},
    "POST /api/auth/confirm": lambda scene: {"password": PASSWORD},
    "PUT /api/auth/password": lambda scene: {"current": PASSWORD, "new": f"{PASSWORD} {scene.number}"},
    "PUT /api/auth/email": lambda scene: {"email": f"moved{scene.number}@example.org"},
    "PUT /api/spaces/{space_id}/read": lambda scene: {"message_id": scene.theirs["message_id"]},
    "DELETE /api/users/me": lambda scene: {"password": PASSWORD},
    "PATCH /api/ops/replication": lambda scene: {"jitter": next(_jitters)},
    "POST /api/ops/backups/{backup_id}/restore": lambda scene: {"confirm": scene.theirs["backup_id"]},
    "POST /api/ops/users": lambda scene: {"email": f"made{scene.number}@example.org"},
    "POST /api/ops/users/{user_id}/delete": lambda scene: {"confirm": scene.theirs["username"]},
}


class Cast:
    """Make scenes in one running application."""

    def __init__(self, world: World, password_hash: str) -> None:
        self._world = world
        self._password_hash = password_hash
        self._instance_id = identify(world.app.settings, boot="").id
        self._cookies = SessionCookies(KeyRing(world.app.settings.auth.secret), secure=False)

    @classmethod
    async def of(cls, world: World) -> Cast:
        """Get ready. Somebody signs up in earnest, once: their password is everybody's."""
        await world.person("First")
        await world.db.catch_up()
        rows = await world.rows("SELECT password_hash FROM user LIMIT 1")
        return cls(world, str(rows[0][0]))

    async def scene(self, caller: str, *, owns_both: bool = False) -> Scene:
        """Set a scene for somebody; with `owns_both`, the other space is the owner's as well."""
        number = next(_numbers)
        ids = itertools.count(number * 1000)
        rows = _Rows()
        users = {name: next(ids) for name in _PEOPLE}
        usernames = {name: f"{name}{number}" for name in _PEOPLE}
        for name, user_id in users.items():
            rows.user(user_id, usernames[name], self._password_hash, name)
        space = rows.space(ids, f"s{number}", users["owner"], "public")
        for name, role in _ROLES.items():
            rows.member(space["space_id"], users[name], role)
        elsewhere = rows.space(ids, f"e{number}", users["neighbour"], "private")
        rows.member(elsewhere["space_id"], users["neighbour"], "owner")
        if owns_both:
            rows.member(elsewhere["space_id"], users["owner"], "owner")
        holder = _HOLDERS.get(caller, caller if caller in users else "target")
        personal = rows.belongings(ids, users[holder])
        foreign_personal = rows.belongings(ids, users["neighbour"])
        headers = {}
        if caller in _SCOPES:
            scopes = [scope.format(**space) for scope in _SCOPES[caller]]
            headers["authorization"] = f"Bearer {rows.token(next(ids), users[holder], scopes)}"
        elif caller not in ("anonymous", "command line"):
            token = rows.session(next(ids), users[holder], confirmed=caller != "unconfirmed")
            cookie = self._cookies.issue(token, 0, 3600)[1]
            headers["cookie"] = f"gs_session={self._cookies.value(cookie).decode()}"
        self._world.app._draining.end()
        await wait_until(lambda: self._world.app._works.running is None, 30, "no backup is made or proved")
        common = {
            "job_id": _JOBS.get(caller, "audit_check"),
            "provider": "github",
            "name": _PICTURE_NAME,
            "backup_id": self._archive(rows.backup(number, self._instance_id)),
        }
        await self._world.db.write(
            Batch(
                [*rows.statements, _NO_MAINTENANCE, record("test.changed", actor_id=None, audience="nobody")]
            )
        )
        await self._world.db.catch_up()
        target = {"user_id": users["target"], "username": usernames["target"]}
        return Scene(
            await self._client(is_local=caller == "command line"),
            number,
            f"{usernames[holder]}@example.org",
            common | target | space | personal,
            {"user_id": users["neighbour"]} | elsewhere | foreign_personal,
            headers,
        )

    def _archive(self, backup_id: str) -> str:
        """Put a file in the place of a backup's archive: that it is not good is found out after the answer."""
        folder = self._world.app.settings.data_dir / "backups"
        folder.mkdir(exist_ok=True)
        (folder / file_name(backup_id, encrypted=False)).write_bytes(unfit_archive())
        return backup_id

    async def _client(self, *, is_local: bool) -> httpx2.AsyncClient:
        asgi = self._world.app.asgi

        async def through_the_socket(scope: AsgiScope, receive: Receive, send: Send) -> None:
            await asgi(scope | {LOCAL_OPERATOR: True}, receive, send)

        transport = httpx2.ASGITransport(app=through_the_socket if is_local else asgi)
        return await self._world.stack.enter_async_context(
            httpx2.AsyncClient(transport=transport, base_url=URL)
        )


class _Rows:
    """Statements that fill the tables, in an order that keeps every reference."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def user(self, user_id: int, username: str, password_hash: str, name: str) -> None:
        values: tuple[Value, ...] = (
            user_id,
            f"{username}@example.org",
            name,
            username,
            password_hash,
            int(name == "operator"),
            1 if name == "suspended" else None,
            _PICTURE_NAME,
        )
        columns = "id, email, name, username, password_hash, is_operator, suspended_at_ms, avatar"
        self._insert("user", f"{columns}, created_at_ms, email_verified_at_ms", values, f"{NOW_MS}, 1")
        self._insert("avatar", "user_id, media_type, data", (user_id, "image/webp", b"RIFF"))

    def backup(self, number: int, instance_id: str) -> str:
        """Write the record of a backup, with a proof, so that no job wants to prove it; return its id."""
        backup_id = f"20200101T000000Z-{number:06x}"
        made = (backup_id, instance_id, file_name(backup_id, encrypted=False), "0" * 64)
        proof = '{"ok": true, "at_ms": 9999999999999, "rto_ms": 1, "instance_id": "a"}'
        columns = (
            "id, instance_id, file, sha256, reason, status, proof, created_at_ms, duration_ms, size_bytes"
        )
        self._insert(
            "backup",
            f"{columns}, is_encrypted, seq, epoch, schema_version",
            (*made, "by hand", "done", proof),
            "1, 1, 1, 0, 1, 1, 1",
        )
        return backup_id

    def space(self, ids: Iterator[int], name: str, owner_id: int, visibility: str) -> dict[str, Any]:
        """Write a space with a message and an invite, and return how paths name them. It has no member yet."""
        space_id, message_id, invite_id = next(ids), next(ids), next(ids)
        values = (space_id, name, name, "", visibility, owner_id)
        self._insert(
            "space", "id, name, slug, description, visibility, created_by, created_at_ms", values, NOW_MS
        )
        columns = "id, space_id, author_id, kind, mentions_all, content, created_at_ms"
        self._insert("message", columns, (message_id, space_id, owner_id, "text", 0, "hello"), NOW_MS)
        columns = "id, code, space_id, role, created_by, created_at_ms"
        self._insert("invite", columns, (invite_id, f"code{name}", space_id, "member", owner_id), NOW_MS)
        return {"space_id": space_id, "message_id": message_id, "code": f"code{name}"}

    def member(self, space_id: int, user_id: int, role: str) -> None:
        self._insert("member", "space_id, user_id, role, joined_at_ms", (space_id, user_id, role, 0))

    def belongings(self, ids: Iterator[int], user_id: int) -> dict[str, Any]:
        """Write what only one person may name, and return how paths name it."""
        session_id, token_id, passkey_id, linked_id = (next(ids) for _ in range(4))
        self.session(session_id, user_id, confirmed=True)
        self.token(token_id, user_id, ["read"])
        columns = "id, user_id, credential_id, public_key, sign_count, name, created_at_ms"
        self._insert("passkey", columns, (passkey_id, user_id, f"key{passkey_id}".encode(), b"", 0, "Key", 0))
        columns = "id, user_id, provider, subject, created_at_ms"
        self._insert("linked_account", columns, (linked_id, user_id, "oidc", f"sub{linked_id}", 0))
        return {
            "session_id": session_id,
            "token_id": token_id,
            "passkey_id": passkey_id,
            "linked_id": linked_id,
        }

    def session(self, session_id: int, user_id: int, *, confirmed: bool) -> str:
        token = new_token()
        self._insert(
            "session",
            "id, token_hash, user_id, user_agent, created_at_ms, seen_at_ms, expires_at_ms, confirmed_at_ms",
            (session_id, hash_token(token), user_id, "test"),
            f"{NOW_MS}, {NOW_MS}, {NOW_MS} + {_DAY_MS}, {NOW_MS if confirmed else 0}",
        )
        return token

    def token(self, token_id: int, user_id: int, scopes: list[str]) -> str:
        token = new_api_token()
        values = (
            token_id,
            user_id,
            hash_token(token),
            "Robot",
            token[-4:],
            msgspec.json.encode(scopes).decode(),
        )
        self._insert(
            "api_token", "id, user_id, token_hash, name, hint, scopes, created_at_ms", values, NOW_MS
        )
        return token

    def _insert(self, table: str, columns: str, values: tuple[Value, ...], expressions: str = "") -> None:
        marks = ", ".join("?" * len(values)) + (f", {expressions}" if expressions else "")
        self.statements.append(Statement(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values))


_PICTURE_NAME = "0123456789abcdef"


def _picture() -> bytes:
    """Return a picture of one point."""
    png = io.BytesIO()
    Image.new("RGB", (1, 1)).save(png, "PNG")
    return png.getvalue()


PICTURE = _picture()
