"""Operators among the people: a deployment always keeps one who can sign in."""

from __future__ import annotations

from groupspaces.errors import Conflict

# SQL: somebody besides the person of the row at hand operates this deployment, and is not suspended. Walks the operators alone.
ANOTHER_STANDS = """EXISTS (
  SELECT 1 FROM user AS other INDEXED BY user_operator
  WHERE other.is_operator = 1 AND other.id > 0 AND other.id <> user.id AND other.suspended_at_ms IS NULL)"""


def last_one() -> Conflict:
    """Return the answer for what would leave nobody to operate the deployment."""
    return Conflict(
        "This deployment would be left without an operator. Make somebody else one first.",
        code="LAST_OPERATOR",
    )
