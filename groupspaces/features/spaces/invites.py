"""Invites: links that let people into a space.

Owns the table `invite`. Whether an invite still lets somebody in (uses, expiry by the primary's clock,
withdrawal, the address it is bound to, its maker still being owner or admin, the space being there) is decided by the one UPDATE that uses it,
whoever asks: a member-to-be with an account (`accept`) or one signing up (`find_admission`). A code is 128
random bits.
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Value, Write
from groupspaces.db.changes import NOBODY, NOW_MS, record, record_last
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Forbidden, NotFound
from groupspaces.features.accounts.sign_up import Admission
from groupspaces.features.spaces import access, members, spaces
from groupspaces.features.spaces.spaces import Space
from groupspaces.times import rfc3339
from groupspaces.web.origin import LAST_SUBJECT, Origin

InviteRole = Literal["admin", "member"]

_CODE_BYTES = 16


class Invite(msgspec.Struct):
    """A link into a space. `max_uses` and `expires_at` are None when there is no such bound."""

    code: str
    url: str
    role: InviteRole
    email: str | None
    uses: int
    max_uses: int | None
    expires_at: str | None
    created_at: str


class InvitedTo(msgspec.Struct):
    """A space as somebody with an invite sees it."""

    id: int
    name: str
    emoji: str | None
    theme_color: str | None
    description: str
    member_count: int


class Inviter(msgspec.Struct):
    name: str


class Preview(msgspec.Struct):
    """What an invite leads to."""

    code: str
    role: InviteRole
    space: InvitedTo
    invited_by: Inviter


class NewInvite(msgspec.Struct, frozen=True):
    role: InviteRole
    max_uses: int | None
    expires_at_ms: int | None
    email: str | None


_COLUMNS = "id, code, role, email, uses, max_uses, expires_at_ms, created_at_ms"

# Who may no longer invite lets nobody in: a removed admin must not come back by a link made before.
_MAKER_MAY = """EXISTS (
    SELECT 1 FROM member AS maker WHERE maker.space_id = invite.space_id
      AND maker.user_id = invite.created_by AND maker.role IN ('owner', 'admin'))"""

_USABLE = f"""invite.revoked_at_ms IS NULL AND {_MAKER_MAY}
  AND (invite.max_uses IS NULL OR invite.uses < invite.max_uses)
  AND (invite.expires_at_ms IS NULL OR invite.expires_at_ms > {NOW_MS})
  AND EXISTS (SELECT 1 FROM space WHERE space.id = invite.space_id AND space.deleted_at_ms IS NULL)"""

_INSERT_SQL = f"""
INSERT INTO invite (code, space_id, role, created_by, email, max_uses, expires_at_ms, created_at_ms)
SELECT ?, ?, ?, ?, ?, ?, ?, {NOW_MS} WHERE {access.may("admin")}
RETURNING {_COLUMNS}"""

_REVOKE_SQL = f"""
UPDATE invite SET revoked_at_ms = {NOW_MS}
WHERE code = ? AND space_id = ? AND revoked_at_ms IS NULL AND {access.may("admin")}"""

_PAGE_SQL = f"""
SELECT {_COLUMNS} FROM invite
WHERE space_id = ? AND id < ? AND revoked_at_ms IS NULL AND {_MAKER_MAY} ORDER BY id DESC LIMIT ?"""

_ONE_SQL = f"SELECT {_COLUMNS} FROM invite WHERE space_id = ? AND id = ?"
_NAMED = "(SELECT 'invite:' || id FROM invite WHERE code = ?)"
_IN_SPACE_SQL = "SELECT 1 FROM invite WHERE code = ? AND space_id = ?"

_PREVIEW_SQL = f"""
SELECT invite.code, invite.role, space.id, space.name, space.emoji, space.theme_color, space.description,
  space.member_count, user.name
FROM invite JOIN space ON space.id = invite.space_id JOIN user ON user.id = invite.created_by
WHERE invite.code = ? AND {_USABLE}"""

_SPACE_OF_SQL = "SELECT space_id FROM invite WHERE code = ?"

_USE_SQL = f"""
UPDATE invite SET uses = uses + 1
WHERE code = ? AND {_USABLE}
  AND (email IS NULL OR email = {{email}})
  AND NOT EXISTS (
    SELECT 1 FROM member WHERE member.space_id = invite.space_id AND member.user_id = {{user_id}})"""

_ADMIT_SQL = f"""
INSERT INTO member (space_id, user_id, role, joined_at_ms, last_read_message_id)
SELECT space_id, {{user_id}}, role, {NOW_MS},
  coalesce((SELECT max(message.id) FROM message WHERE message.space_id = invite.space_id), 0)
FROM invite WHERE code = ?"""

_WHY_SQL = f"""
SELECT
  EXISTS (SELECT 1 FROM member WHERE member.space_id = invite.space_id AND member.user_id = user.id),
  invite.revoked_at_ms IS NOT NULL OR NOT {_MAKER_MAY},
  coalesce(invite.expires_at_ms <= {NOW_MS}, 0),
  coalesce(invite.uses >= invite.max_uses, 0),
  coalesce(invite.email <> user.email, 0)
FROM invite
JOIN space ON space.id = invite.space_id AND space.deleted_at_ms IS NULL
JOIN user ON user.id = ?
WHERE invite.code = ?"""


async def page(
    read: Read, public_url: str, space_id: int, *, before_id: int, limit: int
) -> tuple[list[Invite], int | None]:
    """List a space's invites that stand, newest first, and where the next page begins."""
    rows: Any = await read(_PAGE_SQL, (space_id, before_id, limit + 1))
    shown = rows[:limit]
    return [_invite_of(row, public_url) for row in shown], shown[-1][0] if len(rows) > limit else None


async def one(read: Read, public_url: str, space_id: int, invite_id: int) -> Invite:
    """Return an invite of this space. Raises NotFound."""
    rows = await read(_ONE_SQL, (space_id, invite_id))
    if not rows:
        raise _no_such_invite()
    return _invite_of(rows[0], public_url)


async def create(
    write: Write, public_url: str, user_id: int, space_id: int, new: NewInvite, origin: Origin
) -> Invite:
    """Make an invite. One round trip. Raises Forbidden to anybody but owners and admins."""
    code = secrets.token_urlsafe(_CODE_BYTES)
    params: list[Value] = [code, space_id, new.role, user_id, new.email, new.max_uses, new.expires_at_ms]
    batch = Batch(
        [
            Statement(_INSERT_SQL, (*params, space_id, user_id), refused=access.refusal("admin")),
            record_last("invite.created", actor_id=user_id, audience=NOBODY, space_id=space_id),
            origin.audit(
                "invite.created",
                data={"role": new.role, "max_uses": new.max_uses},
                subject_sql=f"'invite:' || {LAST_SUBJECT}",
                space_id=space_id,
            ),
        ]
    )
    written = await write(batch)
    return _invite_of(written.rows[0][0], public_url)


async def revoke(
    write: Write, read_primary: Read, user_id: int, space_id: int, code: str, origin: Origin
) -> None:
    """Withdraw an invite; one that was withdrawn already is no error. Raises Forbidden or NotFound."""
    refused = _no_such_invite()
    batch = Batch(
        [
            Statement(_REVOKE_SQL, (code, space_id, space_id, user_id), refused=refused),
            record("invite.revoked", actor_id=user_id, audience=NOBODY, space_id=space_id),
            # The code itself lets people in, and is in no record.
            origin.audit("invite.withdrawn", subject_sql=_NAMED, subject_params=(code,), space_id=space_id),
        ]
    )
    try:
        await write(batch)
    except NotFound as error:
        if error is not refused:
            raise
        role: Any = await read_primary(access.ROLE_SQL, (space_id, user_id))
        access.require(role[0][0] if role else None, "admin")
        if not await read_primary(_IN_SPACE_SQL, (code, space_id)):
            raise


async def preview(read: Read, code: str) -> Preview:
    """Say what an invite leads to. Raises NotFound when it lets nobody in any more. One query."""
    rows: Any = await read(_PREVIEW_SQL, (code,))
    if not rows:
        raise _no_such_invite()
    code, role, *space, inviter = rows[0]
    return Preview(code, role, InvitedTo(*space), Inviter(inviter))


async def accept(
    write: Write, read: Read, read_primary: Read, user_id: int, code: str, origin: Origin
) -> Space:
    """Join the space an invite leads to; a member already joins for nothing and uses nothing up.

    One round trip, two when the invite is not known here yet or is refused. Raises NotFound
    (`INVITE_REVOKED`, `INVITE_EXPIRED`, `INVITE_USED_UP` or `NOT_FOUND`) or Forbidden
    (`INVITE_FOR_SOMEBODY_ELSE`).
    """
    found: Any = await read(_SPACE_OF_SQL, (code,)) or await read_primary(_SPACE_OF_SQL, (code,))
    if not found:
        raise _no_such_invite()
    space_id = found[0][0]
    refused = _no_such_invite()
    use, admit = _use("?", "(SELECT user.email FROM user WHERE user.id = ?)", user_id, code, refused)
    told = members.joined(space_id, user_id, origin, by="invite")
    batch = Batch([use, admit, spaces.one_in_batch(space_id, user_id), *told])
    try:
        written = await write(batch)
    except NotFound as error:
        if error is not refused:
            raise
        await _raise_unless_member(read_primary, user_id, code)
        return await spaces.one(read_primary, space_id, user_id)
    return spaces.space_of(written.rows[2][0])


async def joined_space(read: Read, user_id: int, code: str) -> Space:
    """Return the space that an invite led a member to. Raises NotFound for strangers."""
    found: Any = await read(_SPACE_OF_SQL, (code,))
    if not found:
        raise _no_such_invite()
    return await spaces.one(read, found[0][0], user_id)


async def find_admission(db: Database, code: str, email: str, refused: AppError) -> Admission | None:
    """Look up what lets in the new account of `email`, which the same batch has inserted before."""
    row: Any = await db.read_one(_SPACE_OF_SQL, (code,))
    if row is None:
        return None
    return Admission(
        row[0], _use("(SELECT user.id FROM user WHERE user.email = ?)", "?", email, code, refused)
    )


def _use(
    user_id_sql: str, email_sql: str, person: Value, code: str, refused: AppError
) -> tuple[Statement, Statement]:
    """Return the statements that use an invite up (guarded) and insert the member.

    `person` is the one parameter of both expressions.
    """
    use = Statement(
        _USE_SQL.format(user_id=user_id_sql, email=email_sql), (code, person, person), refused=refused
    )
    return use, Statement(_ADMIT_SQL.format(user_id=user_id_sql), (person, code))


async def _raise_unless_member(read_primary: Read, user_id: int, code: str) -> None:
    """Look at the truth and say why an invite was refused. Returns when the person is a member already."""
    rows: Any = await read_primary(_WHY_SQL, (user_id, code))
    if not rows:
        raise _no_such_invite()
    is_member, revoked, expired, used_up, not_theirs = rows[0]
    if is_member:
        return
    if revoked:
        raise NotFound("This invite was withdrawn. Ask for a new link.", code="INVITE_REVOKED")
    if expired:
        raise NotFound("This invite has expired. Ask for a new link.", code="INVITE_EXPIRED")
    if used_up:
        raise NotFound("This invite has been used up. Ask for a new link.", code="INVITE_USED_UP")
    if not_theirs:
        raise Forbidden(
            "This invite is for another e-mail address. Sign in with the account it was sent to.",
            code="INVITE_FOR_SOMEBODY_ELSE",
        )
    raise _no_such_invite()


def _no_such_invite() -> NotFound:
    return NotFound("There is no such invite any more: it was withdrawn, used up or has expired.")


def _invite_of(row: tuple[Any, ...], public_url: str) -> Invite:
    _, code, role, email, uses, max_uses, expires_at_ms, created_at_ms = row
    return Invite(
        code=code,
        url=f"{public_url}/invite/{code}",
        role=role,
        email=email,
        uses=uses,
        max_uses=max_uses,
        expires_at=None if expires_at_ms is None else rfc3339(expires_at_ms),
        created_at=rfc3339(created_at_ms),
    )
