"""Read marks: how far each member has read a space.

Owns `member.last_read_message_id`. It only moves forward, and only as far as there are messages; a mark that
does not move writes nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import audience_user, record_if_changed
from groupspaces.features.spaces import access


class ReadMark(msgspec.Struct):
    """How far the caller has read: up to this message, and all before it."""

    space_id: int
    last_read_message_id: int


_ONE_SQL = """
SELECT member.last_read_message_id
FROM member JOIN space ON space.id = member.space_id AND space.deleted_at_ms IS NULL
WHERE member.space_id = ? AND member.user_id = ?"""

# The newest message that is there, so that a mark can never reach past what will be written.
_SEEN = "(SELECT max(message.id) FROM message WHERE message.space_id = ? AND message.id <= ?)"

_MOVE_SQL = f"""
UPDATE member SET last_read_message_id = {_SEEN}
WHERE space_id = ? AND user_id = ? AND last_read_message_id < coalesce({_SEEN}, 0)
  AND EXISTS (SELECT 1 FROM space WHERE space.id = member.space_id AND space.deleted_at_ms IS NULL)
RETURNING last_read_message_id"""


async def one(read: Read, space_id: int, user_id: int) -> ReadMark:
    """Return how far somebody has read. Raises NotFound to strangers."""
    rows: Any = await read(_ONE_SQL, (space_id, user_id))
    if not rows:
        raise access.no_such_space()
    return ReadMark(space_id, rows[0][0])


async def move(
    write: Write, read: Read, read_primary: Read, user_id: int, space_id: int, message_id: int
) -> ReadMark:
    """Mark everything up to `message_id` as read. Raises NotFound to strangers.

    No write when the local file knows a mark as far: marks never go back. Otherwise one round trip, two when
    it does not move.
    """
    mark = await one(read, space_id, user_id)
    if mark.last_read_message_id >= message_id:
        return mark
    seen = (space_id, message_id)
    batch = Batch(
        [
            Statement(_MOVE_SQL, (*seen, space_id, user_id, *seen)),
            record_if_changed(
                "read.updated",
                actor_id=user_id,
                audience=audience_user(user_id),
                space_id=space_id,
                subject_id=user_id,
            ),
        ]
    )
    moved: Any = (await write(batch)).rows[0]
    return ReadMark(space_id, moved[0][0]) if moved else await one(read_primary, space_id, user_id)
