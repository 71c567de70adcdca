"""The arithmetic of the audit record's seals: what a digest covers, and comparing entries with the seals on them.

Owns the canonical form of an entry, which must never change: every stored digest depends on it. Never touches a database, and knows
no secret; `audit_seals.py` gives it rows, seals and what their signatures say.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from groupspaces.db.batch import Row, Value

# What a signature says: "seal" vouches for everything before, "anew" does not (the seal before was signed with a secret this
# deployment does not have), "cut" says that the deployment itself has forgotten what is older.
Word = Literal["seal", "anew", "cut"]
WORDS: tuple[Word, ...] = ("seal", "anew", "cut")
What = Literal["changed", "removed", "added", "signature"]


class Problem(msgspec.Struct, frozen=True):
    """The first thing that is wrong, with the entries after `after_id` up to `until_id`.

    `what` is "changed" (an entry or its seal), "removed" or "added" (entries), or "signature" (none of our secrets has sealed them).
    """

    after_id: int
    until_id: int
    what: What


class Seal(NamedTuple):
    """One row of `audit_seal`: it covers the entries after the seal before up to `last_id`, the newest of them written at `at_ms`."""

    last_id: int
    at_ms: int
    entries: int
    digest: bytes
    signature: bytes


class Chain:
    """A digest in the making: SHA-256 over the digest before, the entries in their order, and what the seal says of itself."""

    def __init__(self, before: bytes) -> None:
        self._hash = hashlib.sha256(before)
        self.entries = 0

    def take(self, rows: Iterable[Row]) -> None:
        """Add entries, the oldest first: id, at_ms, actor_id, then all other columns, texts as bytes. About 4 µs each."""
        for row in rows:
            self._hash.update(_canonical(row))
            self.entries += 1

    def digest(self, last_id: int, at_ms: int) -> bytes:
        """Return the digest of a seal over what was added."""
        whole = self._hash.copy()
        whole.update(_canonical((last_id, at_ms, self.entries)))
        return whole.digest()


class Check:
    """Entries and seals side by side, the oldest first. `problem` is the first that was found for sure."""

    def __init__(self, word_of: Callable[[Seal], Word | None], *, after: Seal | None = None) -> None:
        """`word_of` says what a seal's signature says, None when it is of no secret of ours. What `after` covers has been forgotten."""
        self._word_of = word_of
        self._chain = Chain(after.digest if after else b"")
        self._expected: deque[Seal] = deque()
        self._unsigned: Problem | None = None
        self.last_id = after.last_id if after else 0
        self.entries = 0
        self.problem: Problem | None = None

    def expect(self, seals: Sequence[Seal]) -> None:
        """Take the next seals."""
        self._expected.extend(seals)

    def take(self, rows: Sequence[Row], *, is_end: bool) -> None:
        """Take the next entries, none after the last seal that is expected; with `is_end` there are no more up to that."""
        for row in rows:
            while self._expected and int(str(row[0])) > self._expected[0].last_id:
                self._close(self._expected.popleft())
            self._chain.take((row,))
        while is_end and self._expected:
            self._close(self._expected.popleft())

    def verdict(self) -> Problem | None:
        """Say what is wrong when there is nothing left to take: also a seal of an unknown secret that no later one vouches for."""
        return self.problem or self._unsigned

    def _close(self, seal: Seal) -> None:
        """Compare a seal with the entries since the one before."""
        if self.problem is None:
            self.problem = self._wrong_with(seal)
        self.entries += self._chain.entries
        self.last_id = seal.last_id
        self._chain = Chain(seal.digest)

    def _wrong_with(self, seal: Seal) -> Problem | None:
        counted = self._chain.entries
        if counted != seal.entries:
            return Problem(self.last_id, seal.last_id, "removed" if counted < seal.entries else "added")
        if self._chain.digest(seal.last_id, seal.at_ms) != seal.digest:
            return Problem(self.last_id, seal.last_id, "changed")
        word = self._word_of(seal)
        if word is None:
            self._unsigned = self._unsigned or Problem(self.last_id, seal.last_id, "signature")
        elif word == "anew":
            return self._unsigned
        else:
            self._unsigned = None
        return None


def _canonical(values: Iterable[Value]) -> bytes:
    """Return the one spelling of a row: each value with its kind and length, so that no two rows share one."""
    return b"".join(map(_spelled, values)) + b"\n"


def _spelled(value: Value) -> bytes:
    match value:
        case None:
            return b"n"
        case int():
            return b"i%d;" % value
        case bytes():
            return b"t%d:%b;" % (len(value), value)
        case _:
            # The tables are STRICT: nothing else can be stored in them.
            raise TypeError(f"no entry of the audit record holds a {type(value).__name__}")
