"""Starting the application on a folder and using it as somebody would, to see that it can be: the last part of a backup's proof."""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import Any

import orjson

from groupspaces.app import Application
from groupspaces.errors import AppError
from groupspaces.host.local_call import Answer, Call, perform
from groupspaces.ops.backups.manifest import ArchiveRefused
from groupspaces.ops.backups.proof import Visit
from groupspaces.settings import load

# Nothing that goes on by itself is wanted in a folder that is gone in a moment.
_SETTINGS = {
    "auth.password_sign_in": "true",
    "auth.require_verified_email": "false",
    "limits.enabled": "false",
}


async def visit(wanted: Visit) -> None:
    """Start the application, sign in, and read. Raises ArchiveRefused, saying what did not go as it should."""
    nothing = wanted.folder / "config.toml"
    nothing.write_text("")
    settings = load(
        {},
        nothing,
        overrides={**_SETTINGS, "data.dir": str(wanted.folder), "auth.secret": secrets.token_hex(32)},
    )
    application = Application(settings)
    await application.start()
    try:
        await _use(application, wanted)
    finally:
        application.drain()
        await application.stop()


async def _use(application: Application, wanted: Visit) -> None:
    body = orjson.dumps({"email": wanted.email, "password": wanted.password})
    answer = await _call(application, "POST", "/api/auth/sign-in", body=body)
    _expect(answer, "signing in")
    cookie = _cookie_of(answer)
    _expect(await _call(application, "GET", "/api/spaces", cookie=cookie), "listing the spaces")
    if wanted.space_id is None:
        return
    path = f"/api/spaces/{wanted.space_id}/messages"
    answer = await _call(application, "GET", path, cookie=cookie)
    _expect(answer, "reading messages")
    found: list[dict[str, Any]] = orjson.loads(answer.body)["items"]
    if wanted.message_id not in {message["id"] for message in found}:
        raise ArchiveRefused("The newest message of the backup is not among those that are read.")


async def _call(
    application: Application, method: str, path: str, *, body: bytes = b"", cookie: bytes = b""
) -> Answer:
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    if cookie:
        headers.append((b"cookie", cookie))
    try:
        return await perform(
            application.asgi, Call(method, path, b"", headers, body, client=("127.0.0.1", 1))
        )
    except AppError as error:
        raise ArchiveRefused(error.detail) from error


def _cookie_of(answer: Answer) -> bytes:
    found: SimpleCookie = SimpleCookie()
    for name, value in answer.headers:
        if name.lower() == b"set-cookie":
            found.load(value.decode("latin-1"))
    return "; ".join(f"{name}={morsel.value}" for name, morsel in found.items()).encode("latin-1")


def _expect(answer: Answer, what: str) -> None:
    if answer.status != 200:
        said = orjson.loads(answer.body).get("detail", "") if answer.body else ""
        raise ArchiveRefused(f"On this backup, {what} was answered with {answer.status}. {said}".strip())
