"""Calls that only the machine's own command line may make: what would let an operator act as somebody else.

Whoever may open the socket in the data folder owns the data anyway; a stolen session or token of an operator shall not be enough to
become others. So sessions and tokens are refused here, operators' as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from groupspaces.db.batch import Batch
from groupspaces.errors import Forbidden, NotFound
from groupspaces.features.accounts import tokens, users
from groupspaces.features.accounts.links import Links
from groupspaces.features.accounts.tokens import Draft, NewToken
from groupspaces.features.accounts.tokens_api import TokenDraft, TokenList, TokensQuery
from groupspaces.ops.audit import audited
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import ForTokens, operation

TAG = "operations"

_VERSION_SQL = """
SELECT credentials_version FROM user WHERE id = ? AND suspended_at_ms IS NULL AND deleted_at_ms IS NULL"""


class SignInLink(msgspec.Struct, frozen=True):
    """A link that signs its person in once, without a password and without a second factor."""

    url: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class _CommandLine:
    name: str = "the machine's command line"
    for_tokens: ForTokens = "never"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        if not ctx.is_local_operator:
            raise Forbidden(
                "This is for the command line of the machine itself: see `groupspaces user --help`.",
                code="COMMAND_LINE_ONLY",
            )


COMMAND_LINE = _CommandLine()


@operation(
    "POST",
    "/api/ops/users/{user_id}/sign-in-link",
    access=COMMAND_LINE,
    summary="Make a link that signs somebody in once, within ten minutes",
    tag=TAG,
    returns=SignInLink,
    status=201,
)
async def post_sign_in_link(ctx: Context) -> SignInLink:
    """Two round trips. Raises NotFound for somebody who is suspended or gone."""
    user_id = ctx.params["user_id"]
    rows: Any = await ctx.services.db.read_primary(_VERSION_SQL, (user_id,))
    if not rows:
        raise NotFound("There is nobody with this id who may sign in.")
    link = ctx.part(Links).make("enter", user_id, rows[0][0])
    await ctx.write(Batch(audited("link.made", f"user:{user_id}", {"purpose": "enter"}, ctx)))
    return SignInLink(link.url, rfc3339(link.expires_at_ms))


@operation(
    "GET",
    "/api/ops/users/{user_id}/tokens",
    access=COMMAND_LINE,
    summary="Somebody's API tokens, newest first",
    tag=TAG,
    query=TokensQuery,
    returns=TokenList,
)
async def get_tokens_of(ctx: Context, query: TokensQuery) -> TokenList:
    user_id, before_id = ctx.params["user_id"], query.cursor or MAX_ID
    await users.own(ctx.read, user_id)  # or there is nobody to have any
    found = await tokens.page(ctx.read, user_id, before_id=before_id, limit=query.limit + 1)
    items = found[: query.limit]
    return TokenList(items, items[-1].id if len(found) > query.limit else None)


@operation(
    "POST",
    "/api/ops/users/{user_id}/tokens",
    access=COMMAND_LINE,
    summary="Make an API token that acts for somebody",
    tag=TAG,
    body=TokenDraft,
    returns=NewToken,
    status=201,
)
async def post_token_of(ctx: Context, body: TokenDraft) -> NewToken:
    """Raises what making one's own raises."""
    expires_at_ms = None if body.expires_at is None else int(body.expires_at.timestamp() * 1000)
    draft = Draft(body.name.strip(), tokens.ordered(body.scopes), expires_at_ms)
    return await tokens.create(ctx.write, ctx.params["user_id"], draft, ctx.origin)


@operation(
    "DELETE",
    "/api/ops/users/{user_id}/tokens/{token_id}",
    access=COMMAND_LINE,
    summary="End one of somebody's API tokens",
    tag=TAG,
)
async def delete_token_of(ctx: Context) -> None:
    await tokens.revoke(ctx.write, ctx.params["user_id"], ctx.params["token_id"], ctx.origin)


OPERATIONS = (post_sign_in_link, get_tokens_of, post_token_of, delete_token_of)
