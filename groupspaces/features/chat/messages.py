"""Messages: what people write to each other in a space.

Owns the table `message`: reading a page or one, posting, editing, deleting. A deleted message keeps its row,
without its text, so that pages and positions stay. Each write decides again whether its author may; an answer
needs no further read. Markdown is made into safe HTML here, once per version of a text; a page of texts that are
new here is made in turns, so that it keeps nobody waiting. Never checks access to reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOW_MS, record, record_last
from groupspaces.errors import Conflict, Forbidden, NotFound
from groupspaces.features.accounts.users import avatar_url
from groupspaces.features.chat import mentions
from groupspaces.features.chat.texts import Texts
from groupspaces.features.spaces import access
from groupspaces.times import rfc3339

Side = Literal["latest", "before", "after", "around"]

# After this long others have their turn.
_TURN_S = 0.001

_texts = Texts()
_encode = msgspec.json.Encoder().encode


class Author(msgspec.Struct):
    id: int
    name: str
    avatar_url: str | None
    avatar_emoji: str | None


class Reaction(msgspec.Struct):
    emoji: str
    count: int
    user_ids: list[int]


class Message(msgspec.Struct):
    """A message as every member sees it. `html` is sanitised; a deleted message has neither text."""

    id: int
    space_id: int
    author: Author
    content: str
    html: str
    reply_to: int | None
    reply_count: int
    files: list[str]
    reactions: list[Reaction]
    mentions: list[int]
    mentions_all: bool
    pinned: bool
    kind: Literal["text", "announcement"]
    created_at: str
    edited_at: str | None
    deleted_at: str | None
    version: int


class MessagePage(msgspec.Struct):
    """Messages by ascending id. `next` is `before` for the older page, `previous` is `after` for the newer."""

    items: list[Message]
    next: int | None
    previous: int | None


class _EncodedPage(msgspec.Struct):
    """A `MessagePage` whose messages are JSON already."""

    items: list[msgspec.Raw]
    next: int | None
    previous: int | None


class Writer(msgspec.Struct, frozen=True):
    """Who writes; the picture of an author is the primary's to tell."""

    id: int
    name: str


_VIEW = f"""
SELECT message.id, message.space_id, message.author_id, author.name, message.kind, message.mentions_all,
  message.created_at_ms, message.edited_at_ms, message.deleted_at_ms, message.version, author.avatar, author.avatar_emoji,
  message.content,
  {mentions.OF_MESSAGE}
FROM message JOIN user AS author ON author.id = message.author_id"""

_LATEST_SQL = f"{_VIEW} WHERE message.space_id = ? ORDER BY message.id DESC LIMIT ?"
_BEFORE_SQL = f"{_VIEW} WHERE message.space_id = ? AND message.id < ? ORDER BY message.id DESC LIMIT ?"
_AFTER_SQL = f"{_VIEW} WHERE message.space_id = ? AND message.id > ? ORDER BY message.id LIMIT ?"
_ONE_SQL = f"{_VIEW} WHERE message.id = ?"
_SPACE_OF_SQL = "SELECT space_id FROM message WHERE id = ?"

_BEYOND_SQL = """
SELECT EXISTS (SELECT 1 FROM message WHERE space_id = ? AND id < ?),
  EXISTS (SELECT 1 FROM message WHERE space_id = ? AND id > ?)"""

_RETURNED = """id, kind, mentions_all, created_at_ms, edited_at_ms, deleted_at_ms, version,
  (SELECT avatar FROM user WHERE user.id = message.author_id), (SELECT avatar_emoji FROM user WHERE user.id = message.author_id)"""

_POST_SQL = f"""
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT member.space_id, member.user_id, 'text', ? AND member.role <> 'member', {NOW_MS}, ?
FROM member JOIN space ON space.id = member.space_id
WHERE member.space_id = ? AND member.user_id = ? AND space.deleted_at_ms IS NULL
RETURNING {_RETURNED}"""

_EDIT_SQL = f"""
UPDATE message SET content = ?, edited_at_ms = {NOW_MS}, version = version + 1,
  mentions_all = ? AND {access.may("admin")}
WHERE id = ? AND author_id = ? AND deleted_at_ms IS NULL AND (? IS NULL OR version = ?)
  AND {access.may("member")}
RETURNING {_RETURNED}"""

_DELETE_SQL = f"""
UPDATE message SET content = '', mentions_all = 0, deleted_at_ms = {NOW_MS}, version = version + 1
WHERE id = ? AND deleted_at_ms IS NULL
  AND ({access.may("admin")} OR (author_id = ? AND {access.may("member")}))"""

_WHY_SQL = """
SELECT message.author_id, message.deleted_at_ms IS NOT NULL, member.role
FROM message
JOIN space ON space.id = message.space_id AND space.deleted_at_ms IS NULL
JOIN member ON member.space_id = message.space_id AND member.user_id = ?
WHERE message.id = ?"""


# --- reading ---


async def page(read: Read, space_id: int, side: Side, position: int, limit: int) -> bytes:
    """Return the JSON of a `MessagePage` with up to `limit` messages next to the id `position`.

    "latest" ignores the position; "around" returns half of them before it, then it and what follows. Two or three
    queries, all before the first turn of anybody else, then up to 2 ms at a time.
    """
    if side == "latest":
        rows = (await read(_LATEST_SQL, (space_id, limit)))[::-1]
    elif side == "before":
        rows = (await read(_BEFORE_SQL, (space_id, position, limit)))[::-1]
    elif side == "after":
        rows = await read(_AFTER_SQL, (space_id, position, limit))
    else:
        older = await read(_BEFORE_SQL, (space_id, position, limit // 2))
        rows = older[::-1] + await read(_AFTER_SQL, (space_id, position - 1, limit - limit // 2))
    if not rows:
        return _encode(MessagePage([], None, None))
    first: Any = rows[0][0]
    last: Any = rows[-1][0]
    has_older, has_newer = (await read(_BEYOND_SQL, (space_id, first, space_id, last)))[0]
    items = await _encoded_in_turns(rows)
    return _encode(_EncodedPage(items, first if has_older else None, last if has_newer else None))


async def one(read: Read, message_id: int) -> Message:
    """Return a message. Raises NotFound. One query."""
    rows = await read(_ONE_SQL, (message_id,))
    if not rows:
        raise no_such_message()
    return _message_of(rows[0])


async def space_of(read: Read, message_id: int) -> int:
    """Return the space of a message, which never changes. Raises NotFound."""
    rows: Any = await read(_SPACE_OF_SQL, (message_id,))
    if not rows:
        raise no_such_message()
    space_id: int = rows[0][0]
    return space_id


# --- writing ---


async def post(write: Write, space_id: int, writer: Writer, content: str) -> Message:
    """Post a message. One round trip. Raises NotFound to strangers."""
    named = mentions.named_in(_texts.of(content))
    statements = [
        Statement(
            _POST_SQL,
            (named.everybody, content, space_id, writer.id),
            refused=access.refusal("member"),
        )
    ]
    if named.usernames:
        statements.append(mentions.of_new_message(space_id, writer.id, named.usernames))
    statements.append(record_last("message.created", actor_id=writer.id, space_id=space_id))
    written = await write(Batch(statements))
    mentioned = mentions.returned(written.rows[1]) if named.usernames else {}
    return _message(written.rows[0][0], space_id, writer, content, mentioned)


async def edit(
    write: Write,
    read: Read,
    read_primary: Read,
    writer: Writer,
    message_id: int,
    content: str,
    *,
    expected_version: int | None,
) -> Message:
    """Replace the text of one's own message. One round trip, two when it is refused.

    Raises NotFound, Forbidden (`AUTHOR_ONLY`) or Conflict (`STALE_VERSION`).
    """
    space_id = await space_of(read, message_id)
    named = mentions.named_in(_texts.of(content))
    actor = (space_id, writer.id)
    refused = Conflict("The message was changed in the meantime.", code="STALE_VERSION")
    update = Statement(
        _EDIT_SQL,
        (
            content,
            named.everybody,
            *actor,
            message_id,
            writer.id,
            expected_version,
            expected_version,
            *actor,
        ),
        refused=refused,
    )
    batch = Batch(
        [
            update,
            mentions.forget(message_id),
            mentions.of_message(message_id, space_id, writer.id, named.usernames),
            record("message.updated", actor_id=writer.id, space_id=space_id, subject_id=message_id),
        ]
    )
    try:
        written = await write(batch)
    except Conflict as error:
        if error is refused:
            await _raise_if_not_author(read_primary, writer.id, message_id)
            error.current = await one(read_primary, message_id)
        raise
    return _message(written.rows[0][0], space_id, writer, content, mentions.returned(written.rows[2]))


async def delete(write: Write, read: Read, read_primary: Read, user_id: int, message_id: int) -> None:
    """Delete a message: one's own, or as owner or admin anybody's. To delete it again is no error.

    One round trip, two when it is refused. Raises NotFound or Forbidden (`AUTHOR_ONLY`).
    """
    space_id = await space_of(read, message_id)
    refused = _author_only()
    actor = (space_id, user_id)
    batch = Batch(
        [
            Statement(_DELETE_SQL, (message_id, *actor, user_id, *actor), refused=refused),
            mentions.forget(message_id),
            record("message.deleted", actor_id=user_id, space_id=space_id, subject_id=message_id),
        ]
    )
    try:
        await write(batch)
    except Forbidden as error:
        if error is not refused:
            raise
        author_id, deleted, role = await _truth(read_primary, user_id, message_id)
        if not deleted or (author_id != user_id and role == "member"):
            raise


def no_such_message() -> NotFound:
    """Return the answer for a message that is not there or not the caller's to see."""
    return NotFound("There is no such message, or you are not a member of its space.")


async def _raise_if_not_author(read_primary: Read, user_id: int, message_id: int) -> None:
    author_id, deleted, _ = await _truth(read_primary, user_id, message_id)
    if author_id != user_id:
        raise _author_only()
    if deleted:
        raise NotFound("This message was deleted.")


async def _truth(read_primary: Read, user_id: int, message_id: int) -> tuple[int, bool, str]:
    """Ask the primary for author, whether deleted, and the person's role. Raises NotFound to strangers."""
    rows: Any = await read_primary(_WHY_SQL, (user_id, message_id))
    if not rows:
        raise no_such_message()
    author_id, deleted, role = rows[0]
    return author_id, bool(deleted), role


def _author_only() -> Forbidden:
    return Forbidden(
        "Only its author may change a message; owners and admins may delete it.", code="AUTHOR_ONLY"
    )


async def _encoded_in_turns(rows: Sequence[tuple[Any, ...]]) -> list[msgspec.Raw]:
    """Return the JSON of messages, letting others have their turn whenever it has taken long."""
    encoded = []
    turn_ends_at = time.perf_counter() + _TURN_S
    for row in rows:
        if time.perf_counter() > turn_ends_at:
            await asyncio.sleep(0)
            turn_ends_at = time.perf_counter() + _TURN_S
        encoded.append(msgspec.Raw(_encode(_message_of(row))))
    return encoded


def _message_of(row: tuple[Any, ...]) -> Message:
    message_id, space_id, author_id, author_name, *state, content, mentioned = row
    return _message(
        (message_id, *state), space_id, Writer(author_id, author_name), content, mentions.parsed(mentioned)
    )


def _message(
    state: tuple[Any, ...], space_id: int, writer: Writer, content: str, mentioned: dict[str, int]
) -> Message:
    message_id, kind, mentions_all, created_at_ms, edited_at_ms, deleted_at_ms, version, avatar, emoji = state
    return Message(
        id=message_id,
        space_id=space_id,
        author=Author(writer.id, writer.name, avatar_url(writer.id, avatar), emoji),
        content=content,
        html=_texts.of(content).html(mentioned, mentions_all=bool(mentions_all)) if content else "",
        reply_to=None,
        reply_count=0,
        files=[],
        reactions=[],
        mentions=sorted(set(mentioned.values())),
        mentions_all=bool(mentions_all),
        pinned=False,
        kind=kind,
        created_at=rfc3339(created_at_ms),
        edited_at=None if edited_at_ms is None else rfc3339(edited_at_ms),
        deleted_at=None if deleted_at_ms is None else rfc3339(deleted_at_ms),
        version=version,
    )
