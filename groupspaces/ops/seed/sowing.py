"""Bringing a plan to a primary: in large batches, each of them whole or not there.

Owns that what is written is what the application could have written: counts by its triggers, mentions with their rows, edited and deleted messages
with their versions, free usernames and slugs beside whoever is there already. Nobody who is there is touched. The feed hears of each batch once
and not of each message: all spaces are new, so that nobody holds anything of them yet, and what is older than a week is forgotten there anyway.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import orjson

from groupspaces.db.batch import Batch, Row, Statement, Value, Written
from groupspaces.db.changes import NOBODY, record
from groupspaces.ops.seed.plan import MENTION, Person, Plan, Said, Space

_T = TypeVar("_T")

_AT_ONCE = 2_000
_DOMAIN = "example.org"

_PEOPLE_SQL = """INSERT INTO user (email, name, username, password_hash, is_operator, avatar_emoji, email_verified_at_ms, created_at_ms)
SELECT value ->> 0, value ->> 1, value ->> 2, ?, value ->> 3, value ->> 4, value ->> 5, value ->> 5
FROM json_each(?) ORDER BY key"""
_SPACE_SQL = """INSERT INTO space (name, slug, description, theme_color, emoji, visibility, created_by, created_at_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_MEMBERS_SQL = """INSERT INTO member (space_id, user_id, role, joined_at_ms)
SELECT last_insert_rowid(), value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)"""
_MESSAGES_SQL = """INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, edited_at_ms, deleted_at_ms, version, content)
SELECT value ->> 0, value ->> 1, 'text', 0, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?) ORDER BY key"""
# The messages just before got ids one after the other; these tables have none of their own.
_MENTIONS_SQL = """INSERT INTO mention (user_id, space_id, message_id)
SELECT value ->> 1, value ->> 2, last_insert_rowid() - ? + (value ->> 0) FROM json_each(?)"""
_READ_SQL = """UPDATE member SET last_read_message_id = coalesce(
  (SELECT id FROM message WHERE space_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?), 0)
WHERE space_id = ? AND user_id % 4 = ?"""
# How many messages each fourth of the people has yet to read; the last has read none.
_UNREAD = (0, 7, 25)
_IDS_SQL = "SELECT id, username FROM user WHERE username IN (SELECT value FROM json_each(?))"
_SPACE_IDS_SQL = "SELECT id, slug FROM space WHERE slug IN (SELECT value FROM json_each(?))"
_TAKEN_SQL = "SELECT username FROM user UNION ALL SELECT username FROM former_username"
_TAKEN_EMAILS_SQL = "SELECT email FROM user"
_TAKEN_SLUGS_SQL = "SELECT slug FROM space"
PEOPLE_SQL = "SELECT count(*) FROM user"


class Primary(Protocol):
    """Where it is brought."""

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read."""

    async def write(self, batch: Batch) -> Written:
        """Commit a batch."""


class Sown:
    """What there is afterwards: how many of each, and the e-mail address of the first person."""

    def __init__(self) -> None:
        self.people = self.spaces = self.messages = 0
        self.first_email = ""
        self.has_operator = False


async def sow(
    primary: Primary, plan: Plan, password_hash: str, on_progress: Callable[[str, int, int, int], None]
) -> Sown:
    """Write everything of a plan beside what is there. `on_progress` hears of each batch: what of, rows done, rows in all, bytes sent.

    Stopped in between, what was committed is whole, and stays. Raises what the primary raises.
    """
    sown, sent_bytes = Sown(), 0
    total = plan.amounts.people + plan.amounts.spaces + plan.amounts.messages
    usernames = await _people(primary, plan.people, password_hash, sown)
    on_progress("people", sown.people, total, 0)
    space_ids = await _spaces(primary, plan.spaces, usernames, sown)
    user_ids = await _ids(primary, _IDS_SQL, usernames)
    on_progress("spaces", sown.people + sown.spaces, total, 0)
    for chunk in _chunked(plan.messages(), _AT_ONCE):
        batch = _messages(chunk, space_ids, user_ids, usernames)
        await primary.write(batch)
        sown.messages += len(chunk)
        sent_bytes += len(str(batch.statements[0].params[0]))
        on_progress("messages", sown.people + sown.spaces + sown.messages, total, sent_bytes)
    await _read_up(primary, space_ids)
    return sown


async def _people(primary: Primary, people: list[Person], password_hash: str, sown: Sown) -> list[str]:
    """Write them; return their usernames. The first of all becomes the operator where there is nobody yet."""
    taken = {str(row[0]) for row in await primary.read(_TAKEN_SQL)}
    emails = {str(row[0]) for row in await primary.read(_TAKEN_EMAILS_SQL)}
    sown.has_operator = not emails
    usernames: list[str] = []
    rows: list[list[object]] = []
    for person in people:
        username = _free(person.handle.replace(".", "_"), taken, "_")
        email = _free_email(person.handle, emails)
        is_operator = int(sown.has_operator and not rows)
        rows.append([email, person.name, username, is_operator, person.emoji, person.came_at_ms])
        usernames.append(username)
    sown.first_email = str(rows[0][0])
    for chunk in _chunked(rows, _AT_ONCE):
        told = record("seed.grown", actor_id=None, audience=NOBODY)
        await primary.write(Batch([Statement(_PEOPLE_SQL, (password_hash, _json(chunk))), told]))
        sown.people += len(chunk)
    return usernames


async def _spaces(primary: Primary, spaces: list[Space], usernames: list[str], sown: Sown) -> list[int]:
    ids = await _ids(primary, _IDS_SQL, usernames)
    taken = {str(row[0]) for row in await primary.read(_TAKEN_SLUGS_SQL)}
    slugs = [_free(space.slug, taken, "-") for space in spaces]
    for space, slug in zip(spaces, slugs, strict=True):
        members = [
            [ids[who], role, at_ms]
            for who, role, at_ms in zip(space.members, space.roles, space.joined_at_ms, strict=True)
        ]
        facts = (
            space.name,
            slug,
            space.description,
            space.color,
            space.emoji,
            "public" if space.is_public else "private",
            ids[space.members[0]],
            space.came_at_ms,
        )
        told = record("seed.grown", actor_id=None, audience=NOBODY)
        await primary.write(
            Batch([Statement(_SPACE_SQL, facts), Statement(_MEMBERS_SQL, (_json(members),)), told])
        )
        sown.spaces += 1
    return await _ids(primary, _SPACE_IDS_SQL, slugs)


def _messages(chunk: list[Said], space_ids: list[int], user_ids: list[int], usernames: list[str]) -> Batch:
    rows, named = [], []
    for place, said in enumerate(chunk):
        content = said.content
        if said.mentioned is not None:
            content = content.replace(MENTION, f"@{usernames[said.mentioned]}")
            named.append([place, user_ids[said.mentioned], space_ids[said.space]])
        version = 1 + (said.edited_at_ms is not None) + (said.deleted_at_ms is not None)
        rows.append(
            [
                space_ids[said.space],
                user_ids[said.author],
                said.at_ms,
                said.edited_at_ms,
                said.deleted_at_ms,
                version,
                content,
            ]
        )
    return Batch(
        [
            Statement(_MESSAGES_SQL, (_json(rows),)),
            Statement(_MENTIONS_SQL, (len(rows) - 1, _json(named))),
            record("seed.grown", actor_id=None, audience=NOBODY),
        ]
    )


async def _read_up(primary: Primary, space_ids: list[int]) -> None:
    """Have most people have read most of it."""
    for chunk in _chunked(space_ids, 50):
        told = record("seed.grown", actor_id=None, audience=NOBODY)
        read = [
            Statement(_READ_SQL, (space_id, unread, space_id, part))
            for space_id in chunk
            for part, unread in enumerate(_UNREAD)
        ]
        await primary.write(Batch([*read, told]))


async def _ids(primary: Primary, sql: str, names: list[str]) -> list[int]:
    """Return the ids that go with these names, in their order."""
    found: dict[str, int] = {}
    for chunk in _chunked(names, _AT_ONCE):
        found |= {str(name): int(str(row_id)) for row_id, name in await primary.read(sql, (_json(chunk),))}
    return [found[name] for name in names]


def _free(wanted: str, taken: set[str], joint: str) -> str:
    free = next(
        name
        for name in itertools.chain([wanted], (f"{wanted}{joint}{n}" for n in itertools.count(2)))
        if name not in taken
    )
    taken.add(free)
    return free


def _free_email(handle: str, taken: set[str]) -> str:
    free = next(
        email
        for n in itertools.count(1)
        if (email := f"{handle}{'' if n == 1 else n}@{_DOMAIN}") not in taken
    )
    taken.add(free)
    return free


def _chunked(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, size)):
        yield chunk


def _json(rows: Any) -> str:
    return orjson.dumps(rows).decode()
