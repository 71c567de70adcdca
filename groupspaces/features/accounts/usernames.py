"""Usernames: by which name a person is mentioned, and that nobody else goes by it while their account exists.

Owns their form, the words nobody may have, what new people are given, and the table `former_username`: a name somebody gives up
stays theirs, so that older messages go on naming them and nobody can take their place under it. They may go back to it. A deleted
account keeps no name. Only ASCII is allowed, so no two names look alike to Unicode's tables. Never writes `user`: see `users.py`.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from groupspaces.db.batch import Statement
from groupspaces.db.changes import NOW_MS
from groupspaces.errors import Conflict, FieldError, Invalid

# As a mention is written: single dots, hyphens and underscores between letters and digits.
PATTERN = r"^[a-z0-9]+([._-][a-z0-9]+)*$(?!\n)"
MIN_CHARS = 3
MAX_CHARS = 30

# Names kept for one person; to go back to one of them is always possible.
_FORMER_MAX = 20
_NUMBERED = 20

# Words that mean several people in a mention, and such as a stranger could pose with.
_RESERVED = frozenset(
    [
        "all",
        "channel",
        "everyone",
        "here",
        "room",
        "space",
        "abuse",
        "account",
        "accounts",
        "admin",
        "administrator",
        "anonymous",
        "api",
        "billing",
        "bot",
        "contact",
        "daemon",
        "everybody",
        "group-spaces",
        "groupspaces",
        "guest",
        "help",
        "helpdesk",
        "info",
        "mail",
        "moderator",
        "nobody",
        "null",
        "office",
        "operator",
        "ops",
        "owner",
        "postmaster",
        "root",
        "security",
        "settings",
        "staff",
        "superuser",
        "support",
        "sysadmin",
        "system",
        "team",
        "undefined",
        "webmaster",
    ]
)
# What is left of deleted accounts.
TOMBSTONE = "deleted"

# SQL: nobody has or had the name `value`.
IS_FREE = """NOT EXISTS (SELECT 1 FROM user WHERE username = value)
      AND NOT EXISTS (SELECT 1 FROM former_username WHERE former_username.username = value)"""

_NOT_ANOTHERS_SQL = """
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM former_username WHERE username = ? AND user_id <> ?)"""
_ROOM_LEFT_SQL = f"""
SELECT 1 FROM user
WHERE id = ? AND (username = ?
  OR EXISTS (SELECT 1 FROM former_username WHERE username = ? AND user_id = user.id)
  OR (SELECT count(*) FROM former_username WHERE user_id = user.id) < {_FORMER_MAX})"""
_KEEP_SQL = f"""
INSERT INTO former_username (username, user_id, until_ms)
SELECT username, id, {NOW_MS} FROM user WHERE id = ? AND username <> ?"""
_RETURN_SQL = "DELETE FROM former_username WHERE username = ? AND user_id = ?"


@dataclass(frozen=True, slots=True)
class Renaming:
    """Queries that must find a row, and statements that go before the change of a username."""

    requires: Sequence[Statement] = ()
    statements: Sequence[Statement] = ()


SAME = Renaming()


def check(username: str) -> None:
    """Raise Invalid (`USERNAME_RESERVED`) for words nobody may be called by; the form has been looked at before."""
    if username in _RESERVED or _is_of_a_tombstone(username):
        raise Invalid(
            f"Nobody may be called “{username}”. Choose another username.",
            code="USERNAME_RESERVED",
            errors=[FieldError("username", "is a word that nobody may be called by")],
        )


def renaming(user_id: int, username: str) -> Renaming:
    """Return what belongs into the batch that gives somebody a username, around the change itself.

    Refused with Conflict (`USERNAME_TAKEN`) when it is another person's former name, and (`USERNAME_CHANGED_OFTEN`) when too
    many names are kept for them already.
    """
    often = Conflict(
        f"You have had {_FORMER_MAX} other usernames, which stay yours. Go back to one of them.",
        code="USERNAME_CHANGED_OFTEN",
    )
    return Renaming(
        requires=(
            Statement(_NOT_ANOTHERS_SQL, (username, user_id), refused=taken(username)),
            Statement(_ROOM_LEFT_SQL, (user_id, username, username), refused=often),
        ),
        statements=(
            Statement(_RETURN_SQL, (username, user_id)),
            Statement(_KEEP_SQL, (user_id, username)),
        ),
    )


def taken(username: object) -> Conflict:
    """Return the answer for a username that is or was somebody else's."""
    return Conflict(f"The username “{username}” is taken. Choose another.", code="USERNAME_TAKEN")


def candidates(name: str) -> list[str]:
    """Return usernames for a new person in order of preference; the last one is practically always free."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:MAX_CHARS].strip("-") or "member"
    if _is_of_a_tombstone(base):
        base = "member"
    plain = [] if base in _RESERVED else [base]
    numbered = [f"{base}-{number}" for number in range(2, _NUMBERED)]
    return [*plain, *numbered, f"{base}-{secrets.token_hex(4)}"]


def _is_of_a_tombstone(username: str) -> bool:
    return username == TOMBSTONE or username.startswith(f"{TOMBSTONE}-")
