"""Members: who belongs to a space, with which role.

Owns the table `member`: listing, joining a public space, changing roles, removing and leaving. Which role may
do what to which other is decided inside each write; a space always keeps an owner. Never touches invites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOW_MS, record
from groupspaces.errors import AppError, Conflict, Forbidden, NotFound
from groupspaces.features.accounts.users import avatar_url
from groupspaces.features.spaces import access, spaces
from groupspaces.features.spaces.access import Role
from groupspaces.features.spaces.spaces import Space
from groupspaces.times import rfc3339
from groupspaces.web.origin import Origin


class MemberUser(msgspec.Struct):
    id: int
    name: str
    username: str
    avatar_url: str | None
    avatar_emoji: str | None


class Member(msgspec.Struct):
    """One person's membership of a space."""

    user: MemberUser
    role: Role
    joined_at: str


_VIEW = """
SELECT user.id, user.name, user.username, user.avatar, user.avatar_emoji, member.role, member.joined_at_ms
FROM member JOIN user ON user.id = member.user_id"""

_PAGE_SQL = f"{_VIEW} WHERE member.space_id = ? AND member.user_id > ? ORDER BY member.user_id LIMIT ?"
_ONE_SQL = f"{_VIEW} WHERE member.space_id = ? AND member.user_id = ?"
_IDS_SQL = "SELECT user_id FROM member WHERE space_id = ?"

_JOIN_PUBLIC_SQL = f"""
INSERT INTO member (space_id, user_id, role, joined_at_ms, last_read_message_id)
SELECT space.id, ?, 'member', {NOW_MS},
  coalesce((SELECT max(message.id) FROM message WHERE message.space_id = space.id), 0)
FROM space WHERE space.id = ? AND visibility = 'public' AND deleted_at_ms IS NULL"""

# True of the row being written unless it is the last owner's.
_AN_OWNER_REMAINS = """(member.role <> 'owner' OR EXISTS (
  SELECT 1 FROM member AS other WHERE other.space_id = ? AND other.role = 'owner' AND other.user_id <> ?))"""

# Owners may do it to anybody, admins to anybody but owners. Parameters: space_id, actor's id.
_ACTOR_OUTRANKS = """EXISTS (
  SELECT 1 FROM member AS actor JOIN space ON space.id = actor.space_id AND space.deleted_at_ms IS NULL
  WHERE actor.space_id = ? AND actor.user_id = ?
    AND (actor.role = 'owner' OR (actor.role = 'admin' AND member.role <> 'owner')))"""

_CHANGE_ROLE_SQL = f"""
UPDATE member SET role = ?
WHERE space_id = ? AND user_id = ? AND {_ACTOR_OUTRANKS}
  AND (? <> 'owner' OR {access.may("owner")})
  AND (? = 'owner' OR {_AN_OWNER_REMAINS})
RETURNING joined_at_ms"""

_REMOVE_SQL = f"""
DELETE FROM member
WHERE space_id = ? AND user_id = ? AND {_ACTOR_OUTRANKS} AND {_AN_OWNER_REMAINS}"""

_LEAVE_SQL = f"""
DELETE FROM member
WHERE space_id = ? AND user_id = ? AND {_AN_OWNER_REMAINS}
  AND EXISTS (SELECT 1 FROM space WHERE space.id = member.space_id AND space.deleted_at_ms IS NULL)"""


async def page(read: Read, space_id: int, *, after_id: int, limit: int) -> list[Member]:
    """List members by the id of the person, those after `after_id`. One query."""
    return [_member_of(row) for row in await read(_PAGE_SQL, (space_id, after_id, limit))]


async def one(read: Read, space_id: int, user_id: int) -> Member | None:
    """Return somebody's membership, or None."""
    rows = await read(_ONE_SQL, (space_id, user_id))
    return _member_of(rows[0]) if rows else None


async def ids(read: Read, space_id: int) -> set[int]:
    """Return the ids of all members, also of a deleted space: its last event is for them."""
    rows: Any = await read(_IDS_SQL, (space_id,))
    return {user_id for (user_id,) in rows}


async def join_public(write: Write, read_primary: Read, user_id: int, space_id: int, origin: Origin) -> Space:
    """Become a member of a public space; to be one already is no error. One round trip.

    Raises NotFound when the space is not public.
    """
    already = Conflict("You are a member already.", code="ALREADY_MEMBER")
    batch = Batch(
        [
            Statement(_JOIN_PUBLIC_SQL, (user_id, space_id), refused=access.no_such_space()),
            spaces.one_in_batch(space_id, user_id),
            *joined(space_id, user_id, origin, by="oneself"),
        ],
        conflicts={"member.space_id, member.user_id": already},
    )
    try:
        written = await write(batch)
    except Conflict as error:
        if error is not already:
            raise
        return await spaces.one(read_primary, space_id, user_id)
    return spaces.space_of(written.rows[1][0])


async def change_role(
    write: Write,
    read_primary: Read,
    actor_id: int,
    space_id: int,
    user_id: int,
    role: Role,
    origin: Origin,
) -> Member:
    """Give a member another role. One round trip, two when it is refused.

    Raises NotFound, Forbidden (`ROLE_TOO_LOW`) or Conflict (`LAST_OWNER`).
    """
    refused = Forbidden("This role cannot be changed.")
    params = (role, space_id, user_id, space_id, actor_id, role, space_id, actor_id, role, space_id, user_id)
    batch = Batch(
        [
            Statement(_CHANGE_ROLE_SQL, params, refused=refused),
            Statement(_ONE_SQL, (space_id, user_id)),
            record(
                "member.changed",
                actor_id=actor_id,
                space_id=space_id,
                subject_id=user_id,
                data={"role": role},
            ),
            _audited(origin, "member.role_changed", space_id, user_id, {"role": role}),
        ]
    )
    try:
        written = await write(batch)
    except Forbidden as error:
        if error is not refused:
            raise
        raise await _why_refused(read_primary, actor_id, space_id, user_id, role) from error
    return _member_of(written.rows[1][0])


async def remove(
    write: Write, read_primary: Read, actor_id: int, space_id: int, user_id: int, origin: Origin
) -> None:
    """Remove a member, or leave when it is oneself. One round trip, two when it is refused.

    Raises NotFound, Forbidden (`ROLE_TOO_LOW`) or Conflict (`LAST_OWNER`).
    """
    refused = Forbidden("This member cannot be removed.")
    if actor_id == user_id:
        action = "member.left"
        delete = Statement(_LEAVE_SQL, (space_id, user_id, space_id, user_id), refused=refused)
    else:
        action = "member.removed"
        params = (space_id, user_id, space_id, actor_id, space_id, user_id)
        delete = Statement(_REMOVE_SQL, params, refused=refused)
    told = record("member.left", actor_id=actor_id, space_id=space_id, subject_id=user_id)
    batch = Batch([delete, told, _audited(origin, action, space_id, user_id, {})])
    try:
        await write(batch)
    except Forbidden as error:
        if error is not refused:
            raise
        raise await _why_refused(read_primary, actor_id, space_id, user_id, None) from error


def joined(
    space_id: int, user_id: int, origin: Origin, *, by: Literal["oneself", "invite"]
) -> tuple[Statement, Statement]:
    """Return the statements that tell of somebody who joined, for the end of the batch: the change, and the entry of the audit record."""
    told = record("member.joined", actor_id=user_id, space_id=space_id, subject_id=user_id)
    return told, _audited(origin, "member.joined", space_id, user_id, {"by": by})


def _audited(origin: Origin, action: str, space_id: int, user_id: int, data: Mapping[str, Any]) -> Statement:
    return origin.audit(action, f"user:{user_id}", data=data, space_id=space_id)


async def _why_refused(
    read_primary: Read, actor_id: int, space_id: int, user_id: int, role: Role | None
) -> AppError:
    """Look at the truth and say why a change of a member was refused; `role` is None for a removal."""
    actor: Any = await read_primary(access.ROLE_SQL, (space_id, actor_id))
    if not actor:
        return access.no_such_space()
    target: Any = await read_primary(access.ROLE_SQL, (space_id, user_id))
    if not target:
        return NotFound("There is no such member in this space.")
    actor_role, target_role = actor[0][0], target[0][0]
    if actor_role == "member" and actor_id != user_id:
        return access.forbidden("admin")
    if actor_role != "owner" and (target_role == "owner" or role == "owner"):
        return access.forbidden("owner")
    return Conflict("A space needs an owner. Make somebody else an owner first.", code="LAST_OWNER")


def _member_of(row: tuple[Any, ...]) -> Member:
    user_id, name, username, avatar, emoji, role, joined_at_ms = row
    user = MemberUser(user_id, name, username, avatar_url(user_id, avatar), emoji)
    return Member(user, role, rfc3339(joined_at_ms))
