"""The HTTP calls about getting in again: passwords, confirming that it is you, the e-mail address, other devices.

Owns what requests may contain, and who is told by mail of what was done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.features.accounts import own_address, own_password, sessions, users
from groupspaces.features.accounts.api import (
    Email,
    NewPassword,
    SignedIn,
    confirmed_ms,
    normalised,
    refuse_passwords_switched_off,
    session_id_of,
)
from groupspaces.features.accounts.forgotten import ForgottenPasswords
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.links import CHANGE_ADDRESS_MS, Claim, Links
from groupspaces.features.accounts.own_password import Holder, wrong_password
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.sessions import Rotated
from groupspaces.mail import Mailer
from groupspaces.web.context import Context
from groupspaces.web.operations import CONFIRMED, IN_PERSON, PUBLIC, Operation, operation
from groupspaces.web.origin import Origin

OldPassword = Annotated[str, Meta(max_length=256)]
Token = Annotated[
    str, Meta(min_length=1, max_length=4096, description="What stands behind the # of the link.")
]


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    """`current` is "" for people who have no password yet."""

    current: OldPassword
    new: NewPassword


class Forgotten(msgspec.Struct, forbid_unknown_fields=True):
    email: Email


class PasswordReset(msgspec.Struct, forbid_unknown_fields=True):
    token: Token
    password: NewPassword


class Confirmation(msgspec.Struct, forbid_unknown_fields=True):
    password: OldPassword


class EmailChange(msgspec.Struct, forbid_unknown_fields=True):
    email: Email


class EmailVerification(msgspec.Struct, forbid_unknown_fields=True):
    token: Token


class Accepted(msgspec.Struct):
    """Nothing is told: neither that there is such an account nor that there is none."""


class EmailChanged(msgspec.Struct):
    """`changed`: the account has the new address. `mailed`: it will, once the link that went there is opened."""

    changed: bool
    mailed: bool


class Mailed(msgspec.Struct):
    """Whether a letter is on its way: not where mail is not set up, and not for an address that is confirmed already."""

    mailed: bool


@operation(
    "POST",
    "/api/auth/confirm",
    access=IN_PERSON,
    summary="Confirm that it is you, by your password",
    tag="Authentication",
    body=Confirmation,
    returns=SignedIn,
    rate="auth",
    for_unverified=True,
    during_maintenance=True,
)
async def post_confirm(ctx: Context, body: Confirmation) -> SignedIn:
    async def confirm(holder: Holder) -> Rotated:
        return await sessions.confirm(
            ctx.write,
            session_id_of(ctx),
            holder.known,
            confirmed_ms=confirmed_ms(ctx),
            refused=wrong_password(),
        )

    db, passwords = ctx.services.db, ctx.part(Passwords)
    rotated = await own_password.by_password(db, passwords, ctx.user_id, body.password, confirm)
    _go_on_as(ctx, rotated)
    return SignedIn(await users.own(ctx.read, ctx.user_id), rotated.session)


@operation(
    "PUT",
    "/api/auth/password",
    access=IN_PERSON,
    summary="Change your password; your other sessions end",
    tag="Authentication",
    body=PasswordChange,
    rate="auth",
    for_unverified=True,
    during_maintenance=True,
)
async def put_password(ctx: Context, body: PasswordChange) -> None:
    db, passwords = ctx.services.db, ctx.part(Passwords)

    async def change(holder: Holder) -> Rotated:
        return await own_password.change(
            ctx.write,
            passwords,
            holder,
            body.new,
            session_id=session_id_of(ctx),
            confirmed_ms=confirmed_ms(ctx),
            origin=ctx.origin,
        )

    holder = await own_password.holder(db, ctx.user_id)
    if body.current or holder.password_hash:
        rotated = await own_password.by_password(db, passwords, holder.id, body.current, change)
    else:
        ctx.require_confirmed()
        rotated = await change(holder)
    _go_on_as(ctx, rotated)
    ctx.part(Mailer).send(ctx.part(Letters).password_changed(holder.email))


@operation(
    "POST",
    "/api/auth/password/forgot",
    access=PUBLIC,
    summary="Ask for a link to choose a new password",
    tag="Authentication",
    body=Forgotten,
    returns=Accepted,
    status=202,
    rate="mail",
    during_maintenance=True,
)
async def post_forgot(ctx: Context, body: Forgotten) -> Accepted:
    refuse_passwords_switched_off(ctx)
    ctx.part(ForgottenPasswords).asked(normalised(body.email))
    return Accepted()


@operation(
    "POST",
    "/api/auth/password/reset",
    access=PUBLIC,
    summary="Choose a new password by a link; all your sessions end",
    tag="Authentication",
    body=PasswordReset,
    rate="auth",
    during_maintenance=True,
)
async def post_reset(ctx: Context, body: PasswordReset) -> None:
    claim = ctx.part(Links).open("reset", body.token)
    address = await own_password.reset(
        ctx.services.db, ctx.write, ctx.part(Passwords), claim, body.password, _by_link(ctx, claim)
    )
    ctx.part(Mailer).send(ctx.part(Letters).password_reset(address))


@operation(
    "PUT",
    "/api/auth/email",
    access=CONFIRMED,
    summary="Change your e-mail address; where mail is set up, once the link sent there is opened",
    tag="Authentication",
    body=EmailChange,
    returns=EmailChanged,
    rate="mail",
    for_unverified=True,
)
async def put_email(ctx: Context, body: EmailChange) -> EmailChanged:
    email, db, mailer = normalised(body.email), ctx.services.db, ctx.part(Mailer)
    holder = await own_password.holder(db, ctx.user_id)
    if email == holder.email:
        return EmailChanged(changed=False, mailed=await _send_verification(ctx))
    if not mailer.is_configured:
        await own_address.change(db, ctx.write, holder.id, email, ctx.origin)
        return EmailChanged(changed=True, mailed=False)
    holder = await _holder_now(ctx)
    await own_address.refuse_taken(db, email, holder.id)
    link = ctx.part(Links).make(
        "verify", holder.id, holder.credentials_version, email=email, lifetime_ms=CHANGE_ADDRESS_MS
    )
    return EmailChanged(changed=False, mailed=mailer.send(ctx.part(Letters).change_address(email, link)))


@operation(
    "POST",
    "/api/auth/email/verify",
    access=PUBLIC,
    summary="Confirm an e-mail address by a link; a new one by a session of the account",
    tag="Authentication",
    body=EmailVerification,
    rate="auth",
)
async def post_verify(ctx: Context, body: EmailVerification) -> None:
    claim = ctx.part(Links).open("verify", body.token)
    is_holder = ctx.principal is not None and ctx.principal.session_id is not None
    is_holder = is_holder and ctx.user_id == claim.user_id
    origin = ctx.origin if is_holder else _by_link(ctx, claim)
    before = await own_address.verify(ctx.services.db, ctx.write, claim, origin, is_holder=is_holder)
    if before is not None:
        ctx.part(Mailer).send(ctx.part(Letters).address_changed(before))


@operation(
    "POST",
    "/api/auth/email/verification",
    access=IN_PERSON,
    summary="Have the link that confirms your e-mail address sent again",
    tag="Authentication",
    returns=Mailed,
    rate="mail",
    for_unverified=True,
)
async def post_verification(ctx: Context) -> Mailed:
    return Mailed(await _send_verification(ctx))


@operation(
    "DELETE",
    "/api/auth/sessions",
    access=IN_PERSON,
    summary="End all your other sessions",
    tag="Authentication",
    for_unverified=True,
    during_maintenance=True,
)
async def delete_other_sessions(ctx: Context) -> None:
    await sessions.end_others(ctx.write, ctx.user_id, session_id_of(ctx), ctx.origin)


OPERATIONS: tuple[Operation, ...] = (
    post_confirm,
    put_password,
    post_forgot,
    post_reset,
    put_email,
    post_verify,
    post_verification,
    delete_other_sessions,
)


async def _holder_now(ctx: Context) -> Holder:
    """Return who asks, as new as can be had: a link by what they were before would open nothing."""
    await ctx.services.db.catch_up()
    return await own_password.holder(ctx.services.db, ctx.user_id)


async def _send_verification(ctx: Context) -> bool:
    """Send the letter that confirms the address, unless it is confirmed or no letter can be sent."""
    if not ctx.part(Mailer).is_configured:
        return False
    holder = await _holder_now(ctx)
    if (await users.own(ctx.services.db.read, holder.id)).email_verified:
        return False
    link = ctx.part(Links).make("verify", holder.id, holder.credentials_version, email=holder.email)
    return ctx.part(Mailer).send(ctx.part(Letters).verify(holder.email, link))


def _by_link(ctx: Context, claim: Claim) -> Origin:
    """Return who acts: whoever holds the link, whatever session their browser has."""
    ctx.principal = None
    return replace(ctx.origin, actor_id=claim.user_id)


def _go_on_as(ctx: Context, rotated: Rotated) -> None:
    """Give the browser the session's new cookie."""
    ctx.set_session(rotated.token, max_age_s=max(1, rotated.lifetime_ms // 1000))
