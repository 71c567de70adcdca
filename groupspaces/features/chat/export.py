"""What chat adds to somebody's export: what they wrote, wherever that was, and where they are named.

Their texts are theirs also in a space that they left or that was deleted, as long as the rows are there. Of other people's messages
that name them it is told which, never what they say. Nothing finds messages by author (that index would travel to every instance with each
message), so the index by space is walked once from end to end, off the loop, page by page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

from groupspaces.db.database import Database
from groupspaces.features.accounts.export import json_lines, paged, row_of

_MESSAGE_COLUMNS = ("space_id", "id", "kind", "created_at_ms", "edited_at_ms", "deleted_at_ms", "content")
_MESSAGES_SQL = f"""
SELECT {", ".join(_MESSAGE_COLUMNS)} FROM message INDEXED BY message_by_space
WHERE author_id = ? AND (space_id, id) > (?, ?) ORDER BY space_id, id LIMIT ?"""

_MENTION_COLUMNS = ("space_id", "message_id", "author_id", "created_at_ms")
_MENTIONS_SQL = """
SELECT mention.space_id, mention.message_id, message.author_id, message.created_at_ms
FROM mention JOIN message ON message.id = mention.message_id
WHERE mention.user_id = ? AND (mention.space_id, mention.message_id) > (?, ?)
ORDER BY mention.space_id, mention.message_id LIMIT ?"""


class ChatExport:
    """A `Contribution` to exports."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def files(self, user_id: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield a file for each space they wrote in, then the mentions."""
        rows: list[Any]
        async for rows in paged(self._db, _MESSAGES_SQL, (user_id,), (0, 0)):
            for space_id, written in groupby(rows, key=lambda row: row[0]):
                yield (
                    f"messages/{space_id}.jsonl",
                    json_lines(row_of(_MESSAGE_COLUMNS, row) for row in written),
                )
        async for rows in paged(self._db, _MENTIONS_SQL, (user_id,), (0, 0)):
            yield "mentions.jsonl", json_lines(row_of(_MENTION_COLUMNS, row) for row in rows)
