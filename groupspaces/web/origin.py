"""Where an act came from, and the row by which the audit record tells of it.

Owns the insert into `audit`: who did what to whom, from where, by the primary's clock. The statement goes into the same batch as
the act, so that neither can be without the other. Reading, sealing and checking the record is `ops/audit.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from groupspaces.db.batch import Statement, Value
from groupspaces.db.changes import NOW_MS

_EMPTY: Mapping[str, Any] = {}

# The change recorded just before tells what the act was about.
LAST_SUBJECT = "(SELECT subject_id FROM change WHERE seq = last_insert_rowid())"
LAST_ACTOR = "(SELECT actor_id FROM change WHERE seq = last_insert_rowid())"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks (None: nobody signed in, or the machine's own command line), from which address ("" there), at which instance."""

    actor_id: int | None
    address: str
    instance_id: str

    def audit(
        self,
        action: str,
        subject: str = "",
        *,
        data: Mapping[str, Any] = _EMPTY,
        space_id: int | None = None,
        subject_sql: str | None = None,
        actor_sql: str | None = None,
        where: str = "",
    ) -> Statement:
        """Return the statement that tells of an act: `action` is noun.participle, `subject` what it was done to (`user:5`).

        Belongs straight after the batch's last `record(…)` when `subject_sql` or `actor_sql` is `LAST_SUBJECT` or `LAST_ACTOR`
        (SQL for a value that only the primary knows). `data` holds facts, never secrets or texts of people. One row, and a page
        of 4 kB.
        """
        params: list[Value] = []

        def bound(sql: str | None, value: Value) -> str:
            if sql is not None:
                return sql
            params.append(value)
            return "?"

        values = [
            NOW_MS,
            bound(actor_sql, self.actor_id),
            bound(None, self.instance_id),
            bound(None, action),
            bound(subject_sql, subject),
            bound(None, orjson.dumps(data).decode()),
            bound(None, self.address),
            bound(None, space_id),
        ]
        columns = "at_ms, actor_id, instance_id, action, subject, data, address, space_id"
        return Statement(f"INSERT INTO audit ({columns}) SELECT {', '.join(values)} {where}", params)
