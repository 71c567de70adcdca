"""The change feed: one row per thing that happened, written in the transaction that made it happen.

Owns the `change` table: how rows are appended (`record*`), read back (`Change`, `FEED_SQL`) and trimmed. `seq` is the id
of a live event, the bookmark of a write and the measure of replica lag. `data` holds ids and old/new facts only, never
text, so that an event can be delivered without telling anybody what they may not read.
Never delivers anything: that is `live.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from .batch import Row, Statement, Value

# The primary's clock in milliseconds: expiries and `at_ms` never depend on an instance's own clock.
NOW_MS = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"

# Whoever a change concerns. "user:ID" is built by `audience_user`.
SPACE = "space"
NOBODY = "nobody"

# Told to listeners, never stored: the local file was replaced by one whose history differs or was skipped, so whatever
# was derived from the feed (caches, open streams) must be dropped.
FEED_RESET = "feed.reset"
# The first change of an epoch: what comes before it in the feed is of another history than what was there when it began.
EPOCH_BEGAN = "lineage.began"

_COLUMNS = "token, at_ms, actor_id, space_id, audience, kind, subject_id, data"
# What `change_of` decodes.
ROW = f"seq, {_COLUMNS}"
INSERT_PREFIX = "INSERT INTO change"

FEED_SQL = f"SELECT {ROW} FROM change WHERE seq > ? ORDER BY seq LIMIT ?"
HEAD_SQL = "SELECT seq, token FROM change ORDER BY seq DESC LIMIT 1"
FIRST_SQL = "SELECT seq FROM change ORDER BY seq LIMIT 1"

_EMPTY: Mapping[str, Any] = {}

# How the token of each row begins that is recorded here, by whichever worker: they are forked after this was drawn.
_HERE = secrets.token_hex(3)


class Change(msgspec.Struct, frozen=True):
    """One row of the feed."""

    seq: int
    token: str
    at_ms: int
    actor_id: int | None
    space_id: int | None
    audience: str
    kind: str
    subject_id: int | None
    data: dict[str, Any]

    @property
    def was_made_here(self) -> bool:
        """Whether this server has recorded it, since its start."""
        return self.token.startswith(_HERE)

    @property
    def audience_user_id(self) -> int | None:
        """The one user this concerns, or None when the audience is a space or nobody."""
        return int(self.audience[5:]) if self.audience.startswith("user:") else None


def audience_user(user_id: int) -> str:
    """Return the audience of a change that concerns one person."""
    return f"user:{user_id}"


def record(
    kind: str,
    *,
    actor_id: int | None,
    audience: str = SPACE,
    space_id: int | None = None,
    subject_id: int | None = None,
    data: Mapping[str, Any] = _EMPTY,
    space_sql: str | None = None,
    subject_sql: str | None = None,
    actor_sql: str | None = None,
    audience_sql: str | None = None,
    where: str = "",
) -> Statement:
    """Append a change after the product statements of a batch; its `RETURNING seq` becomes `Written.seq`.

    `*_sql` are constant SQL expressions for values only the primary knows, such as
    `(SELECT space_id FROM message WHERE id = 5)`; they replace the argument of the same name.
    """
    params: list[Value] = [_HERE + secrets.token_hex(6)]
    values = ["?", NOW_MS]
    expressions = ((actor_sql, actor_id), (space_sql, space_id), (audience_sql, audience))
    for expression, value in (*expressions, (None, kind), (subject_sql, subject_id)):
        if expression is None:
            values.append("?")
            params.append(value)
        else:
            values.append(expression)
    values.append("?")
    params.append(orjson.dumps(data).decode())
    sql = f"{INSERT_PREFIX} ({_COLUMNS}) SELECT {', '.join(values)} {where} RETURNING seq"
    return Statement(sql, params)


def record_last(kind: str, **facts: Any) -> Statement:
    """Append a change about the row inserted just before (`subject_id` is `last_insert_rowid()`).

    Tables filled in between must be WITHOUT ROWID, or the id would be theirs.
    """
    return record(kind, subject_sql="last_insert_rowid()", **facts)


def record_if_changed(kind: str, **facts: Any) -> Statement:
    """Append a change only when the statement before it changed a row: for updates that may be no-ops."""
    return record(kind, where="WHERE changes() > 0", **facts)


def record_each(kind: str, source: str, params: Sequence[Value], **facts: Any) -> Statement:
    """Append a change for each row of `source` (constant SQL that begins with FROM and binds `params`).

    `*_sql` facts name its columns. The rows of one statement share their token, which asserts a position as well as one of its own.
    """
    appended = record(kind, where=source, **facts)
    return Statement(appended.sql, (*appended.params, *params))


def is_record(statement: Statement) -> bool:
    """Tell whether a statement appends to the feed (and so returns the position)."""
    return statement.sql.startswith(INSERT_PREFIX)


def change_of(row: Row) -> Change:
    """Decode one row of `FEED_SQL`.

    Raises `msgspec.ValidationError` when the file holds something else than the app wrote.
    """
    *head, data = row
    facts = dict(zip(Change.__struct_fields__, head, strict=False), data=orjson.loads(str(data)))
    return msgspec.convert(facts, Change)
