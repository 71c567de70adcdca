"""People as others and they themselves see them.

Owns the table `user` after sign-up: reading a profile and changing one's own. Never touches passwords or
sessions. What people are called in mentions is `usernames.py`'s, their pictures are `avatars.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Value, Write
from groupspaces.db.changes import audience_user, record
from groupspaces.errors import Conflict, NotFound
from groupspaces.features.accounts import usernames
from groupspaces.times import rfc3339


class PublicUser(msgspec.Struct):
    """A person as whoever shares a space with them sees them. Times are RFC 3339 in UTC."""

    id: int
    name: str
    username: str
    avatar_url: str | None
    avatar_emoji: str | None
    bio: str
    created_at: str


class User(PublicUser):
    """A person as they see themselves.

    `two_factor` tells whether more than the password is needed, or possible: an authenticator, or a passkey.
    """

    email: str
    email_verified: bool
    has_password: bool
    two_factor: bool
    is_operator: bool
    locale: str | None
    theme: str | None
    version: int


_SHARED_COLUMNS = "id, name, username, avatar, avatar_emoji, bio, created_at_ms"
_SHARED_COUNT = 7
HAS_TWO_FACTORS = """(EXISTS (SELECT 1 FROM totp WHERE totp.user_id = user.id AND totp.confirmed_at_ms IS NOT NULL)
  OR EXISTS (SELECT 1 FROM passkey WHERE passkey.user_id = user.id))"""
COLUMNS = f"""{_SHARED_COLUMNS}, email, email_verified_at_ms IS NOT NULL, password_hash <> '', {HAS_TWO_FACTORS},
  is_operator, locale, theme, version"""
_OWN_SQL = f"SELECT {COLUMNS} FROM user WHERE id = ?"
_PUBLIC_SQL = f"SELECT {_SHARED_COLUMNS} FROM user WHERE id = ?"
_SHARE_A_SPACE_SQL = """
SELECT 1 FROM member AS mine
JOIN member AS theirs ON theirs.space_id = mine.space_id AND theirs.user_id = ?
JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
WHERE mine.user_id = ? LIMIT 1"""


async def own(read: Read, user_id: int) -> User:
    """Return a person with what only they may see. Raises NotFound."""
    rows = await read(_OWN_SQL, (user_id,))
    if not rows:
        raise no_such_user()
    return own_of(rows[0])


async def public(read: Read, user_id: int) -> PublicUser:
    """Return a person as others see them. Raises NotFound. Never checks who asks: see `share_a_space`."""
    rows = await read(_PUBLIC_SQL, (user_id,))
    if not rows:
        raise no_such_user()
    return PublicUser(**_shared_facts(rows[0]))


async def share_a_space(read: Read, user_id: int, other_id: int) -> bool:
    """Tell whether two people belong to one space."""
    return bool(await read(_SHARE_A_SPACE_SQL, (other_id, user_id)))


async def change_profile(
    write: Write,
    read_primary: Read,
    user_id: int,
    changes: Mapping[str, Value],
    *,
    expected_version: int | None = None,
) -> User:
    """Set columns of one's own profile and return it as it is now. One round trip.

    `changes` maps column names, which are trusted, to values. Raises Conflict (`STALE_VERSION`) when the
    profile is not at `expected_version`, and what `usernames.renaming` refuses.
    """
    username = changes.get("username")
    renaming = usernames.renaming(user_id, username) if isinstance(username, str) else usernames.SAME
    assignments = "".join(f"{column} = ?, " for column in changes)
    stale = Conflict("Your profile was changed elsewhere in the meantime.", code="STALE_VERSION")
    batch = Batch(
        [
            *renaming.statements,
            Statement(
                f"UPDATE user SET {assignments}version = version + 1"
                f" WHERE id = ? AND (? IS NULL OR version = ?) RETURNING {COLUMNS}",
                (*changes.values(), user_id, expected_version, expected_version),
                refused=stale,
            ),
            record("user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id),
        ],
        conflicts={"user.username": usernames.taken(username)},
        requires=renaming.requires,
    )
    try:
        written = await write(batch)
    except Conflict as error:
        if error is stale:
            error.current = await own(read_primary, user_id)
        raise
    return own_of(written.rows[len(renaming.statements)][0])


def own_of(row: tuple[Any, ...]) -> User:
    """Build a `User` from the columns of `COLUMNS`."""
    *shared, email, email_verified, has_password, two_factor, is_operator, locale, theme, version = row
    return User(
        **_shared_facts(tuple(shared)),
        email=email,
        email_verified=bool(email_verified),
        has_password=bool(has_password),
        two_factor=bool(two_factor),
        is_operator=bool(is_operator),
        locale=locale,
        theme=theme,
        version=version,
    )


def avatar_url(user_id: int, avatar: str | None) -> str | None:
    """Return where a person's picture is, from the column `user.avatar`; None without one."""
    return None if avatar is None else f"/avatars/{user_id}/{avatar}"


def no_such_user() -> NotFound:
    """Return the answer for somebody who does not exist or shares no space with the caller."""
    return NotFound("There is no such person among those you share a space with.")


def _shared_facts(row: tuple[Any, ...]) -> dict[str, Any]:
    user_id, name, username, avatar, avatar_emoji, bio, created_at_ms = row
    return {
        "id": user_id,
        "name": name,
        "username": username,
        "avatar_url": avatar_url(user_id, avatar),
        "avatar_emoji": avatar_emoji,
        "bio": bio,
        "created_at": rfc3339(created_at_ms),
    }
