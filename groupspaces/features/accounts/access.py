"""Access that depends on knowing somebody."""

from __future__ import annotations

from dataclasses import dataclass

from groupspaces.features.accounts import users
from groupspaces.web.context import Context
from groupspaces.web.operations import ForTokens


@dataclass(frozen=True, slots=True)
class SharesASpace:
    """The person named by the path's `user_id`, and whoever belongs to a space with them."""

    name: str = "shares a space"
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        """Raise NotFound for everybody else. One read."""
        other_id = ctx.params["user_id"]
        if ctx.user_id != other_id and not await users.share_a_space(ctx.read, ctx.user_id, other_id):
            raise users.no_such_user()


SHARES_A_SPACE = SharesASpace()
