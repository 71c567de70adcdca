"""The HTTP calls of spaces, members and invites.

Owns what requests may contain; everything else happens in the noun modules.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from groupspaces.errors import FieldError, Invalid
from groupspaces.features.accounts.api import ONE_LINE, Email, Emoji, changed_columns, normalised
from groupspaces.features.spaces import invites, members, spaces
from groupspaces.features.spaces.access import Role, member
from groupspaces.features.spaces.invites import Invite, InviteRole, NewInvite, Preview
from groupspaces.features.spaces.members import Member
from groupspaces.features.spaces.spaces import NewSpace, PublicSpace, Space, Visibility
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import PUBLIC, SIGNED_IN, Operation, operation

_HUES = "leaf|pine|lake|sky|iris|plum|rose|clay|amber|straw|moss|slate"

SpaceName = Annotated[str, Meta(min_length=1, max_length=80, pattern=ONE_LINE)]
Slug = Annotated[str, Meta(min_length=1, max_length=48, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)")]
Description = Annotated[str, Meta(max_length=1000)]
ThemeColor = Annotated[
    str, Meta(pattern=rf"^(#[0-9a-fA-F]{{6}}|{_HUES})$(?!\n)", description="#rrggbb or the name of a hue.")
]
Wallpaper = Literal["growth", "plain"]
Limit = Annotated[int, Meta(ge=1, le=200)]
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]


class SpaceDraft(msgspec.Struct, forbid_unknown_fields=True):
    name: SpaceName
    slug: Slug | None = None
    description: Description = ""
    theme_color: ThemeColor | None = None
    wallpaper: Wallpaper | None = None
    emoji: Emoji | None = None
    visibility: Visibility = "private"


class SpaceChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What to change about a space; fields left out stay as they are."""

    name: SpaceName | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    theme_color: ThemeColor | UnsetType | None = UNSET
    wallpaper: Wallpaper | UnsetType | None = UNSET
    emoji: Emoji | UnsetType | None = UNSET
    visibility: Visibility | UnsetType = UNSET


class RoleChange(msgspec.Struct, forbid_unknown_fields=True):
    role: Role


class InviteDraft(msgspec.Struct, forbid_unknown_fields=True):
    role: InviteRole = "member"
    max_uses: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    email: Email | None = None


class PageQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Limit = 50
    cursor: Id | None = None


class DiscoverQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    q: Annotated[str, Meta(max_length=80)] = ""
    limit: Limit = 50
    cursor: Id | None = None


class SpaceList(msgspec.Struct):
    items: list[Space]
    next: int | None


class PublicSpaceList(msgspec.Struct):
    items: list[PublicSpace]
    next: int | None


class MemberList(msgspec.Struct):
    items: list[Member]
    next: int | None


class InviteList(msgspec.Struct):
    items: list[Invite]
    next: int | None


# --- spaces ---


@operation(
    "GET",
    "/api/spaces",
    access=SIGNED_IN,
    summary="The spaces you belong to, with what is unread",
    tag="Spaces",
    query=PageQuery,
    returns=SpaceList,
)
async def get_spaces(ctx: Context, query: PageQuery) -> SpaceList:
    found = await spaces.mine(ctx.read, ctx.user_id, after_id=query.cursor or 0, limit=query.limit + 1)
    items = found[: query.limit]
    return SpaceList(items, items[-1].id if len(found) > query.limit else None)


async def replay_space(ctx: Context, space_id: int) -> Space:
    return await spaces.one(ctx.read, space_id, ctx.user_id)


@operation(
    "POST",
    "/api/spaces",
    access=SIGNED_IN,
    summary="Create a space that you own",
    tag="Spaces",
    body=SpaceDraft,
    returns=Space,
    status=201,
    replay=replay_space,
)
async def post_space(ctx: Context, body: SpaceDraft) -> Space:
    new = NewSpace(
        name=body.name.strip(),
        slug=body.slug,
        description=body.description.strip(),
        theme_color=body.theme_color,
        wallpaper=body.wallpaper,
        emoji=body.emoji,
        visibility=body.visibility,
    )
    return await spaces.create(ctx.write, ctx.user_id, new, ctx.origin)


@operation(
    "GET",
    "/api/spaces/discover",
    access=SIGNED_IN,
    summary="Public spaces, newest first",
    tag="Spaces",
    query=DiscoverQuery,
    returns=PublicSpaceList,
)
async def discover_spaces(ctx: Context, query: DiscoverQuery) -> PublicSpaceList:
    found = await spaces.discover(
        ctx.services.db, ctx.user_id, query.q, before_id=query.cursor or MAX_ID, limit=query.limit + 1
    )
    items = found[: query.limit]
    return PublicSpaceList(items, items[-1].id if len(found) > query.limit else None)


@operation(
    "GET",
    "/api/spaces/{space_id}",
    access=member(),
    summary="One of your spaces",
    tag="Spaces",
    returns=Space,
)
async def get_space(ctx: Context) -> Space:
    return await spaces.one(ctx.read, ctx.params["space_id"], ctx.user_id)


@operation(
    "PATCH",
    "/api/spaces/{space_id}",
    access=member("admin"),
    summary="Change a space",
    tag="Spaces",
    body=SpaceChanges,
    returns=Space,
)
async def patch_space(ctx: Context, body: SpaceChanges) -> Space:
    return await spaces.change(
        ctx.write,
        ctx.services.db.read_primary,
        ctx.user_id,
        ctx.params["space_id"],
        changed_columns(body),
        ctx.origin,
        expected_version=ctx.expected_version,
    )


@operation(
    "DELETE",
    "/api/spaces/{space_id}",
    access=member("owner"),
    summary="Delete a space for everybody",
    tag="Spaces",
)
async def delete_space(ctx: Context) -> None:
    await spaces.delete(ctx.write, ctx.user_id, ctx.params["space_id"], ctx.origin)


# --- members ---


async def replay_joined(ctx: Context, _user_id: int) -> Space:
    return await spaces.one(ctx.read, ctx.params["space_id"], ctx.user_id)


@operation(
    "POST",
    "/api/spaces/{space_id}/join",
    access=SIGNED_IN,
    summary="Join a public space",
    tag="Members",
    returns=Space,
    replay=replay_joined,
)
async def join_space(ctx: Context) -> Space:
    return await members.join_public(
        ctx.write, ctx.services.db.read_primary, ctx.user_id, ctx.params["space_id"], ctx.origin
    )


@operation(
    "GET",
    "/api/spaces/{space_id}/members",
    access=member(),
    summary="Who belongs to a space",
    tag="Members",
    query=PageQuery,
    returns=MemberList,
)
async def get_members(ctx: Context, query: PageQuery) -> MemberList:
    found = await members.page(
        ctx.read, ctx.params["space_id"], after_id=query.cursor or 0, limit=query.limit + 1
    )
    items = found[: query.limit]
    return MemberList(items, items[-1].user.id if len(found) > query.limit else None)


@operation(
    "PATCH",
    "/api/spaces/{space_id}/members/{user_id}",
    access=member("admin"),
    summary="Give a member another role",
    tag="Members",
    body=RoleChange,
    returns=Member,
)
async def patch_member(ctx: Context, body: RoleChange) -> Member:
    space_id, user_id = ctx.params["space_id"], ctx.params["user_id"]
    return await members.change_role(
        ctx.write, ctx.services.db.read_primary, ctx.user_id, space_id, user_id, body.role, ctx.origin
    )


@operation(
    "DELETE",
    "/api/spaces/{space_id}/members/{user_id}",
    access=member(),
    summary="Remove a member, or leave",
    tag="Members",
)
async def delete_member(ctx: Context) -> None:
    space_id, user_id = ctx.params["space_id"], ctx.params["user_id"]
    read_primary = ctx.services.db.read_primary
    await members.remove(ctx.write, read_primary, ctx.user_id, space_id, user_id, ctx.origin)


# --- invites ---


@operation(
    "GET",
    "/api/spaces/{space_id}/invites",
    access=member("admin"),
    summary="The invites of a space, newest first",
    tag="Invites",
    query=PageQuery,
    returns=InviteList,
)
async def get_invites(ctx: Context, query: PageQuery) -> InviteList:
    before_id = query.cursor or MAX_ID
    items, following = await invites.page(
        ctx.read, _public_url(ctx), ctx.params["space_id"], before_id=before_id, limit=query.limit
    )
    return InviteList(items, following)


async def replay_invite(ctx: Context, invite_id: int) -> Invite:
    return await invites.one(ctx.read, _public_url(ctx), ctx.params["space_id"], invite_id)


@operation(
    "POST",
    "/api/spaces/{space_id}/invites",
    access=member("admin"),
    summary="Make an invite link",
    tag="Invites",
    body=InviteDraft,
    returns=Invite,
    status=201,
    replay=replay_invite,
)
async def post_invite(ctx: Context, body: InviteDraft) -> Invite:
    new = NewInvite(
        role=body.role,
        max_uses=body.max_uses,
        expires_at_ms=_future_ms(ctx, body.expires_at),
        email=normalised(body.email) if body.email else None,
    )
    space_id = ctx.params["space_id"]
    return await invites.create(ctx.write, _public_url(ctx), ctx.user_id, space_id, new, ctx.origin)


@operation(
    "DELETE",
    "/api/spaces/{space_id}/invites/{code}",
    access=member("admin"),
    summary="Withdraw an invite",
    tag="Invites",
)
async def delete_invite(ctx: Context) -> None:
    space_id, code = ctx.params["space_id"], ctx.params["code"]
    await invites.revoke(ctx.write, ctx.services.db.read_primary, ctx.user_id, space_id, code, ctx.origin)


@operation(
    "GET",
    "/api/invites/{code}",
    access=PUBLIC,
    summary="What an invite leads to",
    tag="Invites",
    returns=Preview,
)
async def get_invite(ctx: Context) -> Preview:
    return await invites.preview(ctx.read, ctx.params["code"])


async def replay_accepted(ctx: Context, _user_id: int) -> Space:
    return await invites.joined_space(ctx.read, ctx.user_id, ctx.params["code"])


@operation(
    "POST",
    "/api/invites/{code}/accept",
    access=SIGNED_IN,
    summary="Join the space an invite leads to",
    tag="Invites",
    returns=Space,
    replay=replay_accepted,
)
async def accept_invite(ctx: Context) -> Space:
    read_primary, code = ctx.services.db.read_primary, ctx.params["code"]
    return await invites.accept(ctx.write, ctx.read, read_primary, ctx.user_id, code, ctx.origin)


OPERATIONS: tuple[Operation, ...] = (
    get_spaces,
    post_space,
    discover_spaces,
    get_space,
    patch_space,
    delete_space,
    join_space,
    get_members,
    patch_member,
    delete_member,
    get_invites,
    post_invite,
    delete_invite,
    get_invite,
    accept_invite,
)


def _public_url(ctx: Context) -> str:
    return ctx.services.settings.public_url


def _future_ms(ctx: Context, moment: datetime | None) -> int | None:
    """Return Unix milliseconds. Raises Invalid for the past: such an invite would let nobody in."""
    if moment is None:
        return None
    at_ms = int(moment.timestamp() * 1000)
    if at_ms <= ctx.now_ms:
        raise Invalid(
            "An invite must expire in the future.", errors=[FieldError("expires_at", "is in the past")]
        )
    return at_ms
