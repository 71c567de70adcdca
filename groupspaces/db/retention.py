"""What is forgotten.

Old rows of the change feed, Idempotency-Keys past their 24 hours, sessions that have expired, and instances not heard of for 30 days. The audit record sees to
itself (`ops/audit_seals.py`).
"""

from __future__ import annotations

from .batch import Batch, Statement, Write
from .changes import NOW_MS

DAY_MS = 86_400_000
# One batch stays small: each touched page travels to every instance.
_ROWS_AT_ONCE = 2_000

# The newest row always stays: it is what every instance compares its history with.
_TRIM_FEED_SQL = f"""DELETE FROM change WHERE seq IN (
  SELECT seq FROM (SELECT seq, at_ms FROM change ORDER BY seq LIMIT {_ROWS_AT_ONCE})
  WHERE at_ms < {NOW_MS} - ?
) AND seq < (SELECT max(seq) FROM change)"""
# The few rows of a fleet are all looked at.
_TRIM_FLEET_SQL = f"DELETE FROM instance WHERE seen_at_ms < {NOW_MS} - {30 * DAY_MS}"
_TRIM_KEYS_SQL = f"""DELETE FROM idempotency WHERE (user_id, key) IN (
  SELECT user_id, key FROM idempotency WHERE at_ms < {NOW_MS} - {DAY_MS} LIMIT {_ROWS_AT_ONCE}
)"""


# The oldest end first, as all last equally long.
_TRIM_SESSIONS_SQL = f"""DELETE FROM session WHERE id IN (
  SELECT id FROM (SELECT id, expires_at_ms FROM session WHERE id > 0 ORDER BY id LIMIT {_ROWS_AT_ONCE})
  WHERE expires_at_ms < {NOW_MS}
)"""


async def trim(write: Write, *, retention_days: int) -> None:
    """Delete what is older than its time, a bounded piece a call. Idempotent; raises what `write` raises."""
    others = map(Statement, (_TRIM_KEYS_SQL, _TRIM_FLEET_SQL))
    await write(Batch([Statement(_TRIM_FEED_SQL, (retention_days * DAY_MS,)), *others]))


async def trim_sessions(write: Write) -> None:
    """Delete sessions whose time is over, a bounded piece a call: they have let nobody in since. Idempotent; raises what `write` raises."""
    await write(Batch([Statement(_TRIM_SESSIONS_SQL)]))
