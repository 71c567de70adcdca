"""The e-mail address of an account: confirming it, and changing it.

Owns `email` and `email_verified_at_ms` after signing up. Where mail can be sent, an address counts once its holder has opened the
link that went there; where it cannot, it counts at once and unconfirmed. A link to another address than the account has works for
the account's own session only: the letter may have gone to a stranger.
"""

from __future__ import annotations

from collections.abc import Sequence

from groupspaces.db.batch import Batch, Statement, Write
from groupspaces.db.changes import NOW_MS, audience_user, record
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Conflict, Forbidden, Unauthenticated
from groupspaces.features.accounts import first_proof
from groupspaces.features.accounts.links import Claim, invalid_link
from groupspaces.features.accounts.own_password import Holder, claimed, holder
from groupspaces.web.origin import Origin

_IS_TAKEN_SQL = "SELECT 1 FROM user WHERE email = ? AND id <> ?"
_SET_SQL = f"""
UPDATE user SET email = ?, email_verified_at_ms = CASE WHEN ? THEN {NOW_MS} END,
  credentials_version = credentials_version + 1, version = version + 1
WHERE id = ? AND credentials_version = ? AND suspended_at_ms IS NULL AND deleted_at_ms IS NULL"""


async def refuse_taken(db: Database, email: str, user_id: int) -> None:
    """Raise Conflict (`EMAIL_TAKEN`) for an address that this instance knows to be somebody else's. One local read."""
    if await db.read_one(_IS_TAKEN_SQL, (email, user_id)):
        raise _taken()


async def change(db: Database, write: Write, user_id: int, email: str, origin: Origin) -> None:
    """Give an account another address, unconfirmed. One round trip, or two where this instance was behind.

    Raises Conflict (`EMAIL_TAKEN`), and Unauthenticated when the person's credentials have changed meanwhile.
    """
    refused = Unauthenticated("Your account was changed elsewhere in the meantime. Try again.")

    async def attempt() -> None:
        known = await holder(db, user_id)
        await write(_setting(known, email, is_verified=False, refused=refused, origin=origin))

    try:
        await attempt()
    except Unauthenticated as error:
        if error is not refused or not await db.catch_up():
            raise
        await attempt()


async def verify(db: Database, write: Write, claim: Claim, origin: Origin, *, is_holder: bool) -> str | None:
    """Confirm the address that a link was sent to, and return the one the account had before if that was another. One round trip.

    `is_holder`: a session of the account asks. Without one, what was set up to get in before the address was proved goes
    (`first_proof.py`): whoever opens the link need not be who opened the account. Sessions stay, for most open it on their phone; the
    password that opened them goes with a reset. `origin` names the person as the actor. Raises
    Invalid (`LINK_INVALID`), Forbidden (`SIGN_IN_FIRST`) and Conflict (`EMAIL_TAKEN`).
    """
    refused = invalid_link("verify")
    found = await claimed(db, claim, refused)
    if is_holder:
        await write(_setting(found, claim.email, is_verified=True, refused=refused, origin=origin))
        return found.email if found.email != claim.email else None
    if found.email != claim.email:
        raise Forbidden(
            "Sign in to the account that asked for this address, then open the link again.",
            code="SIGN_IN_FIRST",
        )
    first = first_proof.clearing(found.id, origin)
    await write(_setting(found, claim.email, is_verified=True, refused=refused, origin=origin, first=first))
    return None


def _setting(
    known: Holder,
    email: str,
    *,
    is_verified: bool,
    refused: AppError,
    origin: Origin,
    first: Sequence[Statement] = (),
) -> Batch:
    action = "email.verified" if email == known.email else "email.changed"
    params = (email, is_verified, known.id, known.credentials_version)
    return Batch(
        [
            *first,
            Statement(_SET_SQL, params, refused=refused),
            record("user.updated", actor_id=known.id, audience=audience_user(known.id), subject_id=known.id),
            origin.audit(action, f"user:{known.id}", data={"verified": is_verified}),
        ],
        conflicts={"user.email": _taken()},
    )


def _taken() -> Conflict:
    return Conflict("There is another account with this e-mail address.", code="EMAIL_TAKEN")
