"""Authenticators' secrets under the newest of the deployment's: whoever replaces `auth.secret` wants to drop the old one.

Owns the walk through `totp` that encrypts each row anew, page by page and beside people who sign in meanwhile, and the count of what
is left. What none of our secrets opens is counted and left alone. Never decides when.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from groupspaces.db.batch import Batch, Read, Row, Statement, Write
from groupspaces.db.changes import NOBODY, record
from groupspaces.features.accounts.second_factor import PURPOSE, context_of
from groupspaces.keys import KeyRing, Undecryptable

_ROWS_AT_ONCE = 200

_PAGE_SQL = "SELECT user_id, secret FROM totp WHERE user_id > ? ORDER BY user_id LIMIT ?"
# Whoever has signed in or begun anew meanwhile has stored another one, under the newest key.
_RESEAL_SQL = "UPDATE totp SET secret = ? WHERE user_id = ? AND secret = ?"


class Sealed(msgspec.Struct, frozen=True):
    """How many secrets there are under the newest key, under previous ones, and under none of ours."""

    newest: int
    previous: int
    unreadable: int


async def count(read: Read, keys: KeyRing) -> Sealed:
    """Count without changing anything. One read for each 200."""
    return await _walk(read, keys, None)


async def reseal(read: Read, write: Write, keys: KeyRing) -> Sealed:
    """Encrypt what is under previous keys with the newest, and return what was found. One round trip for each 200 that are.

    Idempotent; raises what `write` raises, and what was done until then stays.
    """
    return await _walk(read, keys, write)


async def reseal_line(read: Read, write: Write, keys: KeyRing) -> str:
    """Do the same and say in a line how it went."""
    found = await reseal(read, write, keys)
    return f"{found.previous} encrypted anew, {found.newest} were, {found.unreadable} cannot be opened"


async def _walk(read: Read, keys: KeyRing, write: Write | None) -> Sealed:
    newest = previous = unreadable = after_id = 0
    while True:
        rows: Any = await read(_PAGE_SQL, (after_id, _ROWS_AT_ONCE))
        old = [row for row in rows if not keys.is_current(PURPOSE, row[1])]
        anew = await asyncio.to_thread(_anew, keys, old)
        newest, previous = newest + len(rows) - len(old), previous + len(anew)
        unreadable += len(old) - len(anew)
        if anew and write is not None:
            # The change has every instance fetch them before the old secret goes.
            told = record("deployment.changed", actor_id=None, audience=NOBODY)
            await write(Batch([*anew, told]))
        if len(rows) < _ROWS_AT_ONCE:
            return Sealed(newest, previous, unreadable)
        after_id = rows[-1][0]


def _anew(keys: KeyRing, rows: list[Row]) -> list[Statement]:
    """Return the statements that replace rows by what the newest key makes of them."""
    statements = []
    for user_id, sealed in rows:
        context = context_of(int(str(user_id)))
        try:
            plain, _ = keys.decrypt(PURPOSE, bytes(sealed), context)  # type: ignore[arg-type]
        except Undecryptable:
            continue
        statements.append(Statement(_RESEAL_SQL, (keys.encrypt(PURPOSE, plain, context), user_id, sealed)))
    return statements
