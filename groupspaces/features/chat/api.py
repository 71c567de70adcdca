"""The HTTP calls of chat: messages and how far one has read.

Owns what requests may contain; everything else happens in the noun modules.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from groupspaces.errors import FieldError, Invalid, Unauthenticated
from groupspaces.features.chat import messages, read_marks
from groupspaces.features.chat.access import MESSAGE_MEMBER
from groupspaces.features.chat.messages import Message, MessagePage, Side, Writer
from groupspaces.features.chat.pages import Pages
from groupspaces.features.chat.read_marks import ReadMark
from groupspaces.features.spaces.access import member
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import Operation, operation

# Something visible; the look-ahead keeps the pattern linear.
Content = Annotated[str, Meta(min_length=1, max_length=8000, pattern=r"^(?=\s*\S)", description="Markdown.")]
Id = Annotated[int, Meta(ge=1, le=MAX_ID)]


class MessageDraft(msgspec.Struct, forbid_unknown_fields=True):
    content: Content


class ReadUpTo(msgspec.Struct, forbid_unknown_fields=True):
    message_id: Id


class MessagesQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """At most one of `before`, `after` and `around`; none of them asks for the latest messages."""

    before: Id | None = None
    after: Annotated[int, Meta(ge=0, le=MAX_ID)] | None = None
    around: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50

    def place(self) -> tuple[Side, int]:
        """Return the side and the position asked for. Raises Invalid when there are several."""
        sides: tuple[tuple[Side, int | None], ...] = (
            ("before", self.before),
            ("after", self.after),
            ("around", self.around),
        )
        given = [(side, position) for side, position in sides if position is not None]
        if len(given) > 1:
            raise Invalid(
                "Ask for messages before, after or around one, not several at once.",
                errors=[FieldError(side, "only one of before, after and around") for side, _ in given],
            )
        return given[0] if given else ("latest", 0)


@operation(
    "GET",
    "/api/spaces/{space_id}/messages",
    access=member(),
    summary="A page of messages",
    tag="Messages",
    query=MessagesQuery,
    returns=MessagePage,
)
async def get_messages(ctx: Context, query: MessagesQuery) -> bytes:
    side, position = query.place()
    return await ctx.part(Pages).page(ctx.params["space_id"], side, position, query.limit)


async def replay_message(ctx: Context, message_id: int) -> Message:
    return await messages.one(ctx.read, message_id)


@operation(
    "POST",
    "/api/spaces/{space_id}/messages",
    access=member(),
    summary="Post a message",
    tag="Messages",
    body=MessageDraft,
    returns=Message,
    status=201,
    replay=replay_message,
)
async def post_message(ctx: Context, body: MessageDraft) -> Message:
    return await messages.post(ctx.write, ctx.params["space_id"], _writer(ctx), body.content)


@operation(
    "GET",
    "/api/messages/{message_id}",
    access=MESSAGE_MEMBER,
    summary="One message",
    tag="Messages",
    returns=Message,
)
async def get_message(ctx: Context) -> Message:
    return await messages.one(ctx.read, ctx.params["message_id"])


@operation(
    "PATCH",
    "/api/messages/{message_id}",
    access=MESSAGE_MEMBER,
    summary="Edit a message you wrote",
    tag="Messages",
    body=MessageDraft,
    returns=Message,
)
async def patch_message(ctx: Context, body: MessageDraft) -> Message:
    return await messages.edit(
        ctx.write,
        ctx.read,
        ctx.services.db.read_primary,
        _writer(ctx),
        ctx.params["message_id"],
        body.content,
        expected_version=ctx.expected_version,
    )


@operation(
    "DELETE",
    "/api/messages/{message_id}",
    access=MESSAGE_MEMBER,
    summary="Delete a message: yours, or as owner or admin anybody's",
    tag="Messages",
)
async def delete_message(ctx: Context) -> None:
    read_primary = ctx.services.db.read_primary
    await messages.delete(ctx.write, ctx.read, read_primary, ctx.user_id, ctx.params["message_id"])


@operation(
    "PUT",
    "/api/spaces/{space_id}/read",
    access=member(),
    summary="Mark messages as read, up to one",
    tag="Messages",
    body=ReadUpTo,
    returns=ReadMark,
)
async def put_read(ctx: Context, body: ReadUpTo) -> ReadMark:
    read_primary = ctx.services.db.read_primary
    return await read_marks.move(
        ctx.write, ctx.read, read_primary, ctx.user_id, ctx.params["space_id"], body.message_id
    )


OPERATIONS: tuple[Operation, ...] = (
    get_messages,
    post_message,
    get_message,
    patch_message,
    delete_message,
    put_read,
)


def _writer(ctx: Context) -> Writer:
    if ctx.principal is None:
        raise Unauthenticated("Sign in first.")
    return Writer(ctx.principal.user_id, ctx.principal.name)
