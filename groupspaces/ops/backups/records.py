"""The table `backup`: which backups there are, on whose disk, and how their proofs went.

Owns its SQL. The record lives at the primary, so that every instance can say where the file is, also the one that has to go back to it when
the other is lost. Rows are few: retention keeps some dozens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import orjson

from groupspaces.db.batch import Read, Statement, Value
from groupspaces.db.changes import NOBODY, NOW_MS, record
from groupspaces.errors import Conflict, NotFound
from groupspaces.ops.backups.making import Made
from groupspaces.ops.backups.manifest import Manifest

KEPT, PROVED, REMOVED = "backup.kept", "backup.proved", "backup.removed"

_COLUMNS = """id, instance_id, reason, status, created_at_ms, duration_ms, file, size_bytes, sha256, is_encrypted, seq, epoch,
  schema_version, detail, proved_at_ms, proof, offsite_at_ms"""
_PAGE_SQL = f"SELECT {_COLUMNS} FROM backup WHERE id < ? ORDER BY id DESC LIMIT ?"
_ONE_SQL = f"SELECT {_COLUMNS} FROM backup WHERE id = ?"
_ALL_SQL = f"SELECT {_COLUMNS} FROM backup ORDER BY id DESC LIMIT 10000"
_KEEP_SQL = f"""INSERT INTO backup ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL)
ON CONFLICT (id) DO NOTHING"""
_FORGET_ALL_SQL = "DELETE FROM backup"
_PUT_SQL = f"INSERT INTO backup ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PROVE_SQL = f"UPDATE backup SET proved_at_ms = CASE WHEN ? THEN {NOW_MS} ELSE proved_at_ms END, proof = ? WHERE id = ?"
_OFFSITE_SQL = f"UPDATE backup SET offsite_at_ms = {NOW_MS} WHERE id = ?"
# The newest that is proved is never removed, whatever an instance that is behind believes to know of newer ones.
_REMOVE_SQL = """DELETE FROM backup WHERE id = ? AND (
  ? OR id IS NOT (SELECT max(id) FROM backup WHERE proved_at_ms IS NOT NULL AND status = 'done'))"""
AFTER_ALL = "~"  # above every id


class Proof(msgspec.Struct, frozen=True):
    """How the newest proof of a backup went: `rto_ms` is how long it took from the archive to a message that somebody had signed in to read."""

    ok: bool
    at_ms: int
    rto_ms: int
    instance_id: str
    error: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One backup; `proved_at_ms` is when it was last proved to be good, `proof` how the newest attempt went."""

    id: str
    instance_id: str
    reason: str
    status: Literal["done", "failed"]
    created_at_ms: int
    duration_ms: int
    file: str
    size_bytes: int
    sha256: str
    is_encrypted: bool
    seq: int
    epoch: int
    schema_version: int
    detail: str = ""
    proved_at_ms: int | None = None
    proof: Proof | None = None
    offsite_at_ms: int | None = None


def of(made: Made, duration_ms: int, detail: str) -> Record:
    """Return the record of an archive that was made."""
    return _described(made.manifest, made, "done", duration_ms, detail)


def _described(
    manifest: Manifest, made: Made, status: Literal["done", "failed"], duration_ms: int, detail: str
) -> Record:
    return Record(
        id=manifest.id,
        instance_id=manifest.instance_id,
        reason=manifest.reason,
        status=status,
        created_at_ms=manifest.created_at_ms,
        duration_ms=duration_ms,
        file=made.file,
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        is_encrypted=made.is_encrypted,
        seq=manifest.seq,
        epoch=manifest.epoch,
        schema_version=manifest.schema_version,
        detail=detail,
    )


# --- reading ---


async def page(read: Read, *, before_id: str, limit: int) -> list[Record]:
    """List backups, the newest first."""
    return [_record(*row) for row in await read(_PAGE_SQL, (before_id, limit))]


async def everything(read: Read) -> list[Record]:
    """List all backups, the newest first."""
    return [_record(*row) for row in await read(_ALL_SQL, ())]


async def one(read: Read, backup_id: str) -> Record:
    """Return one. Raises NotFound."""
    rows = await read(_ONE_SQL, (backup_id,))
    if not rows:
        raise NotFound("There is no such backup.")
    return _record(*rows[0])


# --- writing: statements for a batch ---


def keep(found: Record) -> list[Statement]:
    """Record a backup, once."""
    return [Statement(_KEEP_SQL, _values(found)[:14]), _told(KEPT, found.id)]


def replace(found: Sequence[Record]) -> list[Statement]:
    """Put these records in the place of all there are: after a restore, which brings those of its own time."""
    return [
        Statement(_FORGET_ALL_SQL),
        *(Statement(_PUT_SQL, _values(one)) for one in found),
        _told(KEPT, ""),
    ]


def prove(backup_id: str, proof: Proof) -> list[Statement]:
    """Record how a proof went."""
    gone = NotFound("This backup was removed meanwhile.")
    return [
        Statement(_PROVE_SQL, (proof.ok, _text(proof), backup_id), refused=gone),
        _told(PROVED, backup_id),
    ]


def keep_offsite(backup_id: str) -> list[Statement]:
    """Record that a copy is in object storage. Refused for one that is gone."""
    gone = NotFound("This backup was removed meanwhile.")
    return [Statement(_OFFSITE_SQL, (backup_id,), refused=gone), _told(KEPT, backup_id)]


def remove(backup_id: str, *, even_if_last: bool) -> list[Statement]:
    """Forget a backup. Refused for the newest that is proved, unless `even_if_last`, and for one that is gone."""
    refused = Conflict(
        "This is the newest backup that is proved: it stays until a newer one is.", code="LAST_PROVED"
    )
    return [
        Statement(_REMOVE_SQL, (backup_id, int(even_if_last)), refused=refused),
        _told(REMOVED, backup_id),
    ]


def _values(found: Record) -> list[Value]:
    facts: list[Any] = [getattr(found, name) for name in Record.__struct_fields__]
    return [
        _text(fact) if isinstance(fact, Proof) else int(fact) if isinstance(fact, bool) else fact
        for fact in facts
    ]


def _text(proof: Proof) -> str:
    return orjson.dumps(msgspec.to_builtins(proof)).decode()


def _told(kind: str, backup_id: str) -> Statement:
    return record(kind, actor_id=None, audience=NOBODY, data={"id": backup_id})


def _record(*row: Any) -> Record:
    facts: dict[str, Any] = dict(zip(Record.__struct_fields__, row, strict=True))
    facts["is_encrypted"] = bool(facts["is_encrypted"])
    if facts["proof"] is not None:
        facts["proof"] = orjson.loads(facts["proof"])
    return msgspec.convert(facts, Record)
