"""The HTTP calls of what is one's own: the picture others see, and the account as a whole.

Owns how pictures travel: what is taken, and the headers by which browsers keep them and do nothing else with them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOBODY, record
from groupspaces.features.accounts import avatars, export, own_password
from groupspaces.features.accounts.access import SHARES_A_SPACE
from groupspaces.features.accounts.avatars import MAX_UPLOAD_BYTES, MEDIA_TYPE, Pictures
from groupspaces.features.accounts.deletion import Deletion, HandOver
from groupspaces.features.accounts.export import Exports
from groupspaces.features.accounts.own_password import wrong_password
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.users import User
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.downloads import Download
from groupspaces.web.operations import CONFIRMED, SIGNED_IN, Operation, operation
from groupspaces.web.problems import MethodNotAllowed
from groupspaces.web.uploads import FORM, uploaded_file

_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", FORM)

# What is at an address never changes. Opened by itself it is a picture and nothing more.
_HEADERS = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-disposition": "inline",
    "content-security-policy": "sandbox; default-src 'none'; base-uri 'none'",
}

# A password that was changed elsewhere meanwhile is another one.
_UNCHANGED_SQL = "SELECT 1 FROM user WHERE id = ? AND password_hash = ?"


class Farewell(msgspec.Struct, forbid_unknown_fields=True):
    """`password` is needed by whoever has one. `hand_over` names who shall own spaces that would have no owner."""

    password: Annotated[str, Meta(max_length=256)] = ""
    hand_over: Annotated[list[HandOver], Meta(max_length=500)] = []


@operation(
    "PUT",
    "/api/users/me/avatar",
    access=SIGNED_IN,
    summary="Give yourself a picture: PNG, JPEG, WebP or GIF, at most 5 MB and 40 million points",
    tag="People",
    returns=User,
    raw=True,
    takes=_PICTURES,
    rate="upload",
    for_unverified=True,
)
async def put_avatar(ctx: Context) -> User:
    upload = await uploaded_file(ctx, limit_bytes=MAX_UPLOAD_BYTES)
    picture = await ctx.part(Pictures).portrait(upload)
    return await avatars.put(ctx.write, ctx.user_id, picture)


@operation(
    "DELETE",
    "/api/users/me/avatar",
    access=SIGNED_IN,
    summary="Take your picture away",
    tag="People",
    for_unverified=True,
)
async def delete_avatar(ctx: Context) -> None:
    await avatars.remove(ctx.write, ctx.user_id)


@operation(
    "GET",
    "/avatars/{user_id}/{name}",
    access=SHARES_A_SPACE,
    summary="The picture of somebody you share a space with",
    tag="People",
    raw=True,
    media_type=MEDIA_TYPE,
)
async def get_avatar(ctx: Context) -> Response:
    name = ctx.params["name"]
    etag = f'"{name}"'
    headers = {**_HEADERS, "etag": etag}
    picture = await avatars.one(ctx.read, ctx.params["user_id"], name)
    if ctx.headers_in.get(b"if-none-match") == etag.encode():
        return Response(status_code=304, headers=headers)
    return Response(picture, media_type=MEDIA_TYPE, headers=headers)


@operation(
    "GET",
    "/api/users/me/export",
    access=CONFIRMED,
    summary="Take everything about you along, as a ZIP file",
    tag="People",
    raw=True,
    media_type=export.MEDIA_TYPE,
    rate="upload",
)
async def get_export(ctx: Context) -> Response:
    ctx.refuse_other_sites()
    if ctx.scope["method"] == "HEAD":
        raise MethodNotAllowed("GET")  # it would be made and noted, and nobody would have it
    pieces = ctx.part(Exports).of(ctx.user_id, ctx.now_ms)
    name = f"group-spaces-{rfc3339(ctx.now_ms)[:10]}.zip"
    made = await Download.of(name, export.MEDIA_TYPE, pieces)
    added = record("audit.added", actor_id=ctx.user_id, audience=NOBODY, data={"action": "user.exported"})
    try:
        await ctx.write(Batch([added, ctx.origin.audit("user.exported", f"user:{ctx.user_id}")]))
    except BaseException:
        await pieces.aclose()
        raise
    return made


@operation(
    "DELETE",
    "/api/users/me",
    access=CONFIRMED,
    summary="Delete your account; what you wrote stays, without your name",
    tag="People",
    body=Farewell,
    rate="auth",
    for_unverified=True,
)
async def delete_me(ctx: Context, body: Farewell) -> None:
    db, passwords = ctx.services.db, ctx.part(Passwords)
    holder = await own_password.holder(db, ctx.user_id)
    if body.password or holder.password_hash:
        holder = await own_password.proved(db, passwords, ctx.user_id, body.password)
    proof = Statement(_UNCHANGED_SQL, (holder.id, holder.password_hash), refused=wrong_password())
    await ctx.part(Deletion).carry_out(ctx.write, ctx.user_id, body.hand_over, ctx.origin, proof=[proof])
    ctx.clear_session()


OPERATIONS: tuple[Operation, ...] = (put_avatar, delete_avatar, get_avatar, get_export, delete_me)
