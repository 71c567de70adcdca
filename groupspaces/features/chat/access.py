"""Access to what a path names by `message_id`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groupspaces.features.chat.messages import no_such_message
from groupspaces.web.context import Context
from groupspaces.web.operations import ForTokens

_SQL = """
SELECT message.space_id FROM message
JOIN space ON space.id = message.space_id AND space.deleted_at_ms IS NULL
JOIN member ON member.space_id = message.space_id AND member.user_id = ?
WHERE message.id = ?"""


@dataclass(frozen=True, slots=True)
class MemberOfMessagesSpace:
    """Members of the space in which the message was written."""

    name: str = "member of the space"
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = True

    async def check(self, ctx: Context) -> None:
        """Raise NotFound to strangers. One read."""
        row: Any = await ctx.read_one(_SQL, (ctx.user_id, ctx.params["message_id"]))
        if row is None or not ctx.may_enter(row[0]):
            raise no_such_message()


MESSAGE_MEMBER = MemberOfMessagesSpace()
