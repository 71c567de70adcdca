"""The HTTP calls of passkeys: adding, naming and removing them, and signing in with one.

Owns what requests may contain, and who is told by mail of what was done; everything else happens in `passkeys.py` and `ceremonies.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from groupspaces.features.accounts import passkeys, users
from groupspaces.features.accounts.api import ONE_LINE, SignedIn, new_session, signed_in
from groupspaces.features.accounts.ceremonies import Begun, Ceremonies
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.passkeys import Passkey
from groupspaces.mail import Mailer
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import CONFIRMED, IN_PERSON, PUBLIC, Operation, operation

PasskeyName = Annotated[str, Meta(min_length=1, max_length=80, pattern=ONE_LINE)]
Ceremony = Annotated[
    str, Meta(max_length=400, description="The text that came with the options; good for 5 minutes.")
]
Credential = Annotated[dict[str, Any], Meta(description="`PublicKeyCredential.toJSON()` of the browser.")]


class NewPasskey(msgspec.Struct, forbid_unknown_fields=True):
    ceremony: Ceremony
    credential: Credential
    name: PasskeyName


class PasskeyChanges(msgspec.Struct, forbid_unknown_fields=True):
    name: PasskeyName


class PasskeyAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """`user_id`: only if the passkey is this person's, for somebody who confirms that it is still them."""

    ceremony: Ceremony
    credential: Credential
    user_id: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class PasskeyList(msgspec.Struct):
    items: list[Passkey]
    next: None


@operation(
    "GET",
    "/api/auth/passkeys",
    access=IN_PERSON,
    summary="Your passkeys, oldest first",
    tag="Authentication",
    returns=PasskeyList,
)
async def get_passkeys(ctx: Context) -> PasskeyList:
    return PasskeyList(await passkeys.page(ctx.read, ctx.user_id), None)


@operation(
    "POST",
    "/api/auth/passkeys/options",
    access=CONFIRMED,
    summary="Begin to add a passkey",
    tag="Authentication",
    returns=Begun,
    for_unverified=True,
)
async def post_passkey_options(ctx: Context) -> Begun:
    user = await users.own(ctx.read, ctx.user_id)
    # Asked where they are for sure: an authenticator that is not told of its passkey makes another.
    known_ids = await passkeys.credential_ids(ctx.services.db.read_primary, ctx.user_id)
    return ctx.part(Ceremonies).begin_registration(user.id, user.email, user.name, known_ids)


@operation(
    "POST",
    "/api/auth/passkeys",
    access=CONFIRMED,
    summary="Add the passkey that an authenticator has made",
    tag="Authentication",
    body=NewPasskey,
    returns=Passkey,
    status=201,
    for_unverified=True,
)
async def post_passkey(ctx: Context, body: NewPasskey) -> Passkey:
    registered = await ctx.part(Ceremonies).registered(body.ceremony, body.credential, ctx.user_id)
    passkey = await passkeys.add(ctx.write, ctx.user_id, registered, body.name.strip(), ctx.origin)
    holder = await users.own(ctx.read, ctx.user_id)
    ctx.part(Mailer).send(ctx.part(Letters).passkey_added(holder.email))
    return passkey


@operation(
    "PATCH",
    "/api/auth/passkeys/{passkey_id}",
    access=IN_PERSON,
    summary="Give a passkey another name",
    tag="Authentication",
    body=PasskeyChanges,
    returns=Passkey,
    for_unverified=True,
)
async def patch_passkey(ctx: Context, body: PasskeyChanges) -> Passkey:
    return await passkeys.rename(ctx.write, ctx.user_id, ctx.params["passkey_id"], body.name.strip())


@operation(
    "DELETE",
    "/api/auth/passkeys/{passkey_id}",
    access=CONFIRMED,
    summary="Remove a passkey",
    tag="Authentication",
    for_unverified=True,
)
async def delete_passkey(ctx: Context) -> None:
    await passkeys.remove(ctx.write, ctx.user_id, ctx.params["passkey_id"], ctx.origin, ctx.part(LastWayIn))


@operation(
    "POST",
    "/api/auth/passkeys/sign-in/options",
    access=PUBLIC,
    summary="Begin to sign in with a passkey",
    tag="Authentication",
    returns=Begun,
    during_maintenance=True,
)
async def post_sign_in_options(ctx: Context) -> Begun:
    return ctx.part(Ceremonies).begin_sign_in()


@operation(
    "POST",
    "/api/auth/passkeys/sign-in",
    access=PUBLIC,
    summary="Sign in with a passkey",
    tag="Authentication",
    body=PasskeyAnswer,
    returns=SignedIn,
    rate="auth",
    during_maintenance=True,
)
async def post_passkey_sign_in(ctx: Context, body: PasskeyAnswer) -> SignedIn:
    ceremonies = ctx.part(Ceremonies)
    assertion = ceremonies.assertion(body.ceremony, body.credential)
    new = new_session(ctx, "passkey", ceremony=assertion.challenge)
    user, session = await passkeys.sign_in(
        ctx.services.db, ctx.write, ceremonies, assertion, new, only_as=body.user_id
    )
    return signed_in(ctx, new, user, session)


OPERATIONS: tuple[Operation, ...] = (
    get_passkeys,
    post_passkey_options,
    post_passkey,
    patch_passkey,
    delete_passkey,
    post_sign_in_options,
    post_passkey_sign_in,
)
