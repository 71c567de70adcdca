"""What spaces add to somebody's export: which they belong to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from groupspaces.db.database import Database
from groupspaces.features.accounts.export import json_list, paged, row_of

_COLUMNS = ("id", "name", "description", "visibility", "role", "joined_at_ms", "last_read_message_id")
_SQL = """
SELECT space.id, space.name, space.description, space.visibility, member.role, member.joined_at_ms,
  member.last_read_message_id
FROM member JOIN space ON space.id = member.space_id AND space.deleted_at_ms IS NULL
WHERE member.user_id = ? AND member.space_id > ? ORDER BY member.space_id LIMIT ?"""


class SpacesExport:
    """A `Contribution` to exports."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def files(self, user_id: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield one file, if they belong to any space."""
        found: list[Any] = []
        async for rows in paged(self._db, _SQL, (user_id,), (0,)):
            found += (row_of(_COLUMNS, row) for row in rows)
        if found:
            yield "spaces.json", json_list(found)
