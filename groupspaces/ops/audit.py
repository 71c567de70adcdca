"""What operators did: a log of its own, written in the same batch as what they did.

Owns the table `audit`, and the requirement that the actor is an operator *at the primary* when the batch commits: a replica's
yes authorises nothing. An actor of null is somebody at the machine's own command line.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from groupspaces.db.batch import Read, Statement
from groupspaces.db.changes import NOBODY, NOW_MS, record
from groupspaces.errors import Forbidden
from groupspaces.identity import Identity
from groupspaces.times import rfc3339
from groupspaces.web.context import Context

_INSERT_SQL = f"""INSERT INTO audit (at_ms, actor_id, instance_id, action, subject, data)
VALUES ({NOW_MS}, ?, ?, ?, ?, ?)"""
_OPERATOR_SQL = "SELECT 1 FROM user WHERE id = ? AND is_operator = 1 AND suspended_at_ms IS NULL"
_PAGE_SQL = """SELECT audit.id, audit.at_ms, audit.actor_id, user.name, audit.instance_id, audit.action,
  audit.subject, audit.data
FROM audit LEFT JOIN user ON user.id = audit.actor_id
WHERE audit.id < ? ORDER BY audit.id DESC LIMIT ?"""


class Actor(msgspec.Struct, frozen=True):
    """Who did it."""

    id: int
    name: str


class Entry(msgspec.Struct, frozen=True):
    """One thing an operator did; `actor` is null for the command line, `data` is what was asked for."""

    id: int
    at: str
    actor: Actor | None
    instance: str
    action: str
    subject: str
    data: dict[str, Any]


def audited(action: str, subject: str, data: dict[str, Any], ctx: Context) -> list[Statement]:
    """Return the statements that log an operator's action: for the end of the batch that does it.

    The last one records `audit.added` in the feed, so that the entry is seen wherever the write's bookmark is. `data` holds no
    secrets and no texts of people.
    """
    actor_id = _actor_id(ctx)
    params = (actor_id, ctx.part(Identity).id, action, subject, orjson.dumps(data).decode())
    added = record("audit.added", actor_id=actor_id, audience=NOBODY, data={"action": action})
    return [Statement(_INSERT_SQL, params), added]


def operator_stands(ctx: Context) -> list[Statement]:
    """Return what such a batch `requires`: that the actor is an operator at the primary, and not suspended."""
    actor_id = _actor_id(ctx)
    if actor_id is None:
        return []
    refused = Forbidden("Only operators of this deployment may do this.", code="OPERATOR_ONLY")
    return [Statement(_OPERATOR_SQL, (actor_id,), refused=refused)]


async def page(read: Read, *, before_id: int, limit: int) -> list[Entry]:
    """List what was done, newest first, what is older than `before_id`."""
    return [_entry(*row) for row in await read(_PAGE_SQL, (before_id, limit))]


def _actor_id(ctx: Context) -> int | None:
    return None if ctx.principal is None else ctx.principal.user_id


def _entry(
    entry_id: Any, at_ms: Any, actor_id: Any, name: Any, instance: Any, action: Any, subject: Any, data: Any
) -> Entry:
    actor = None if actor_id is None else Actor(actor_id, name or "")
    return Entry(entry_id, rfc3339(at_ms), actor, instance, action, subject, orjson.loads(data))
