"""The whole application in this process, on a real database, spoken to over HTTP.

A `World` makes people, spaces and messages; a `Person` is somebody with a browser's cookies.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from groupspaces import settings
from groupspaces.app import Application
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.db.database import Database

URL = "http://127.0.0.1:3000"
PASSWORD = "correct horse battery"


@dataclass
class Person:
    """Somebody with a browser. `get`, `post`, `put`, `patch` and `delete` return the response."""

    client: httpx2.AsyncClient
    id: int = 0
    name: str = ""
    email: str = ""
    username: str = ""

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.get(path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return await self.client.post(path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return await self.client.put(path, json=json, **options)

    async def patch(self, path: str, json: Any = None, **options: Any) -> httpx2.Response:
        return await self.client.patch(path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self.client.delete(path, **options)

    async def space(self, **fields: Any) -> dict[str, Any]:
        """Create a space this person owns."""
        answer = await self.post("/api/spaces", {"name": "Room", **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def say(self, space_id: int, content: str) -> dict[str, Any]:
        """Post a message."""
        answer = await self.post(f"/api/spaces/{space_id}/messages", {"content": content})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def joins(self, owner: Person, space_id: int, role: str = "member") -> None:
        """Join a space by an invite of its owner, who then gives the role."""
        invite = (await owner.post(f"/api/spaces/{space_id}/invites", {})).json()
        assert (await self.post(f"/api/invites/{invite['code']}/accept")).status_code == 200
        if role != "member":
            path = f"/api/spaces/{space_id}/members/{self.id}"
            assert (await owner.patch(path, {"role": role})).status_code == 200


@dataclass
class World:
    """One running application and the people in it."""

    app: Application
    db: Database
    stack: AsyncExitStack
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def stranger(self) -> Person:
        """Return somebody with an empty browser."""
        transport = httpx2.ASGITransport(app=self.app.asgi)
        client = httpx2.AsyncClient(transport=transport, base_url=URL)
        return Person(await self.stack.enter_async_context(client))

    async def person(self, name: str = "Ann", **fields: Any) -> Person:
        """Return somebody who has just signed up."""
        person = await self.stranger()
        person.name, person.email = name, fields.pop("email", f"person{next(self.numbers)}@example.org")
        body = {"email": person.email, "password": PASSWORD, "name": name, **fields}
        answer = await person.post("/api/auth/sign-up", body)
        assert answer.status_code == 201, answer.text
        user = answer.json()["user"]
        person.id, person.username = user["id"], user["username"]
        return person

    async def change(self, sql: str, *params: Any) -> None:
        """Change the primary behind the API's back, as another instance could have done a moment ago."""
        await self.db.write(
            Batch([Statement(sql, params), record("test.changed", actor_id=None, audience="nobody")])
        )

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return list(await self.db.read(sql, params))


@asynccontextmanager
async def running(folder: Path, overrides: Mapping[str, str] | None = None) -> AsyncIterator[World]:
    """Start the application on a folder; `overrides` are settings as `section.key`."""
    given = {"data.dir": str(folder), "limits.enabled": "false", **(overrides or {})}
    app = Application(settings.load({}, overrides=given))
    await app.start()
    try:
        async with AsyncExitStack() as stack:
            yield World(app, app._db, stack)
    finally:
        await app.stop()


def problem(answer: httpx2.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Assert that an answer is this problem, in the form all problems have, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = dict(answer.json())
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    if code is not None:
        assert body["code"] == code
    return body
