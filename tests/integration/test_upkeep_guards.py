"""What is refused about backups and in maintenance, on either primary: a good write and a refused one that travel together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOBODY, record
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.migrate import up
from groupspaces.db.remote_primary import RemotePrimary
from groupspaces.errors import AppError, NotFound
from groupspaces.ops.backups import records
from groupspaces.ops.backups.records import Proof, Record
from groupspaces.web import maintenance
from tests.support.remote import connected
from tests.support.sqld import Sqld

Primary = LocalPrimary | RemotePrimary

_PERSON = """INSERT INTO user (id, email, password_hash, name, username, is_operator, suspended_at_ms, created_at_ms)
VALUES (?, ?, '', '', ?, ?, ?, 0)"""
OPERATOR, MEMBER, FORMER = 1, 2, 3


@pytest_asyncio.fixture(params=["file", pytest.param("sqld", marks=pytest.mark.sqld)])
async def primary(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Primary]:
    """Both primaries, with an operator, somebody, and an operator who is suspended."""
    async with AsyncExitStack() as stack:
        found: Primary
        if request.param == "sqld":
            sqld: Sqld = request.getfixturevalue("sqld")
            found = await stack.enter_async_context(connected(sqld.url))
        else:
            found = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None)
            await found.start()
            stack.push_async_callback(found.close)
        await up(found)
        people = ((OPERATOR, 1, None), (MEMBER, 0, None), (FORMER, 1, 1))
        await found.write(
            Batch(
                [
                    Statement(_PERSON, (person, f"p{person}@example.org", f"p{person}", operator, suspended))
                    for person, operator, suspended in people
                ]
            )
        )
        yield found


def backup(number: int) -> Record:
    return Record(
        id=f"20260101T00000{number}Z-abcdef",
        instance_id="a",
        reason="by hand",
        status="done",
        created_at_ms=number,
        duration_ms=1,
        file=f"{number}.tar.zst",
        size_bytes=1,
        sha256="",
        is_encrypted=False,
        seq=1,
        epoch=1,
        schema_version=9,
    )


async def together(primary: Primary, *batches: Batch) -> list[str]:
    """Write batches at once; return "done" or the code of the refusal for each."""
    found = await asyncio.gather(*(primary.write(batch) for batch in batches), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, AppError):
            raise one
    return [one.code if isinstance(one, AppError) else "done" for one in found]


async def kept(primary: Primary) -> list[str]:
    return [str(row[0]) for row in await primary.read("SELECT id FROM backup ORDER BY id")]


async def test_the_newest_proved_backup_stays_while_others_go(primary: Primary) -> None:
    first, second, third = backup(1), backup(2), backup(3)
    proof = Proof(ok=True, at_ms=1, rto_ms=1, instance_id="a")
    await primary.write(
        Batch(
            [
                *records.keep(first),
                *records.keep(second),
                *records.keep(third),
                *records.prove(second.id, proof),
            ]
        )
    )
    assert await together(
        primary,
        Batch(records.remove(first.id, even_if_last=False)),
        Batch(records.remove(second.id, even_if_last=False)),
        Batch(records.remove(third.id, even_if_last=False)),
    ) == ["done", "LAST_PROVED", "done"]
    assert await kept(primary) == [second.id]
    [(told,)] = await primary.read("SELECT count(*) FROM change WHERE kind = 'backup.removed'")
    assert told == 2, "what is refused is told to nobody"
    assert await together(primary, Batch(records.remove(second.id, even_if_last=True))) == ["done"]


async def test_a_backup_is_recorded_once_and_a_proof_needs_one(primary: Primary) -> None:
    one, gone = backup(1), backup(2)
    proof = Proof(ok=False, at_ms=1, rto_ms=0, instance_id="a", error="cut off")
    await primary.write(Batch(records.keep(one)))
    assert await together(
        primary,
        Batch(records.keep(one)),
        Batch(records.prove(gone.id, proof)),
        Batch(records.prove(one.id, proof)),
    ) == ["done", NotFound.default_code, "done"]
    [(proved_at_ms, text)] = await primary.read("SELECT proved_at_ms, proof FROM backup")
    assert proved_at_ms is None, "a failed proof proves nothing"
    assert "cut off" in str(text)


async def test_in_maintenance_only_operators_who_stand_write(primary: Primary) -> None:
    def said(person: int | None) -> Batch:
        told = record("test.said", actor_id=person, audience=NOBODY)
        return Batch([told], requires=[maintenance.requirement(person)])

    assert await together(primary, said(MEMBER), said(None)) == ["done", "done"]
    await primary.write(
        Batch([Statement("INSERT INTO maintenance (id, message, since_ms) VALUES (1, 'soon', 0)")])
    )
    assert await together(primary, said(MEMBER), said(OPERATOR), said(FORMER), said(None)) == [
        "MAINTENANCE",
        "done",
        "MAINTENANCE",
        "MAINTENANCE",
    ]
    assert [
        row[0]
        for row in await primary.read("SELECT actor_id FROM change WHERE kind = 'test.said' ORDER BY seq")
    ] == [
        MEMBER,
        None,
        OPERATOR,
    ]
