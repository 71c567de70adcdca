"""Idempotency-Key: a repeated POST creates nothing and is answered with the first result.

Owns the `idempotency` table: the key's row is written in the batch it protects and names its last change, so both
exist or neither does. A repeat is recognised on the local file first, and at the primary when the write is refused for
any reason (the slug that is "taken" may be the one we took a moment ago). Keys older than a day do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from groupspaces.db.batch import Batch, Row, Statement, Value, Written
from groupspaces.db.changes import NOW_MS
from groupspaces.db.database import Database
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import AppError, Conflict, FieldError, Invalid, Unavailable

HEADER = b"idempotency-key"
MAX_CHARS = 64

_CONSTRAINT = "idempotency.user_id, idempotency.key"
_FIND_SQL = f"""
SELECT fingerprint, seq, (SELECT subject_id FROM change WHERE change.seq = idempotency.seq)
FROM idempotency WHERE user_id = ? AND key = ? AND at_ms > {NOW_MS} - {DAY_MS}
"""
_FORGET_SQL = f"DELETE FROM idempotency WHERE user_id = ? AND key = ? AND at_ms <= {NOW_MS} - {DAY_MS}"
# The newest change of all is the batch's own last: nobody else writes meanwhile.
_KEEP_SQL = f"""
INSERT INTO idempotency (user_id, key, fingerprint, seq, at_ms) SELECT ?, ?, ?, max(seq), {NOW_MS} FROM change
"""

_Reader = Callable[[str, Sequence[Value]], Awaitable[list[Row]]]


@dataclass(frozen=True, slots=True)
class Earlier:
    """The first use of a key: `seq` holds what it made, `subject_id` names it (None when the feed was trimmed)."""

    seq: int
    subject_id: int | None


class AlreadyDone(Exception):
    """Ends a handler whose write turned out to be a repeat."""

    def __init__(self, earlier: Earlier) -> None:
        super().__init__()
        self.earlier = earlier


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """One key of one person for one request; `fingerprint` tells requests apart."""

    user_id: int
    key: str
    fingerprint: str

    async def earlier_here(self, db: Database) -> Earlier | None:
        """Find the first use in the local file. Raises Conflict when it was for another request."""
        return await self._find(db.read)

    async def write(self, db: Database, batch: Batch) -> Written:
        """Write `batch` and the key together. Raises AlreadyDone when the primary knows the key."""
        statements = [
            *batch.statements,
            Statement(_FORGET_SQL, (self.user_id, self.key)),
            Statement(_KEEP_SQL, (self.user_id, self.key, self.fingerprint)),
        ]
        used = Conflict("This Idempotency-Key was used for another request.", code="IDEMPOTENCY_KEY_REUSED")
        try:
            return await db.write(
                replace(batch, statements=statements, conflicts={**batch.conflicts, _CONSTRAINT: used})
            )
        except Unavailable:
            raise
        except AppError as refusal:
            earlier = await self._find(db.read_primary)
            if earlier is None:
                raise
            raise AlreadyDone(earlier) from refusal

    async def _find(self, read: _Reader) -> Earlier | None:
        rows = await read(_FIND_SQL, (self.user_id, self.key))
        if not rows:
            return None
        fingerprint, seq, subject_id = rows[0]
        if fingerprint != self.fingerprint:
            raise Conflict(
                "This Idempotency-Key was used for another request.", code="IDEMPOTENCY_KEY_REUSED"
            )
        return Earlier(int(str(seq)), None if subject_id is None else int(str(subject_id)))


def checked_key(header: bytes) -> str:
    """Return the key as text. Raises Invalid unless it has 1 to 64 printable ASCII characters."""
    if 1 <= len(header) <= MAX_CHARS and all(0x21 <= byte <= 0x7E for byte in header):
        return header.decode()
    message = f"must have 1 to {MAX_CHARS} printable characters"
    raise Invalid(f"The header Idempotency-Key {message}.", errors=[FieldError("Idempotency-Key", message)])


def fingerprint_of(method: str, path: str, body: bytes) -> str:
    """Return what tells one request from another: SHA-256 over method, path and body."""
    return hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()
