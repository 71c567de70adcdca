"""Where an act came from, and the row by which the audit record tells of it.

Owns the insert into `audit`: who did what to whom, from where, by the primary's clock. The statement goes into the same batch as
the act, so that neither can be without the other. Reading, sealing and checking the record is `ops/audit.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from groupspaces.db.batch import Statement, Value
from groupspaces.db.changes import NOW_MS

_EMPTY: Mapping[str, Any] = {}

# The newest change of all is the batch's own last: it tells what the act was about.
_LAST = "FROM change WHERE seq = (SELECT max(seq) FROM change)"
LAST_SUBJECT = f"(SELECT subject_id {_LAST})"
LAST_ACTOR = f"(SELECT actor_id {_LAST})"
LAST_SPACE = f"(SELECT space_id {_LAST})"


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
        subject_params: Sequence[Value] = (),
        actor_sql: str | None = None,
        space_sql: str | None = None,
        where: str = "",
    ) -> Statement:
        """Return the statement that tells of an act: `action` is noun.participle, `subject` what it was done to (`user:5`).

        Belongs after the batch's `record(…)`. `*_sql` are constant SQL for what only the primary knows, such as `LAST_SUBJECT`, and
        replace the argument of the same name; `subject_params` are what `subject_sql` binds. `data` holds facts, never secrets or texts
        of people. One row; it touches three pages of 4 kB, those of the newest entries and of two indexes.
        """
        params: list[Value] = []

        def bound(sql: str | None, value: Value, sql_params: Sequence[Value] = ()) -> str:
            params.extend((value,) if sql is None else sql_params)
            return "?" if sql is None else sql

        values = [
            NOW_MS,
            bound(actor_sql, self.actor_id),
            bound(None, self.instance_id),
            bound(None, action),
            bound(subject_sql, subject, subject_params),
            bound(None, orjson.dumps(data).decode()),
            bound(None, self.address),
            bound(space_sql, space_id),
        ]
        columns = "at_ms, actor_id, instance_id, action, subject, data, address, space_id"
        return Statement(f"INSERT INTO audit ({columns}) SELECT {', '.join(values)} {where}", params)
