"""Taking one's data along: what is in the file, what never is, and how it is made."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Message

from groupspaces.errors import TooMany
from groupspaces.features.accounts.export import Exports
from groupspaces.web.context import Services
from tests.features.test_avatars import picture, upload
from tests.features.world import Person, World, problem, running
from tests.support.sqld import Sqld

EXPORT = "/api/users/me/export"
NOW_MS = 1_800_000_000_000


def opened(answer: httpx2.Response) -> zipfile.ZipFile:
    """Return the file of an answer, once every checksum in it was found right."""
    assert answer.status_code == 200, answer.text
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def read(archive: zipfile.ZipFile, name: str) -> Any:
    return json.loads(archive.read(name))


def lines(archive: zipfile.ZipFile, name: str) -> list[Any]:
    return [json.loads(line) for line in archive.read(name).splitlines()]


def exports_of(world: World) -> Exports:
    """Return the part of the running application."""
    services: Services = world.app.asgi._app._table._handling._services  # type: ignore[attr-defined]
    exports: Exports = services.parts[Exports]
    return exports


async def a_life(world: World) -> tuple[Person, Person, dict[str, int]]:
    """Return somebody with something of everything, somebody else, and the spaces: shared, left, deleted."""
    ann, ben = await world.person("Ann"), await world.person("Ben")
    spaces = {}
    for name in ("shared", "left", "gone"):
        space = await ann.space(name=name)
        spaces[name] = space["id"]
        await ben.joins(ann, space["id"])
        await ben.say(space["id"], f"written in {name}")
        await ann.say(space["id"], f"hers in {name} @ben")
    deleted = await ben.say(spaces["shared"], "taken back")
    assert (await ben.delete(f"/api/messages/{deleted['id']}")).status_code == 204
    assert (await ben.delete(f"/api/spaces/{spaces['left']}/members/{ben.id}")).status_code == 204
    assert (await ann.delete(f"/api/spaces/{spaces['gone']}")).status_code == 204
    assert (await ben.patch("/api/users/me", {"username": "benny"})).status_code == 200
    assert (await upload(ben, picture())).status_code == 200
    token = {"name": "Robot", "scopes": ["read"], "expires_at": None}
    assert (await ben.post("/api/tokens", token)).status_code == 201
    for sql in (
        "INSERT INTO linked_account (user_id, provider, subject, email, created_at_ms) VALUES (?, 'github', '7', 'b@x.org', 0)",
        """INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)
        VALUES (?, CAST('secret-credential' AS BLOB), CAST('secret-key' AS BLOB), 0, 'My key', 0)""",
        "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms) VALUES (?, CAST('secret-totp' AS BLOB), 0, 1)",
        "INSERT INTO recovery_code (user_id, code_hash) VALUES (?, CAST('secret-code' AS BLOB))",
    ):
        await world.change(sql, ben.id)
    await world.db.sync(force=True)
    return ann, ben, spaces


async def test_everything_about_somebody_is_in_it(world: World) -> None:
    ann, ben, spaces = await a_life(world)
    answer = await ben.get(EXPORT)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-disposition"].startswith('attachment; filename="group-spaces-20')
    archive = opened(answer)
    assert archive.namelist() == [
        "README.txt",
        "profile.json",
        "avatar.webp",
        "sessions.json",
        "tokens.json",
        "passkeys.json",
        "linked_accounts.json",
        "spaces.json",
        *(f"messages/{space_id}.jsonl" for space_id in spaces.values()),
        "mentions.jsonl",
        "audit.jsonl",
    ]
    profile = read(archive, "profile.json")
    assert (profile["email"], profile["username"], profile["former_usernames"]) == (
        ben.email,
        "benny",
        ["ben"],
    )
    assert archive.read("avatar.webp").startswith(b"RIFF")
    assert [one["method"] for one in read(archive, "sessions.json")] == ["password"]
    assert [(one["name"], one["scopes"]) for one in read(archive, "tokens.json")] == [("Robot", '["read"]')]
    assert [one["name"] for one in read(archive, "passkeys.json")] == ["My key"]
    assert [one["email"] for one in read(archive, "linked_accounts.json")] == ["b@x.org"]
    assert [(one["id"], one["role"]) for one in read(archive, "spaces.json")] == [
        (spaces["shared"], "member")
    ]
    for name, space_id in spaces.items():
        written = lines(archive, f"messages/{space_id}.jsonl")
        assert written[0]["content"] == f"written in {name}"
    assert [one["content"] for one in lines(archive, f"messages/{spaces['shared']}.jsonl")] == [
        "written in shared",
        "",
    ]
    assert {one["author_id"] for one in lines(archive, "mentions.jsonl")} == {ann.id}
    acts = [one["action"] for one in lines(archive, "audit.jsonl")]
    assert {"account.created", "member.joined", "member.left", "token.created"} <= set(acts)
    assert await world.rows("SELECT actor_id, subject FROM audit WHERE action = 'user.exported'") == [
        (ben.id, f"user:{ben.id}")
    ]


async def test_nothing_in_it_lets_anybody_in_or_is_somebody_elses(world: World) -> None:
    ann, ben, _ = await a_life(world)
    archive = opened(await ben.get(EXPORT))
    whole = b"".join(archive.read(name) for name in archive.namelist())
    assert b"secret-" not in whole
    assert b"argon2" not in whole
    assert b"hers in" not in whole
    assert ann.email.encode() not in whole
    [(token_hash,)] = await world.rows("SELECT token_hash FROM session WHERE user_id = ?", ben.id)
    assert isinstance(token_hash, bytes)
    for form in (token_hash, token_hash.hex().encode()):
        assert form not in whole


async def test_whoever_has_nothing_gets_what_there_is(world: World) -> None:
    ann = await world.person("Ann")
    assert opened(await ann.get(EXPORT)).namelist() == [
        "README.txt",
        "profile.json",
        "sessions.json",
        "audit.jsonl",
    ]


async def test_it_takes_that_they_have_just_come(world: World) -> None:
    ann = await world.person("Ann")
    await world.change("UPDATE session SET confirmed_at_ms = 0 WHERE user_id = ?", ann.id)
    await world.change("UPDATE user SET version = version + 1 WHERE id = ?", ann.id)
    problem(await ann.get(EXPORT), 403, "CONFIRM_REQUIRED")
    problem(await (await world.stranger()).get(EXPORT), 401)
    assert await world.rows("SELECT count(*) FROM audit WHERE action = 'user.exported'") == [(0,)]


async def test_one_is_made_at_a_time(world: World) -> None:
    ann = await world.person("Ann")
    exports = exports_of(world)
    first = exports.of(ann.id, NOW_MS)
    await anext(first)
    problem(await ann.get(EXPORT), 429, "EXPORT_RUNNING")
    await first.aclose()
    opened(await ann.get(EXPORT))
    second = exports.of(ann.id, NOW_MS)
    await anext(second)
    with pytest.raises(TooMany):
        await anext(exports.of(ann.id, NOW_MS))
    await second.aclose()


async def test_many_messages_come_in_pieces_and_pages(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    space = await ann.space()
    await world.change(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        " INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)"
        " SELECT ?, CASE WHEN i % 4 THEN ? ELSE ? END, 'text', 0, i, hex(randomblob(100)) || i FROM n",
        space["id"],
        ann.id,
        ben.id,
    )
    pieces = [piece async for piece in exports_of(world).of(ann.id, NOW_MS)]
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 2_000_000
    archive = zipfile.ZipFile(io.BytesIO(b"".join(pieces)))
    assert archive.testzip() is None
    written = lines(archive, f"messages/{space['id']}.jsonl")
    assert len(written) == 15_000
    assert [one["id"] for one in written] == sorted({one["id"] for one in written})


async def test_a_reader_who_leaves_ends_it(world: World) -> None:
    """Speak ASGI by hand: somebody takes the beginning and goes."""
    ann = await world.person("Ann")
    space = await ann.space()
    await world.change(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        " INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)"
        " SELECT ?, ?, 'text', 0, i, hex(randomblob(500)) FROM n",
        space["id"],
        ann.id,
    )
    left = asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 3:
            left.set()
            await asyncio.sleep(0)

    cookie = "; ".join(f"{name}={value}" for name, value in ann.client.cookies.items())
    scope = {
        "type": "http",
        "method": "GET",
        "path": EXPORT,
        "raw_path": EXPORT.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:3000"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 3000),
        "scheme": "http",
        "http_version": "1.1",
    }
    await world.app.asgi(scope, receive, send)
    assert sent[0]["status"] == 200
    assert sent[-1].get("more_body") is True
    opened(await ann.get(EXPORT))


@pytest.mark.sqld
async def test_it_is_made_of_a_replica(tmp_path: Path, sqld: Sqld) -> None:
    settings = {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    async with running(tmp_path / "data", settings) as world:
        _, ben, spaces = await a_life(world)
        archive = opened(await ben.get(EXPORT))
        assert f"messages/{spaces['left']}.jsonl" in archive.namelist()
