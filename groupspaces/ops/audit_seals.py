"""Seals on the audit record: whoever changes what was done, behind the server's back, leaves a broken one.

Owns the table `audit_seal`. Each seal covers the entries after the one before, up to `last_id`: its digest is SHA-256 over the
digest before, those entries, and what the seal says of itself; its signature an HMAC over the digest with the deployment's secret,
which is not in the database. So a forger has to make all later seals anew, and cannot sign them. What nobody can see from the
database alone is that the *newest* entries with their seals are gone: each seal is therefore logged, with its digest.

A signature also says what was known when it was made: "seal" vouches for everything before, "anew" does not (the seal before
was signed with a secret this deployment does not have), and "cut" says that the deployment itself has forgotten what is older.
Entries are written by `web/origin.py`; nothing here changes one.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

import msgspec

from groupspaces.db.batch import Batch, Row, Statement, Value, Write
from groupspaces.db.changes import NOW_MS
from groupspaces.db.database import Database
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import Conflict
from groupspaces.logging_context import log
from groupspaces.ops.audit_chain import WORDS, Chain, Check, Problem, Seal, Word
from groupspaces.ops.conditions import Conditions
from groupspaces.signing import Signer
from groupspaces.times import rfc3339

BROKEN = "audit_broken"

_log = logging.getLogger("groupspaces.audit")

# A run stays short, and each seal too, so that forgetting can end between any two.
_ROWS_A_SEAL, _SEALS_A_RUN = 1_000, 20
_ROWS_A_CUT, _CUTS_A_RUN = 2_000, 20
_ROWS_AT_ONCE, _SEALS_AT_ONCE = 2_000, 500
_READ_DEADLINE_S = 10.0
# How often a check begins anew because entries were forgotten meanwhile.
_CHECKS = 3

# Texts as bytes: whatever somebody has put there, it is digested and never decoded.
_ROWS_SQL = """SELECT id, at_ms, actor_id, CAST(instance_id AS BLOB), CAST(action AS BLOB), CAST(subject AS BLOB),
  CAST(data AS BLOB), CAST(address AS BLOB), space_id
FROM audit WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"""
_SEAL = "last_id, at_ms, entries, digest, signature"
_SEALS_SQL = f"SELECT {_SEAL} FROM audit_seal WHERE last_id > ? AND last_id <= ? ORDER BY last_id LIMIT ?"
_FIRST_SQL = f"SELECT {_SEAL} FROM audit_seal ORDER BY last_id LIMIT 1"
_NEWEST_SQL = f"SELECT {_SEAL} FROM audit_seal ORDER BY last_id DESC LIMIT 1"
_LEFT_BEHIND_SQL = "SELECT count(*) FROM audit WHERE id <= ?"
_UNSEALED_SQL = "SELECT count(*) FROM audit WHERE id > ?"

# Two that seal at the same time cannot both: the seal before must be the newest still, and the entries all be there.
_INSERT_SQL = f"""
INSERT INTO audit_seal ({_SEAL}) SELECT ?, ?, ?, ?, ?
WHERE coalesce((SELECT max(last_id) FROM audit_seal), 0) = ?
  AND (SELECT count(*) FROM audit WHERE id > ? AND id <= ?) = ?"""
_SIGN_SQL = "UPDATE audit_seal SET signature = ? WHERE last_id = ? AND digest = ? AND signature = ?"
_FORGET_SEALS_SQL = "DELETE FROM audit_seal WHERE last_id < ?"
_FORGET_SQL = "DELETE FROM audit WHERE id <= ?"

_LAST_POSSIBLE_ID = 2**63 - 1


class Verdict(msgspec.Struct, frozen=True):
    """What came of a check. `entries` were checked; `sealed_until` is when the newest of them was written, `digest` that of its seal.

    Keep the digest elsewhere: a later record that does not contain it has lost its end. `unsealed` entries are younger than that.
    """

    ok: bool
    entries: int
    sealed_until: str | None
    unsealed: int
    digest: str | None
    problem: Problem | None


class AuditSeals:
    """Seal, check and forget. What it writes goes through the fence of the fleet's leader."""

    def __init__(self, db: Database, write_as_leader: Write, signer: Signer, conditions: Conditions) -> None:
        self._db = db
        self._write = write_as_leader
        self._signer = signer
        self._conditions = conditions

    # --- sealing ---

    async def seal(self) -> str | None:
        """Seal what is unsealed, a bounded piece, and return a line about it; None when there was nothing to do.

        Raises Conflict (`SEALED_ELSEWHERE`) when another instance did, and what the leader's writes raise.
        """
        await self._sign_anew()
        newest = await self._one(_NEWEST_SQL)
        sealed = 0
        for _ in range(_SEALS_A_RUN):
            rows = await self._rows(newest.last_id if newest else 0, _LAST_POSSIBLE_ID, _ROWS_A_SEAL)
            if not rows:
                break
            try:
                newest = await self._add(newest, rows)
            except Conflict:
                await self._fetch()
                raise
            sealed += len(rows)
        if not sealed:
            return None
        await self._fetch()
        return f"sealed {sealed}"

    async def _add(self, newest: Seal | None, rows: list[Row]) -> Seal:
        after_id, before = (newest.last_id, newest.digest) if newest else (0, b"")
        last_id, at_ms = int(str(rows[-1][0])), int(str(rows[-1][1]))
        chain = Chain(before)
        await asyncio.to_thread(chain.take, rows)
        digest = chain.digest(last_id, at_ms)
        word: Word = "seal" if newest is None or self._word_of(newest) else "anew"
        if word == "anew":
            self._conditions.set(
                BROKEN, True, f"The seal of entry {after_id} is signed with an unknown secret."
            )
        seal = Seal(last_id, at_ms, len(rows), digest, self._signature(word, digest))
        refused = Conflict("Another instance has sealed meanwhile.", code="SEALED_ELSEWHERE")
        params: tuple[Value, ...] = (*seal, after_id, after_id, last_id, len(rows))
        await self._write(Batch([Statement(_INSERT_SQL, params, refused=refused)]))
        log(_log, logging.INFO, "audit sealed", last_id=last_id, entries=len(rows), digest=digest.hex())
        return seal

    async def _sign_anew(self) -> None:
        """Sign both ends of the chain with the newest secret, while the one they were signed with still counts."""
        for sql in (_FIRST_SQL, _NEWEST_SQL):
            seal = await self._one(sql)
            word = self._word_of(seal) if seal else None
            if seal is not None and word is not None and self._secret_of(seal, word) != 0:
                params = (self._signature(word, seal.digest), seal.last_id, seal.digest, seal.signature)
                await self._write(Batch([Statement(_SIGN_SQL, params)]))

    async def signed_with(self) -> Literal["newest", "previous", "unknown"] | None:
        """Tell which of our secrets has signed the newest seal, and the first, which must hold as well; None without any."""
        found: list[int | None] = []
        for sql in (_FIRST_SQL, _NEWEST_SQL):
            seal = await self._one(sql)
            word = self._word_of(seal) if seal else None
            if seal is not None:
                found.append(self._secret_of(seal, word) if word else None)
        if not found:
            return None
        return "unknown" if None in found else "previous" if any(found) else "newest"

    # --- checking ---

    async def verify(self) -> Verdict:
        """Walk the whole record off the loop, and say what is wrong with it first; sets the condition `audit_broken`.

        Costs a read for each 2,000 entries and each 500 seals, and about 4 µs an entry. Raises Unavailable.
        """
        for _ in range(_CHECKS):
            first = await self._one(_FIRST_SQL)
            verdict = await self._verified(first)
            if verdict.ok or first == await self._one(_FIRST_SQL):
                break
        found = verdict.problem
        detail = f"Entries after {found.after_id} up to {found.until_id}: {found.what}." if found else ""
        self._conditions.set(BROKEN, not verdict.ok, detail)
        return verdict

    async def _verified(self, first: Seal | None) -> Verdict:
        newest = await self._one(_NEWEST_SQL)
        top = newest.last_id if newest else 0
        forgotten = first if first is not None and self._word_of(first) == "cut" else None
        check = Check(self._word_of, after=forgotten)
        if forgotten is not None and await self._count(_LEFT_BEHIND_SQL, forgotten.last_id):
            check.problem = Problem(0, forgotten.last_id, "added")
        while check.problem is None and check.last_id < top:
            seals = await self._seals(check.last_id, top)
            if not seals:
                break
            check.expect(seals)
            await self._walk(check, seals[-1].last_id)
        problem = check.verdict()
        return Verdict(
            ok=problem is None,
            entries=check.entries,
            sealed_until=rfc3339(newest.at_ms) if newest else None,
            unsealed=await self._count(_UNSEALED_SQL, top),
            digest=newest.digest.hex() if newest else None,
            problem=problem,
        )

    async def _walk(self, check: Check, until_id: int) -> None:
        after_id = check.last_id
        while check.problem is None:
            rows = await self._rows(after_id, until_id, _ROWS_AT_ONCE)
            is_end = len(rows) < _ROWS_AT_ONCE
            await asyncio.to_thread(check.take, rows, is_end=is_end)
            if is_end:
                return
            after_id = int(str(rows[-1][0]))

    # --- forgetting ---

    async def forget(self, retention_days: int) -> str:
        """Check the record, then forget whole sealed ranges that are older than that. Returns a line about it.

        A record that does not hold is kept as it is: what is missing or changed must not be covered up.
        """
        verdict = await self.verify()
        if verdict.problem is not None:
            return f"kept: {verdict.problem.what} after {verdict.problem.after_id}"
        forgotten = 0
        for _ in range(_CUTS_A_RUN):
            cut = await self._cut(retention_days)
            if not cut:
                break
            forgotten += cut
        return f"checked {verdict.entries}, forgot {forgotten}"

    async def _cut(self, retention_days: int) -> int:
        """Forget the oldest ranges together, at least one; return how many entries that were."""
        seals = await self._seals(0, _LAST_POSSIBLE_ID)
        now: Any = await self._db.read_primary(f"SELECT {NOW_MS}")
        old_before_ms = int(now[0][0]) - retention_days * DAY_MS
        last: Seal | None = None
        entries = 0
        for seal in seals:
            is_gone = seal is seals[0] and self._word_of(seal) == "cut"
            size = 0 if is_gone else seal.entries
            if seal.at_ms >= old_before_ms or (entries and entries + size > _ROWS_A_CUT):
                break
            entries += size
            last = seal
        if last is None or not entries:
            return 0
        gone = Conflict("Another instance has forgotten meanwhile.", code="SEALED_ELSEWHERE")
        params = (self._signature("cut", last.digest), last.last_id, last.digest, last.signature)
        statements = [
            Statement(_SIGN_SQL, params, refused=gone),
            Statement(_FORGET_SEALS_SQL, (last.last_id,)),
            Statement(_FORGET_SQL, (last.last_id,)),
        ]
        await self._write(Batch(statements))
        await self._fetch()
        return entries

    # --- signatures ---

    def _signature(self, word: Word, digest: bytes) -> bytes:
        return bytes.fromhex(self._signer.sign("audit", word.encode() + digest))

    def _secret_of(self, seal: Seal, word: Word) -> int | None:
        return self._signer.secret_of("audit", word.encode() + seal.digest, seal.signature.hex())

    def _word_of(self, seal: Seal) -> Word | None:
        return next((word for word in WORDS if self._secret_of(seal, word) is not None), None)

    # --- reading ---

    async def _fetch(self) -> None:
        """See here what was just written: seals are in no feed, whose movement alone would bring them."""
        await self._db.sync(force=True)

    async def _one(self, sql: str) -> Seal | None:
        row = await self._db.read_one(sql)
        return None if row is None else _seal_of(row)

    async def _rows(self, after_id: int, until_id: int, limit: int) -> list[Row]:
        return await self._db.read_slow(_ROWS_SQL, (after_id, until_id, limit), deadline_s=_READ_DEADLINE_S)

    async def _seals(self, after_id: int, until_id: int) -> list[Seal]:
        params = (after_id, until_id, _SEALS_AT_ONCE)
        rows = await self._db.read_slow(_SEALS_SQL, params, deadline_s=_READ_DEADLINE_S)
        return [_seal_of(row) for row in rows]

    async def _count(self, sql: str, last_id: int) -> int:
        rows: Any = await self._db.read_slow(sql, (last_id,), deadline_s=_READ_DEADLINE_S)
        return int(rows[0][0])


def _seal_of(row: Any) -> Seal:
    return Seal(*row)
