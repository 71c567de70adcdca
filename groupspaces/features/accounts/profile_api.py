"""The HTTP calls of one's own picture, and of everybody's one may see.

Owns how pictures travel: what is taken, and the headers by which browsers keep them and do nothing else with them.
"""

from __future__ import annotations

from starlette.responses import Response

from groupspaces.features.accounts import avatars
from groupspaces.features.accounts.access import SHARES_A_SPACE
from groupspaces.features.accounts.avatars import MAX_UPLOAD_BYTES, MEDIA_TYPE, Pictures
from groupspaces.features.accounts.users import User
from groupspaces.web.context import Context
from groupspaces.web.operations import SIGNED_IN, Operation, operation
from groupspaces.web.uploads import FORM, uploaded_file

_PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", FORM)

# What is at an address never changes. Opened by itself it is a picture and nothing more.
_HEADERS = {
    "cache-control": "private, max-age=31536000, immutable",
    "content-disposition": "inline",
    "content-security-policy": "sandbox; default-src 'none'",
}


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


OPERATIONS: tuple[Operation, ...] = (put_avatar, delete_avatar, get_avatar)
