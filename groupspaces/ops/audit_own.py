"""What the audit record adds to somebody's export: what they did themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from groupspaces.db.database import Database
from groupspaces.features.accounts.export import json_lines, paged, row_of

_COLUMNS = ("id", "at_ms", "action", "subject", "space_id", "address", "instance_id", "data")
_SQL = f"""
SELECT {", ".join(_COLUMNS)} FROM audit INDEXED BY audit_by_actor
WHERE actor_id = ? AND id > ? ORDER BY id LIMIT ?"""


class AuditExport:
    """A `Contribution` to exports."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def files(self, user_id: int) -> AsyncIterator[tuple[str, bytes]]:
        """Yield one file, oldest entries first."""
        rows: list[Any]
        async for rows in paged(self._db, _SQL, (user_id,), (0,)):
            yield "audit.jsonl", json_lines(map(_entry, rows))


def _entry(row: Any) -> dict[str, Any]:
    return row_of(_COLUMNS, (*row[:-1], msgspec.Raw(str(row[-1]).encode())))
