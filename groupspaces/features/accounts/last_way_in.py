"""The last way in: what is left to somebody who gives one up.

Owns the rule that nobody locks themselves out: a password where passwords are accepted, an account with a provider that is set up, or
a passkey has to remain. Decided by the primary in the batch that takes one away, so that two taken at once do not both go.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from groupspaces.db.batch import Statement
from groupspaces.errors import Conflict

_MOVE_ON_SQL = """
UPDATE user SET credentials_version = credentials_version + 1 WHERE id = ? AND (
  (? AND password_hash <> '')
  OR EXISTS (SELECT 1 FROM passkey WHERE passkey.user_id = user.id)
  OR EXISTS (SELECT 1 FROM linked_account
    WHERE linked_account.user_id = user.id AND provider IN (SELECT value FROM json_each(?))))"""


@dataclass(frozen=True, slots=True)
class LastWayIn:
    """Keep people from losing it. `password` and `provider_ids` are which ways there are here at all."""

    password: bool
    provider_ids: tuple[str, ...]

    def kept(self, user_id: int) -> Statement:
        """Return the statement for after the one that takes a way in away.

        It moves the person's credentials on: what was asked for meanwhile may have been a thief's. Its refusal is Conflict (`LAST_WAY_IN`).
        """
        last = Conflict(
            "This is your last way in. Set a password or add a passkey first.", code="LAST_WAY_IN"
        )
        provider_ids = msgspec.json.encode(self.provider_ids).decode()
        return Statement(_MOVE_ON_SQL, (user_id, int(self.password), provider_ids), refused=last)
