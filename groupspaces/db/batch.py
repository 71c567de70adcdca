"""What a write is: a list of statements that happen together or not at all.

Owns the vocabulary shared by both primaries (`local_primary`, `remote_primary`): a `Statement` may be *guarded*, and
a guard that matches no row aborts the whole batch. A guarded `INSERT … SELECT … WHERE EXISTS (…)` that writes
nothing would otherwise be success: the next statement would run and `last_insert_rowid()` would name somebody
else's row. Never talks to a database.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from groupspaces.errors import AppError

# An int has 64 bits.
Value = int | float | str | bytes | None
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
Row = tuple[Value, ...]

# Aborts the batch when the statement before it changed no row. Any SQL error would do; "malformed JSON" is one that
# neither a constraint nor a typing mistake in a feature's SQL can produce at this step. Works with triggers present,
# on sqld 0.24 and on current SQLite (measured 2026-11).
GUARD_SQL = "SELECT CASE WHEN changes() = 0 THEN json('refused') END"

# The same for a query that must find a row.
REQUIRED_SQL = "SELECT CASE WHEN NOT EXISTS ({query}) THEN json('refused') END"


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement with bound parameters.

    With `refused`, the statement is guarded: when it changes no row the batch is rolled back and `refused` is raised.
    """

    sql: str
    params: Sequence[Value] = ()
    refused: AppError | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Statements of one transaction, in order.

    `conflicts` maps a UNIQUE constraint as SQLite names it (`"space.slug"`, `"idempotency.user_id, idempotency.key"`)
    to the error its violation means. `requires` are queries that must find a row before anything is written, or their
    `refused` is raised; they return nothing and do not count in `Written.rows`.
    """

    statements: Sequence[Statement]
    conflicts: Mapping[str, AppError] = field(default_factory=dict)
    requires: Sequence[Statement] = ()

    def steps(self) -> list[Step]:
        """Return the flat list both primaries execute: every guarded statement is followed by its guard."""
        steps = [
            Step(REQUIRED_SQL.format(query=required.sql), required.params, 0, required.refused)
            for required in self.requires
        ]
        for index, statement in enumerate(self.statements):
            steps.append(Step(statement.sql, statement.params, index, None))
            if statement.refused is not None:
                steps.append(Step(GUARD_SQL, (), index, statement.refused))
        return steps


@dataclass(frozen=True, slots=True)
class Step:
    """One executed step: `statement` is the index in the batch, `refused` is set on guard steps only."""

    sql: str
    params: Sequence[Value]
    statement: int
    refused: AppError | None


@dataclass(frozen=True, slots=True)
class Written:
    """What a committed batch left behind.

    `seq` is the change-feed position that holds it (the last `change` row this batch recorded, 0 if it recorded
    none); `rows[i]` are the rows that statement `i` returned (`RETURNING`).
    """

    seq: int
    rows: Sequence[Sequence[Row]]


# How features are handed a way to the data: a request's own (`Context.write`), or the door itself (`Database.read`,
# `Database.read_primary`, `Database.write`).
Read = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]
Write = Callable[[Batch], Awaitable[Written]]


class ConstraintViolation(Exception):
    """A constraint refused a step; `constraint` is SQLite's text after "constraint failed: ", or the whole text."""

    def __init__(self, kind: str, constraint: str) -> None:
        super().__init__(f"{kind}: {constraint}")
        self.kind = kind
        self.constraint = constraint


class SequenceFailed(Exception):
    """A migration script was refused; the transaction was rolled back. The text is SQLite's."""


def constraint_error(text: str, conflicts: Mapping[str, AppError]) -> AppError | ConstraintViolation:
    """Turn SQLite's words ("UNIQUE constraint failed: space.slug") into what they mean for this batch.

    Returns the mapped `AppError`, or a `ConstraintViolation` (a fault of ours) when nothing was declared for it.
    """
    kind, _, constraint = text.partition(" constraint failed")
    constraint = constraint.removeprefix(": ").strip()
    kind = kind.rsplit(" ", 1)[-1]
    return conflicts.get(constraint) or ConstraintViolation(kind, constraint or text)
