"""What becomes of spaces when one of their people deletes their account.

Owns the part of that batch which is about spaces (`deletion.Estate`): they go to the heirs that were named, those with nobody else in
them are deleted, the person leaves all others, and their invites let nobody in any more. Refused as long as one with other
members would have no owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from groupspaces.db.batch import Read, Statement
from groupspaces.db.changes import NOW_MS, record, record_each
from groupspaces.errors import AppError, FieldError, Invalid
from groupspaces.features.accounts.deletion import HandOver, Settlement
from groupspaces.web.origin import Origin

# Enough to choose from; whoever shall own a larger space is made its owner beforehand.
_HEIRS_MAX = 50
_SPACES_MAX = 200


class Heir(msgspec.Struct):
    id: int
    name: str
    username: str


class OwnedSpace(msgspec.Struct):
    """A space that would have no owner. `members` counts the person who wants to go as well; admins come first among `heirs`."""

    id: int
    name: str
    members: int
    heirs: list[Heir]


class OwnedSpaces(msgspec.Struct):
    spaces: list[OwnedSpace]


_SOMEBODY_ELSE = """EXISTS (
  SELECT 1 FROM member AS other WHERE other.space_id = mine.space_id AND other.user_id <> mine.user_id)"""
_NO_OTHER_OWNER = """NOT EXISTS (
  SELECT 1 FROM member AS other
  WHERE other.space_id = mine.space_id AND other.role = 'owner' AND other.user_id <> mine.user_id)"""

# Parameters: the person, and a JSON list of spaces that get another owner in this batch.
_ORPHANED = f"""
FROM member AS mine JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
WHERE mine.user_id = ? AND mine.role = 'owner' AND {_SOMEBODY_ELSE} AND {_NO_OTHER_OWNER}
  AND mine.space_id NOT IN (SELECT value FROM json_each(?))"""
_NONE_ORPHANED_SQL = f"SELECT 1 WHERE NOT EXISTS (SELECT 1 {_ORPHANED})"
_ORPHANS_SQL = (
    f"SELECT space.id, space.name, space.member_count {_ORPHANED} ORDER BY space.id LIMIT {_SPACES_MAX}"
)
_HEIRS_SQL = f"""
SELECT user.id, user.name, user.username FROM member JOIN user ON user.id = member.user_id
WHERE member.space_id = ? AND member.user_id <> ? AND user.suspended_at_ms IS NULL
ORDER BY member.role, member.user_id LIMIT {_HEIRS_MAX}"""

_HAND_OVER_SQL = """
UPDATE member SET role = 'owner'
WHERE space_id = ? AND user_id = ? AND user_id <> ?
  AND EXISTS (SELECT 1 FROM user WHERE user.id = member.user_id AND user.suspended_at_ms IS NULL)
  AND EXISTS (SELECT 1 FROM member AS mine JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
    WHERE mine.space_id = member.space_id AND mine.user_id = ? AND mine.role = 'owner')"""

_ALONE = f"""
FROM member AS mine JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
WHERE mine.user_id = ? AND NOT {_SOMEBODY_ELSE}"""
_NOT_ALONE = f"""
FROM member AS mine JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
WHERE mine.user_id = ? AND {_SOMEBODY_ELSE}"""

# As `spaces.delete` does: the slug is free again.
_DELETE_ALONE_SQL = f"""
UPDATE space SET deleted_at_ms = {NOW_MS}, slug = '~' || id, version = version + 1
WHERE id IN (SELECT mine.space_id {_ALONE})"""
_WITHDRAW_SQL = f"""
UPDATE invite SET revoked_at_ms = {NOW_MS}
WHERE space_id IN (SELECT member.space_id FROM member WHERE member.user_id = ?) AND created_by = ?
  AND revoked_at_ms IS NULL"""
_LEAVE_SQL = "DELETE FROM member WHERE user_id = ?"


class SpacesLeft:
    """An `Estate`: what somebody holds of spaces."""

    def settle(
        self, user_id: int, hand_over: Sequence[HandOver], origin: Origin, *, unsettled: AppError
    ) -> Settlement:
        """Return what belongs into the batch. Raises Invalid (`HEIR_INVALID`) for a space that is named twice."""
        named = [given.space_id for given in hand_over]
        for index, space_id in enumerate(named):
            if space_id in named[:index]:
                raise _bad_heir(index)
        return Settlement(
            requires=[Statement(_NONE_ORPHANED_SQL, (user_id, _json(named)), refused=unsettled)],
            statements=[
                *(
                    statement
                    for index, given in enumerate(hand_over)
                    for statement in _handing_over(index, given, user_id, origin)
                ),
                # Before the rows change by which they are told apart.
                record_each(
                    "space.deleted",
                    _ALONE,
                    (user_id,),
                    actor_id=origin.actor_id,
                    space_sql="mine.space_id",
                    subject_sql="mine.space_id",
                ),
                Statement(*_each_audited(origin, "space.deleted", _ALONE, user_id)),
                record_each(
                    "member.left",
                    _NOT_ALONE,
                    (user_id,),
                    actor_id=origin.actor_id,
                    space_sql="mine.space_id",
                    subject_id=user_id,
                ),
                Statement(_DELETE_ALONE_SQL, (user_id,)),
                Statement(_WITHDRAW_SQL, (user_id, user_id)),
                Statement(_LEAVE_SQL, (user_id,)),
            ],
        )

    async def left_to_decide(self, read: Read, user_id: int, hand_over: Sequence[HandOver]) -> OwnedSpaces:
        """Return the spaces that would have no owner, and who could be. One query, and one for each space."""
        named = _json([given.space_id for given in hand_over])
        rows: Any = await read(_ORPHANS_SQL, (user_id, named))
        found = []
        for space_id, name, members in rows:
            heirs: Any = await read(_HEIRS_SQL, (space_id, user_id))
            found.append(OwnedSpace(space_id, name, members, [Heir(*heir) for heir in heirs]))
        return OwnedSpaces(found)


def _handing_over(index: int, given: HandOver, user_id: int, origin: Origin) -> tuple[Statement, ...]:
    params = (given.space_id, given.user_id, user_id, user_id)
    role = {"role": "owner"}
    return (
        Statement(_HAND_OVER_SQL, params, refused=_bad_heir(index)),
        record(
            "member.changed",
            actor_id=origin.actor_id,
            space_id=given.space_id,
            subject_id=given.user_id,
            data=role,
        ),
        origin.audit("member.role_changed", f"user:{given.user_id}", data=role, space_id=given.space_id),
    )


def _each_audited(origin: Origin, action: str, source: str, user_id: int) -> tuple[str, list[Any]]:
    audited = origin.audit(
        action, subject_sql="'space:' || mine.space_id", space_sql="mine.space_id", where=source
    )
    return audited.sql, [*audited.params, user_id]


def _bad_heir(index: int) -> Invalid:
    field, message = (
        f"hand_over[{index}]",
        "must name a space this person owns, once, and somebody else in it",
    )
    return Invalid(f"{field} {message}.", code="HEIR_INVALID", errors=[FieldError(field, message)])


def _json(space_ids: Sequence[int]) -> str:
    return msgspec.json.encode(space_ids).decode()
