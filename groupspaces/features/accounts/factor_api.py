"""The HTTP calls of the second factor: an authenticator's six digits, and recovery codes.

Owns what requests may contain, and who is told by mail of what was done; everything else happens in `second_factor.py`.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from groupspaces.features.accounts import second_factor, users
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.second_factor import Enrolment, SecondFactor, Totp
from groupspaces.mail import Mailer
from groupspaces.web.context import Context
from groupspaces.web.operations import CONFIRMED, IN_PERSON, Operation, operation


class FirstCode(msgspec.Struct, forbid_unknown_fields=True):
    code: Annotated[str, Meta(max_length=16, description="Six digits; spaces do not matter.")]


class RecoveryCodes(msgspec.Struct):
    """Each opens the account once in place of the authenticator. They are never shown again."""

    recovery_codes: list[str]


@operation(
    "GET",
    "/api/auth/totp",
    access=IN_PERSON,
    summary="Whether your authenticator is asked for",
    tag="Authentication",
    returns=Totp,
)
async def get_totp(ctx: Context) -> Totp:
    return await second_factor.status(ctx.read, ctx.user_id)


@operation(
    "POST",
    "/api/auth/totp",
    access=CONFIRMED,
    summary="Begin to set an authenticator up",
    tag="Authentication",
    returns=Enrolment,
    status=201,
    for_unverified=True,
)
async def post_totp(ctx: Context) -> Enrolment:
    user = await users.own(ctx.read, ctx.user_id)
    host = urlsplit(ctx.services.settings.public_url).hostname
    return await ctx.part(SecondFactor).begin(ctx.write, user.id, user.email, f"Group Spaces ({host})")


@operation(
    "PUT",
    "/api/auth/totp",
    access=CONFIRMED,
    summary="Ask for the authenticator from now on, by its first code",
    tag="Authentication",
    body=FirstCode,
    returns=RecoveryCodes,
    for_unverified=True,
)
async def put_totp(ctx: Context, body: FirstCode) -> RecoveryCodes:
    codes = await ctx.part(SecondFactor).enable(
        ctx.services.db, ctx.write, ctx.user_id, body.code, ctx.origin
    )
    await _tell(ctx, is_on=True)
    return RecoveryCodes(codes)


@operation(
    "DELETE",
    "/api/auth/totp",
    access=CONFIRMED,
    summary="Ask for the password alone from now on",
    tag="Authentication",
    for_unverified=True,
)
async def delete_totp(ctx: Context) -> None:
    if await ctx.part(SecondFactor).disable(ctx.write, ctx.user_id, ctx.origin):
        await _tell(ctx, is_on=False)


@operation(
    "POST",
    "/api/auth/recovery-codes",
    access=CONFIRMED,
    summary="Get new recovery codes; the earlier ones end",
    tag="Authentication",
    returns=RecoveryCodes,
    for_unverified=True,
)
async def post_recovery_codes(ctx: Context) -> RecoveryCodes:
    return RecoveryCodes(await ctx.part(SecondFactor).renew_codes(ctx.write, ctx.user_id, ctx.origin))


OPERATIONS: tuple[Operation, ...] = (get_totp, post_totp, put_totp, delete_totp, post_recovery_codes)


async def _tell(ctx: Context, *, is_on: bool) -> None:
    """Write to the holder of the account, who may not be whoever did it."""
    holder = await users.own(ctx.read, ctx.user_id)
    ctx.part(Mailer).send(ctx.part(Letters).second_factor_changed(holder.email, is_on=is_on))
