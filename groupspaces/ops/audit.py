"""The audit record, as operators read it: who did what to whom, from where.

Owns how entries are found and shown, the last line of what operators do themselves (`audited`), and the requirement that
such an actor is an operator *at the primary* when the batch commits: a replica's yes authorises nothing. Entries are written by
`web/origin.py`, in the batch of the act; `audit_seals.py` makes it show when one is changed later. An actor of null is nobody
signed in, or somebody at the machine's own command line.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import orjson

from groupspaces.db.batch import Batch, Read, Statement, Value
from groupspaces.db.changes import NOBODY, record
from groupspaces.db.database import Database
from groupspaces.errors import Forbidden, Unavailable
from groupspaces.logging_context import log
from groupspaces.times import rfc3339
from groupspaces.web.context import Context

_log = logging.getLogger("groupspaces.audit")
_EMPTY: Mapping[str, Any] = {}

_OPERATOR_SQL = "SELECT 1 FROM user WHERE id = ? AND is_operator = 1 AND suspended_at_ms IS NULL"
_PAGE_SQL = """SELECT audit.id, audit.at_ms, audit.actor_id, user.name, audit.address, audit.instance_id, audit.action,
  audit.subject, audit.space_id, audit.data,
  CASE WHEN audit.subject GLOB 'user:[1-9]*'
    THEN (SELECT about.name FROM user AS about WHERE about.id = CAST(substr(audit.subject, 6) AS INTEGER)) END,
  (SELECT space.name FROM space WHERE space.id = audit.space_id)
FROM audit LEFT JOIN user ON user.id = audit.actor_id
WHERE {conditions} ORDER BY audit.id DESC LIMIT ?"""

# What only few entries fit may be looked for through all of them: off the loop, and not for ever.
_FILTER_DEADLINE_S = 5.0
_EXPORTED_AT_ONCE = 1_000


class Actor(msgspec.Struct, frozen=True):
    """Who did it, by the name they have now."""

    id: int
    name: str


class Entry(msgspec.Struct, frozen=True):
    """One thing that was done to `subject` (`user:5`). `address` is where the call came from, "" for the command line.

    `subject_name` is what a person who is the subject is called now, `space_name` the same of the space it happened in.
    """

    id: int
    at: str
    actor: Actor | None
    address: str
    instance: str
    action: str
    subject: str
    space_id: int | None
    data: dict[str, Any]
    subject_name: str | None
    space_name: str | None


class Filter(msgspec.Struct, frozen=True):
    """Which entries are wanted; None leaves a fact open. `since_ms` belongs to what is wanted, `until_ms` does not."""

    action: str | None = None
    actor_id: int | None = None
    subject: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def statement(self, before_id: int, limit: int) -> Statement:
        """Return the query for one page. Actors and actions have an index; the rest is looked for among the newest first."""
        given: list[tuple[str, Value]] = [
            ("audit.actor_id = ?", self.actor_id),
            ("audit.action = ?", self.action),
            ("audit.subject = ?", self.subject),
            ("audit.at_ms >= ?", self.since_ms),
            ("audit.at_ms < ?", self.until_ms),
        ]
        used = [("audit.id < ?", before_id), *((sql, value) for sql, value in given if value is not None)]
        conditions = " AND ".join(sql for sql, _ in used)
        return Statement(_PAGE_SQL.format(conditions=conditions), [*(value for _, value in used), limit])


EVERYTHING = Filter()


def audited(action: str, subject: str, data: dict[str, Any], ctx: Context) -> list[Statement]:
    """Return the statements that log an operator's action: for the end of the batch that does it.

    The change `audit.added` in the feed has the entry seen wherever the write's bookmark is. `data` holds no secrets and no
    texts of people.
    """
    added = record("audit.added", actor_id=ctx.origin.actor_id, audience=NOBODY, data={"action": action})
    return [added, ctx.origin.audit(action, subject, data=data)]


def operator_stands(ctx: Context) -> list[Statement]:
    """Return what such a batch `requires`: that the actor is an operator at the primary, and not suspended."""
    actor_id = ctx.origin.actor_id
    if actor_id is None:
        return []
    refused = Forbidden("Only operators of this deployment may do this.", code="OPERATOR_ONLY")
    return [Statement(_OPERATOR_SQL, (actor_id,), refused=refused)]


async def note(ctx: Context, action: str, subject: str, data: Mapping[str, Any] = _EMPTY) -> None:
    """Record what an operator has an instance do, and let the primary refuse whoever is none any more.

    What is this instance's own it can be told also while the primary is away: then its own log says so. Raises Forbidden, Unavailable.
    """
    facts = dict(data)
    try:
        await ctx.write(Batch(audited(action, subject, facts, ctx), requires=operator_stands(ctx)))
    except Unavailable as error:
        if error.code != "PRIMARY_UNAVAILABLE" and ctx.services.db.status().primary == "reachable":
            raise
        log_unaudited(action, subject, facts, ctx, error)


def log_unaudited(action: str, subject: str, data: dict[str, Any], ctx: Context, why: Unavailable) -> None:
    """Say in this instance's own log what the record could not take, where an operator is obeyed all the same."""
    actor_id = None if ctx.principal is None else ctx.principal.user_id
    log(
        _log,
        logging.WARNING,
        "not audited",
        action=action,
        subject=subject,
        actor_id=actor_id,
        why=why.code,
        **data,
    )


async def page(db: Database, wanted: Filter, *, before_id: int, limit: int) -> list[Entry]:
    """List what was done, newest first, what is older than `before_id`. One read; with a filter off the loop.

    Raises Unavailable (`READ_TOO_LONG`) when a filter finds too little in too much.
    """
    return await _found(db.read if wanted == EVERYTHING else _slowly(db), wanted, before_id, limit)


async def pages(db: Database, wanted: Filter, *, before_id: int) -> AsyncIterator[list[Entry]]:
    """Yield everything, newest first, in pages that each cost a read off the loop."""
    while found := await _found(_slowly(db), wanted, before_id, _EXPORTED_AT_ONCE):
        yield found
        if len(found) < _EXPORTED_AT_ONCE:
            return
        before_id = found[-1].id


async def _found(read: Read, wanted: Filter, before_id: int, limit: int) -> list[Entry]:
    query = wanted.statement(before_id, limit)
    return [_entry(*row) for row in await read(query.sql, query.params)]


def _slowly(db: Database) -> Read:
    return lambda sql, params: db.read_slow(sql, params, deadline_s=_FILTER_DEADLINE_S)


def _entry(
    entry_id: Any,
    at_ms: Any,
    actor_id: Any,
    name: Any,
    address: Any,
    instance: Any,
    action: Any,
    subject: Any,
    space_id: Any,
    data: Any,
    subject_name: Any,
    space_name: Any,
) -> Entry:
    actor = None if actor_id is None else Actor(actor_id, name or "")
    return Entry(
        entry_id,
        rfc3339(at_ms),
        actor,
        address,
        instance,
        action,
        subject,
        space_id,
        orjson.loads(data),
        subject_name,
        space_name,
    )
