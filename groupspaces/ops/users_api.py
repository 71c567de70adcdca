"""The calls of `/api/ops/users`: operators look after accounts.

Owns what requests may contain and what has to be true of the operator. Each write asks the primary once more whether they are one,
and leaves a line in the audit record. What could make an operator somebody else (a link to choose a password, a second factor
taken away) or cannot be undone takes that they have proved lately who they are, which no API token can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from groupspaces.db.batch import Batch, Statement, Written
from groupspaces.errors import Conflict, FieldError, Invalid
from groupspaces.features.accounts import operators, roster
from groupspaces.features.accounts.api import Email, Name, normalised
from groupspaces.features.accounts.deletion import Deletion, HandOver
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.links import RESET_BY_OPERATOR_MS, Link, Links
from groupspaces.features.accounts.roster import Account, AccountDetails, State
from groupspaces.mail import Letter, Mailer
from groupspaces.ops.audit import audited, operator_stands
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import OPERATOR, operation

TAG = "operations"

_CONFIRMED_NAME_SQL = "SELECT 1 FROM user WHERE id = ? AND username = ?"
_MAY_GO_SQL = f"SELECT 1 FROM user WHERE id = ? AND (is_operator = 0 OR {operators.ANOTHER_STANDS})"


class AccountsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`q` is part of an e-mail address, a username or a name."""

    q: Annotated[str, Meta(max_length=254)] = ""
    state: State = "all"
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class AccountList(msgspec.Struct):
    items: list[Account]
    next: int | None


class AccountDraft(msgspec.Struct, forbid_unknown_fields=True):
    email: Email
    name: Name
    is_operator: bool = False


class AccountChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What to change about somebody; fields left out stay as they are."""

    suspended: bool | UnsetType = UNSET
    is_operator: bool | UnsetType = UNSET
    email_verified: bool | UnsetType = UNSET
    name: Name | UnsetType = UNSET


class LinkDraft(msgspec.Struct, forbid_unknown_fields=True):
    mail: bool = False


class AccountDeletion(msgspec.Struct, forbid_unknown_fields=True):
    """`confirm` repeats the username. `hand_over` names who shall own spaces that would have no owner."""

    confirm: Annotated[str, Meta(max_length=64)]
    hand_over: Annotated[list[HandOver], Meta(max_length=500)] = []


class MadeLink(msgspec.Struct):
    """A link by which somebody chooses a password, once. `mailed` tells whether it is on its way to them."""

    url: str
    expires_at: str
    mailed: bool


class MadeAccount(msgspec.Struct):
    user: Account
    link: MadeLink


@operation(
    "GET",
    "/api/ops/users",
    access=OPERATOR,
    summary="List accounts, newest first",
    tag=TAG,
    query=AccountsQuery,
    returns=AccountList,
)
async def get_users(ctx: Context, query: AccountsQuery) -> AccountList:
    found = await roster.page(
        ctx.services.db, query.state, query.q, before_id=query.cursor or MAX_ID, limit=query.limit + 1
    )
    items = found[: query.limit]
    return AccountList(items, items[-1].id if len(found) > query.limit else None)


@operation(
    "GET",
    "/api/ops/users/{user_id}",
    access=OPERATOR,
    summary="One account, with what is counted of it",
    tag=TAG,
    returns=AccountDetails,
)
async def get_user(ctx: Context) -> AccountDetails:
    return await roster.details(ctx.read, ctx.params["user_id"], ctx.now_ms)


@operation(
    "POST",
    "/api/ops/users",
    access=OPERATOR,
    summary="Open an account for somebody, who chooses the password by a link",
    tag=TAG,
    body=AccountDraft,
    returns=MadeAccount,
    status=201,
)
async def post_user(ctx: Context, body: AccountDraft) -> MadeAccount:
    _confirm(ctx)
    email, name = normalised(body.email), body.name.strip()
    statements = roster.inserting(email, name, ctx.origin, is_operator=body.is_operator)
    taken = Conflict("There is an account with this e-mail address already.", code="EMAIL_TAKEN")
    requires = operator_stands(ctx)
    written = await ctx.write(Batch(statements, conflicts={"user.email": taken}, requires=requires))
    version, *facts = written.rows[0][0]
    account = roster.account_of(tuple(facts))
    made = _link(ctx, account.id, version)
    letter = ctx.part(Letters).new_account(email, _link(ctx, account.id, version, mailed_to=email))
    return MadeAccount(account, _given(made, mailed=_mailed(ctx, letter)))


@operation(
    "PATCH",
    "/api/ops/users/{user_id}",
    access=OPERATOR,
    summary="Suspend, restore, rename somebody, make them operator, take their address for confirmed",
    tag=TAG,
    body=AccountChanges,
    returns=Account,
)
async def patch_user(ctx: Context, body: AccountChanges) -> Account:
    user_id = ctx.params["user_id"]
    given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}
    if not given:
        raise Invalid("Say what to change: give at least one field.")
    if "name" in given:
        given["name"] = given["name"].strip()
    if given.get("suspended"):
        _refuse_oneself(ctx)
    if "is_operator" in given:
        _confirm(ctx)
    requires = [*operator_stands(ctx), roster.existing(user_id)]
    if given.get("suspended") or given.get("is_operator") is False:
        requires.append(Statement(_MAY_GO_SQL, (user_id,), refused=operators.last_one()))
    statements = roster.changing(user_id, ctx.origin, **given)
    written = await _write(ctx, [*statements, roster.one(user_id)], requires)
    return roster.account_of(written.rows[-1][0])


@operation(
    "POST",
    "/api/ops/users/{user_id}/reset-link",
    access=OPERATOR,
    summary="Make a link by which somebody chooses a new password; earlier links end",
    tag=TAG,
    body=LinkDraft,
    returns=MadeLink,
    status=201,
)
async def post_reset_link(ctx: Context, body: LinkDraft) -> MadeLink:
    _confirm(ctx)
    user_id = ctx.params["user_id"]
    told = audited("link.made", f"user:{user_id}", {"purpose": "reset", "mailed": body.mail}, ctx)
    requires = [*operator_stands(ctx), roster.existing(user_id)]
    written = await _write(ctx, [roster.renewing(user_id), *told], requires)
    version, email = written.rows[0][0]
    made = _link(ctx, user_id, version)
    mailed = False
    if body.mail:
        link = _link(ctx, user_id, version, mailed_to=str(email))
        mailed = _mailed(ctx, ctx.part(Letters).reset_by_operator(str(email), link))
    return _given(made, mailed=mailed)


@operation(
    "POST",
    "/api/ops/users/{user_id}/sign-out",
    access=OPERATOR,
    summary="End all of somebody's sessions",
    tag=TAG,
)
async def post_sign_out(ctx: Context) -> None:
    user_id = ctx.params["user_id"]
    requires = [*operator_stands(ctx), roster.existing(user_id)]
    await _write(ctx, roster.signing_out(user_id, ctx.origin), requires)


@operation(
    "DELETE",
    "/api/ops/users/{user_id}/second-factor",
    access=OPERATOR,
    summary="Take somebody's authenticator, recovery codes and passkeys away",
    tag=TAG,
)
async def delete_second_factor(ctx: Context) -> None:
    _confirm(ctx)
    user_id = ctx.params["user_id"]
    written = await _write(ctx, roster.forgetting_factors(user_id, ctx.origin), operator_stands(ctx))
    address = str(written.rows[0][0][0])
    _mailed(ctx, ctx.part(Letters).second_factor_changed(address, is_on=False))


@operation(
    "POST",
    "/api/ops/users/{user_id}/delete",
    access=OPERATOR,
    summary="Delete an account; what its owner wrote stays, without a name",
    tag=TAG,
    body=AccountDeletion,
)
async def post_delete(ctx: Context, body: AccountDeletion) -> None:
    _confirm(ctx)
    _refuse_oneself(ctx)
    user_id = ctx.params["user_id"]
    message = "must be the username of this account"
    unconfirmed = Invalid(f"confirm {message}.", errors=[FieldError("confirm", message)])
    named = Statement(_CONFIRMED_NAME_SQL, (user_id, body.confirm), refused=unconfirmed)
    proof = [*operator_stands(ctx), named]
    await ctx.part(Deletion).carry_out(ctx.write, user_id, body.hand_over, ctx.origin, proof=proof)


OPERATIONS = (
    get_users,
    get_user,
    post_user,
    patch_user,
    post_reset_link,
    post_sign_out,
    delete_second_factor,
    post_delete,
)


def _confirm(ctx: Context) -> None:
    """Raise Forbidden (`CONFIRM_REQUIRED`) unless the operator has proved lately that it is them; the command line need not."""
    if not ctx.is_local_operator:
        ctx.require_confirmed()


def _refuse_oneself(ctx: Context) -> None:
    if ctx.origin.actor_id == ctx.params["user_id"]:
        raise Conflict(
            "This is your own account. Leave it by your own settings, or ask another operator.",
            code="NOT_YOURSELF",
        )


async def _write(ctx: Context, statements: Sequence[Statement], requires: Sequence[Statement]) -> Written:
    return await ctx.write(Batch(statements, requires=requires))


def _link(ctx: Context, user_id: int, version: object, *, mailed_to: str = "") -> Link:
    """Make a link for the operator to give away, or for a letter: only who opens that one has read their mail."""
    links = ctx.part(Links)
    lifetime_ms = RESET_BY_OPERATOR_MS
    return links.make("reset", user_id, int(str(version)), email=mailed_to, lifetime_ms=lifetime_ms)


def _given(link: Link, *, mailed: bool) -> MadeLink:
    return MadeLink(link.url, rfc3339(link.expires_at_ms), mailed)


def _mailed(ctx: Context, letter: Letter) -> bool:
    return ctx.part(Mailer).send(letter)
