"""The HTTP calls of API tokens.

Owns what requests may contain; everything else happens in `tokens.py`. Tokens are made and ended in person: no token makes another.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.errors import Conflict
from groupspaces.features.accounts import tokens
from groupspaces.features.accounts.api import ONE_LINE
from groupspaces.features.accounts.tokens import Draft, NewToken, Token
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import CONFIRMED, IN_PERSON, Operation, operation

_MAX_SCOPES = 50

TokenName = Annotated[str, Meta(min_length=1, max_length=80, pattern=ONE_LINE)]
ScopeWord = Annotated[str, Meta(pattern=r"^(read|write|ops|space:[1-9][0-9]{0,17})$(?!\n)")]


class TokenDraft(msgspec.Struct, forbid_unknown_fields=True):
    """`scopes`: what it may do (`write` reads as well), and with `space:5` in that space only."""

    name: TokenName
    scopes: Annotated[list[ScopeWord], Meta(min_length=1, max_length=_MAX_SCOPES)]
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class TokensQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class TokenList(msgspec.Struct):
    items: list[Token]
    next: int | None


@operation(
    "GET",
    "/api/tokens",
    access=IN_PERSON,
    summary="Your API tokens, newest first",
    tag="API tokens",
    query=TokensQuery,
    returns=TokenList,
)
async def get_tokens(ctx: Context, query: TokensQuery) -> TokenList:
    before_id = query.cursor or MAX_ID
    found = await tokens.page(ctx.read, ctx.user_id, before_id=before_id, limit=query.limit + 1)
    items = found[: query.limit]
    return TokenList(items, items[-1].id if len(found) > query.limit else None)


async def replay_token(ctx: Context, token_id: int) -> NewToken:
    raise Conflict(
        "This request made an API token before, which is not shown again. Delete that one and make another.",
        code="TOKEN_SHOWN_ALREADY",
        current=await tokens.one(ctx.read, ctx.user_id, token_id),
    )


@operation(
    "POST",
    "/api/tokens",
    access=CONFIRMED,
    summary="Make an API token; its secret is shown this once",
    tag="API tokens",
    body=TokenDraft,
    returns=NewToken,
    status=201,
    replay=replay_token,
)
async def post_token(ctx: Context, body: TokenDraft) -> NewToken:
    expires_at_ms = None if body.expires_at is None else int(body.expires_at.timestamp() * 1000)
    draft = Draft(body.name.strip(), tokens.ordered(body.scopes), expires_at_ms)
    return await tokens.create(ctx.write, ctx.user_id, draft, ctx.origin)


@operation(
    "DELETE",
    "/api/tokens/{token_id}",
    access=IN_PERSON,
    summary="End one of your API tokens",
    tag="API tokens",
    for_unverified=True,
    during_maintenance=True,
)
async def delete_token(ctx: Context) -> None:
    await tokens.revoke(ctx.write, ctx.user_id, ctx.params["token_id"], ctx.origin)


OPERATIONS: tuple[Operation, ...] = (get_tokens, post_token, delete_token)
