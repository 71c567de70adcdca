"""Spaces: the rooms people meet in.

Owns the table `space` and how a member sees a space (with what is unread). Who may do what is decided inside
each write with `access.may`. Never touches members beyond the first owner, nor messages beyond counting them.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import unicodedata
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Batch, Read, Statement, Value, Write
from groupspaces.db.changes import NOW_MS, audience_user, record, record_last
from groupspaces.db.database import Database
from groupspaces.errors import Conflict, Unauthenticated
from groupspaces.features.spaces import access
from groupspaces.features.spaces.access import Role
from groupspaces.times import rfc3339
from groupspaces.web.origin import LAST_SPACE, Origin

Visibility = Literal["private", "public"]

# Counting stops here; clients show "99+".
_UNREAD_MAX = 100
# Unread messages are looked for among this many of the newest, so that a space full of one's own costs no
# more.
_UNREAD_WINDOW = 200
# A list of spaces is read in pieces of at most about 1 ms each, so that others have their turn between.
_SPACES_A_TURN = 50
_EXCERPT_CHARS = 140
_SLUG_MAX_CHARS = 40
_DISCOVER_DEADLINE_S = 2.0
_NUMBERED_SLUGS = 20


class LastMessage(msgspec.Struct):
    """The newest message of a space; `excerpt` is its beginning on one line."""

    id: int
    author_name: str
    excerpt: str
    created_at: str


class SpaceFacts(msgspec.Struct):
    """A space as everybody in it sees it."""

    id: int
    name: str
    slug: str
    description: str
    theme_color: str | None
    wallpaper: str | None
    emoji: str | None
    visibility: Visibility
    created_at: str
    version: int


class Space(SpaceFacts):
    """A space as one member sees it. `unread_count` and `mention_count` stop at 100."""

    role: Role
    member_count: int
    unread_count: int
    mention_count: int
    last_message: LastMessage | None
    last_read_message_id: int


class PublicSpace(msgspec.Struct):
    """A public space as people who may join it see it."""

    id: int
    name: str
    slug: str
    description: str
    theme_color: str | None
    wallpaper: str | None
    emoji: str | None
    member_count: int
    joined: bool


_FACTS = (
    "space.id, space.name, space.slug, space.description, space.theme_color, space.wallpaper, space.emoji,"
    " space.visibility, space.created_at_ms, space.version"
)

_FACT_NAMES = ("id", "name", "slug", "description", "theme_color", "wallpaper", "emoji", "visibility")

# `mine` is the viewer's membership.
_VIEW = f"""
SELECT {_FACTS}, mine.role, mine.last_read_message_id, space.member_count,
  (SELECT count(*) FROM (
    SELECT 1 FROM (
      SELECT author_id, deleted_at_ms FROM message
      WHERE message.space_id = space.id AND message.id > mine.last_read_message_id
      ORDER BY message.id DESC LIMIT {_UNREAD_WINDOW})
    WHERE author_id <> mine.user_id AND deleted_at_ms IS NULL LIMIT {_UNREAD_MAX})),
  (SELECT count(*) FROM (
    SELECT 1 FROM mention
    WHERE mention.user_id = mine.user_id AND mention.space_id = space.id
      AND mention.message_id > mine.last_read_message_id LIMIT {_UNREAD_MAX})),
  (SELECT count(*) FROM (
    SELECT 1 FROM (
      SELECT author_id FROM message
      WHERE message.space_id = space.id AND message.mentions_all = 1
        AND message.id > mine.last_read_message_id
      ORDER BY message.id DESC LIMIT {_UNREAD_WINDOW})
    WHERE author_id <> mine.user_id LIMIT {_UNREAD_MAX})),
  last.id, (SELECT name FROM user WHERE user.id = last.author_id), last.created_at_ms,
  CASE WHEN last.deleted_at_ms IS NULL THEN substr(last.content, 1, 4 * {_EXCERPT_CHARS}) ELSE '' END
FROM member AS mine
JOIN space ON space.id = mine.space_id AND space.deleted_at_ms IS NULL
LEFT JOIN message AS last
  ON last.id = (SELECT max(message.id) FROM message WHERE message.space_id = space.id)
"""

_ONE_SQL = f"{_VIEW} WHERE mine.space_id = ? AND mine.user_id = ?"
_MINE_SQL = f"{_VIEW} WHERE mine.user_id = ? AND mine.space_id > ? ORDER BY mine.space_id LIMIT ?"
_FACTS_SQL = f"SELECT {_FACTS} FROM space WHERE id = ?"

_DISCOVER_SQL = """
SELECT id, name, slug, description, theme_color, wallpaper, emoji, member_count,
  EXISTS (SELECT 1 FROM member WHERE member.space_id = space.id AND member.user_id = ?)
FROM space
WHERE visibility = 'public' AND deleted_at_ms IS NULL AND id < ?
  AND (? = '' OR instr(lower(name), ?) > 0 OR instr(lower(description), ?) > 0)
ORDER BY id DESC LIMIT ?"""

_INSERT_SQL = f"""
INSERT INTO space (
  name, slug, description, theme_color, wallpaper, emoji, visibility, created_by, created_at_ms)
SELECT ?,
  (SELECT value FROM json_each(?)
    WHERE NOT EXISTS (SELECT 1 FROM space WHERE slug = value) ORDER BY key LIMIT 1),
  ?, ?, ?, ?, ?, id, {NOW_MS} FROM user WHERE id = ? AND suspended_at_ms IS NULL"""

_FIRST_OWNER_SQL = f"""
INSERT INTO member (space_id, user_id, role, joined_at_ms)
SELECT last_insert_rowid(), ?, 'owner', {NOW_MS}"""

_CREATED_SQL = f"{_VIEW} WHERE mine.space_id = last_insert_rowid() AND mine.user_id = ?"

# "~" is in no slug that can be given, so the name of a deleted space is free again.
_DELETE_SQL = f"""
UPDATE space SET deleted_at_ms = {NOW_MS}, slug = '~' || id, version = version + 1
WHERE id = ? AND {access.may("owner")}"""


class NewSpace(msgspec.Struct, frozen=True):
    """A space to create. Without a slug, one is made from the name."""

    name: str
    slug: str | None
    description: str
    theme_color: str | None
    wallpaper: str | None
    emoji: str | None
    visibility: Visibility


async def mine(read: Read, user_id: int, *, after_id: int, limit: int) -> list[Space]:
    """List the spaces somebody belongs to by id, those after `after_id`. One query for each 50."""
    found: list[Space] = []
    while True:
        wanted = min(limit - len(found), _SPACES_A_TURN)
        rows = await read(_MINE_SQL, (user_id, found[-1].id if found else after_id, wanted))
        found += map(space_of, rows)
        if len(rows) < _SPACES_A_TURN or len(found) == limit:
            return found
        await asyncio.sleep(0)


async def one(read: Read, space_id: int, user_id: int) -> Space:
    """Return a space as this member sees it. Raises NotFound for strangers."""
    rows = await read(_ONE_SQL, (space_id, user_id))
    if not rows:
        raise access.no_such_space()
    return space_of(rows[0])


def one_in_batch(space_id: int, user_id: int) -> Statement:
    """Return the statement that reads a space inside a batch; `space_of` understands its row."""
    return Statement(_ONE_SQL, (space_id, user_id))


async def facts(read: Read, space_id: int) -> SpaceFacts | None:
    """Return what is the same for everybody, or None. Also of a deleted space; never checks who asks."""
    rows = await read(_FACTS_SQL, (space_id,))
    return SpaceFacts(**_facts(rows[0])) if rows else None


async def discover(
    db: Database, user_id: int, words: str, *, before_id: int, limit: int
) -> list[PublicSpace]:
    """List public spaces, newest first, whose name or description contains `words`.

    With words it may read every public space, so it runs off the loop and raises Unavailable at its deadline.
    """
    sought = words.strip().lower()
    params = (user_id, before_id, sought, sought, sought, limit)
    rows: Any = (
        await db.read_slow(_DISCOVER_SQL, params, deadline_s=_DISCOVER_DEADLINE_S)
        if sought
        else await db.read(_DISCOVER_SQL, params)
    )
    return [_public_space_of(row) for row in rows]


async def create(write: Write, user_id: int, new: NewSpace, origin: Origin) -> Space:
    """Create a space with its first owner. One round trip. Raises Conflict (`SLUG_TAKEN`)."""
    slugs = msgspec.json.encode([new.slug] if new.slug else slug_candidates(new.name)).decode()
    taken = _slug_taken(new.slug)
    batch = Batch(
        [
            Statement(
                _INSERT_SQL,
                (
                    new.name,
                    slugs,
                    new.description,
                    new.theme_color,
                    new.wallpaper,
                    new.emoji,
                    new.visibility,
                    user_id,
                ),
                refused=Unauthenticated("This account can no longer be used."),
            ),
            Statement(_FIRST_OWNER_SQL, (user_id,)),
            Statement(_CREATED_SQL, (user_id,)),
            record_last(
                "space.created",
                actor_id=user_id,
                audience=audience_user(user_id),
                space_sql="last_insert_rowid()",
            ),
            origin.audit(
                "space.created",
                data={"visibility": new.visibility},
                subject_sql=f"'space:' || {LAST_SPACE}",
                space_sql=LAST_SPACE,
            ),
        ],
        # A given slug that is taken leaves no candidate, which the column's NOT NULL refuses.
        conflicts={"space.slug": taken},
    )
    written = await write(batch)
    return space_of(written.rows[2][0])


async def change(
    write: Write,
    read_primary: Read,
    user_id: int,
    space_id: int,
    changes: Mapping[str, Value],
    origin: Origin,
    *,
    expected_version: int | None,
) -> Space:
    """Set columns of a space and return it as it is now. One round trip, two when it is refused.

    `changes` maps column names, which are trusted, to values. Raises Forbidden or NotFound to anybody but
    owners and admins, Conflict (`STALE_VERSION`, `SLUG_TAKEN`).
    """
    assignments = "".join(f"{column} = ?, " for column in changes)
    refused = Conflict("The space was changed in the meantime.", code="STALE_VERSION")
    batch = Batch(
        [
            Statement(
                f"UPDATE space SET {assignments}version = version + 1"
                f" WHERE id = ? AND (? IS NULL OR version = ?) AND {access.may('admin')}",
                (*changes.values(), space_id, expected_version, expected_version, space_id, user_id),
                refused=refused,
            ),
            one_in_batch(space_id, user_id),
            record("space.updated", actor_id=user_id, space_id=space_id, subject_id=space_id),
            _audited(origin, "space.changed", space_id, _facts_of_change(changes)),
        ],
        conflicts={"space.slug": _slug_taken(changes.get("slug"))},
    )
    try:
        written = await write(batch)
    except Conflict as error:
        if error is refused:
            current = await one(read_primary, space_id, user_id)
            access.require(current.role, "admin")
            error.current = current
        raise
    return space_of(written.rows[1][0])


async def delete(write: Write, user_id: int, space_id: int, origin: Origin) -> None:
    """Delete a space for everybody; its rows stay, its slug is free. Raises Forbidden unless an owner asks."""
    params = (space_id, space_id, user_id)
    batch = Batch(
        [
            Statement(_DELETE_SQL, params, refused=access.refusal("owner")),
            record("space.deleted", actor_id=user_id, space_id=space_id, subject_id=space_id),
            _audited(origin, "space.deleted", space_id, {}),
        ]
    )
    await write(batch)


def slug_candidates(name: str) -> list[str]:
    """Return slugs for a new space in order of preference; the last one is practically always free."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", ascii_name)[:_SLUG_MAX_CHARS].strip("-") or "space"
    numbered = [f"{base}-{number}" for number in range(2, _NUMBERED_SLUGS)]
    return [base, *numbered, f"{base}-{secrets.token_hex(4)}"]


def space_of(row: tuple[Any, ...]) -> Space:
    """Build a `Space` from the columns of `_VIEW`."""
    role, last_read, members, unread, mentions, to_all, last_id, last_author, last_at_ms, last_text = row[10:]
    last = None
    if last_id is not None:
        last = LastMessage(last_id, last_author, _excerpt(last_text), rfc3339(last_at_ms))
    return Space(
        **_facts(row[:10]),
        role=role,
        member_count=members,
        unread_count=unread,
        mention_count=min(mentions + to_all, _UNREAD_MAX),
        last_message=last,
        last_read_message_id=last_read,
    )


def _public_space_of(row: tuple[Any, ...]) -> PublicSpace:
    space_id, name, slug, description, theme_color, wallpaper, emoji, member_count, joined = row
    return PublicSpace(
        space_id, name, slug, description, theme_color, wallpaper, emoji, member_count, bool(joined)
    )


def _facts(row: tuple[Any, ...]) -> dict[str, Any]:
    *texts, created_at_ms, version = row
    return dict(zip(_FACT_NAMES, texts, strict=True), created_at=rfc3339(created_at_ms), version=version)


def _audited(origin: Origin, action: str, space_id: int, data: Mapping[str, Any]) -> Statement:
    return origin.audit(action, f"space:{space_id}", data=data, space_id=space_id)


def _facts_of_change(changes: Mapping[str, Value]) -> dict[str, Any]:
    """Return what of a change is no text of people: which fields, and who may come in now."""
    opened = {name: value for name, value in changes.items() if name == "visibility"}
    return {"fields": sorted(changes), **opened}


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT_CHARS else f"{line[: _EXCERPT_CHARS - 1]}…"


def _slug_taken(slug: Any) -> Conflict:
    return Conflict(f"The short name “{slug}” is taken. Choose another.", code="SLUG_TAKEN")
