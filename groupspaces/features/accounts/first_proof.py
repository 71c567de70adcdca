"""The first proof that somebody reads the mail of an account's address, and what ends by it.

Anybody may open an account with an address that is not theirs, set up ways in, and wait until its owner takes the account over. So
whatever was set up before goes at the moment the owner proves to be one: API tokens, passkeys, authenticator, recovery codes, linked
accounts. Never decides what counts as a proof; links by address (`linked.py`) ask for one that was given here before.
"""

from __future__ import annotations

from groupspaces.db.batch import Statement
from groupspaces.web.origin import Origin

_WAYS_IN = ("api_token", "passkey", "totp", "recovery_code", "linked_account")
_IS_UNPROVED = "EXISTS (SELECT 1 FROM user WHERE user.id = {user_id:d} AND email_verified_at_ms IS NULL)"


def clearing(user_id: int, origin: Origin) -> list[Statement]:
    """Return what takes every earlier way into an account away, unless its address was proved before.

    Belongs before the guarded statement that notes the proof, in its batch; sessions are that batch's business.
    """
    is_unproved = _IS_UNPROVED.format(user_id=user_id)
    deletions = [
        Statement(f"DELETE FROM {table} WHERE user_id = ? AND {is_unproved}", (user_id,))
        for table in _WAYS_IN
    ]
    return [*deletions, origin.audit("account.cleared", f"user:{user_id}", where=f"WHERE {is_unproved}")]
