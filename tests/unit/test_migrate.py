"""Migrations on the standalone primary; the same on sqld is in tests/integration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from groupspaces.db import migrate
from groupspaces.db.local_primary import LocalPrimary

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


@pytest.fixture
async def primary(tmp_path: Path) -> AsyncIterator[LocalPrimary]:
    primary = LocalPrimary(tmp_path / "test.db", on_commit=lambda: None)
    await primary.start()
    yield primary
    await primary.close()


async def test_up_down_and_up_again_leave_the_same_schema(primary: LocalPrimary) -> None:
    applied = await migrate.up(primary)
    assert applied == list(migrate.known())
    before = await primary.read("SELECT name, sql FROM sqlite_schema ORDER BY name")
    undone = await migrate.down(primary, steps=len(applied))
    assert [m.version for m in undone] == [m.version for m in reversed(applied)]
    assert await primary.read(_TABLES) == [("migration",)]
    await migrate.up(primary)
    assert await primary.read("SELECT name, sql FROM sqlite_schema ORDER BY name") == before


async def test_schema_sql_is_what_the_migrations_make(primary: LocalPrimary) -> None:
    await migrate.up(primary)
    snapshot = Path(migrate.__file__).with_name("schema.sql").read_text("utf-8")
    assert snapshot == await migrate.schema(primary), (
        "run: groupspaces migrate schema > groupspaces/db/schema.sql"
    )


async def test_each_step_moves_the_feed(primary: LocalPrimary) -> None:
    await migrate.up(primary)
    rows = await primary.read("SELECT subject_id FROM change WHERE kind = 'schema.migrated' ORDER BY seq")
    assert rows == [(migration.version,) for migration in migrate.known()]


async def test_up_twice_at_once_applies_each_once(primary: LocalPrimary) -> None:
    done = await asyncio.gather(migrate.up(primary), migrate.up(primary))
    assert sorted(m.version for m in [*done[0], *done[1]]) == [m.version for m in migrate.known()]
    assert (await migrate.status(primary)).pending == ()


async def test_edited_history_is_refused(primary: LocalPrimary) -> None:
    await migrate.up(primary)
    await primary.sequence("UPDATE migration SET checksum = 'other' WHERE version = 2")
    with pytest.raises(migrate.SchemaError, match="0002_accounts was edited"):
        await migrate.status(primary)


@pytest.mark.parametrize(("readable_by", "refused"), [(999, True), (1, False)])
async def test_a_newer_schema_is_served_only_if_it_says_so(
    primary: LocalPrimary, readable_by: int, refused: bool
) -> None:
    await migrate.up(primary)
    await primary.sequence(f"INSERT INTO migration VALUES (999, 'later', 'x', {readable_by}, 0)")
    if not refused:
        assert (await migrate.status(primary)).version == 999
        return
    with pytest.raises(migrate.SchemaError, match="newer version"):
        await migrate.status(primary)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("1_short.sql", "-- readable-by: 1\n-- up\n-- down\n"),
        ("0001_x.sql", "-- up\nSELECT 1;\n-- down\n"),
        ("0001_x.sql", "-- readable-by: 1\n-- up\nSELECT 1;\n"),
        ("0001_x.sql", "-- readable-by: 1\n-- down\n-- up\n"),
    ],
)
def test_a_malformed_file_is_named(name: str, text: str) -> None:
    with pytest.raises(migrate.SchemaError, match=name):
        migrate.parse(name, text)
