"""Migrations: numbered files, applied on the primary only, one transaction each.

Owns the files in `migrations/` (`NNNN_name.sql`: `-- readable-by: N`, `-- up`, `-- down`), their checksums and the ledger table
`migration`. Refuses edited history, and a schema newer than this app unless its `readable-by` allows our version.
Never runs by itself: `Database.open` and `groupspaces migrate` decide when.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Protocol

from groupspaces.errors import DatabaseRefused, SettingsError

from .batch import Row, SequenceFailed
from .changes import NOW_MS

LEDGER_SQL = """CREATE TABLE IF NOT EXISTS migration (
  version INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  readable_by INTEGER NOT NULL,
  applied_at_ms INTEGER NOT NULL
) STRICT;
"""
_LEDGER_EXISTS_SQL = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migration'"
_APPLIED_SQL = (
    "SELECT version, name, checksum, readable_by, applied_at_ms FROM migration ORDER BY version LIMIT 10000"
)
_SCHEMA_SQL = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid LIMIT 10000"
# Rows on their way elsewhere are of one schema: neither end may get another one meanwhile, whoever asks.
_MARKED_SQL = "SELECT 1 FROM deployment WHERE name IN ('moving', 'moved_to')"
_UNMARKED_SQL = "SELECT json('moving') FROM deployment WHERE name IN ('moving', 'moved_to');\n"
_MARKABLE_SQL = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'deployment'"
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class SchemaError(SettingsError):
    """The schema of the primary and the migrations of this app do not fit together."""


class Primary(Protocol):
    """What migrating needs of either primary."""

    async def read(self, sql: str, params: tuple[()] = ()) -> list[Row]: ...
    async def sequence(self, sql: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`; `readable_by` is the oldest schema version whose app may serve this schema."""

    version: int
    name: str
    checksum: str
    readable_by: int
    up: str
    down: str

    @property
    def label(self) -> str:
        """The file's name without its ending."""
        return f"{self.version:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of the ledger."""

    version: int
    name: str
    checksum: str
    readable_by: int
    applied_at_ms: int


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a database stands: `version` is 0 for an empty one."""

    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]

    @property
    def version(self) -> int:
        """The newest applied migration."""
        return self.applied[-1].version if self.applied else 0


@cache
def known() -> tuple[Migration, ...]:
    """Return this app's migrations in order. Raises `SchemaError` when a file is malformed or a number is missing."""
    folder = resources.files(__package__) / "migrations"
    files = sorted(
        (entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql")
    )
    migrations = tuple(parse(name, text) for name, text in files)
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise SchemaError(
                f"Migration {expected:04d} is missing: found {migration.version:04d}_{migration.name}."
            )
    return migrations


def parse(file_name: str, text: str) -> Migration:
    """Read one migration file. Raises `SchemaError` naming what is missing in it."""
    match = _FILE_NAME.fullmatch(file_name)
    readable_by = re.search(r"^-- readable-by: (\d+)$", text, re.MULTILINE)
    sections = re.split(r"^-- (up|down)$", text, flags=re.MULTILINE)
    if match is None or readable_by is None or sections[1::2] != ["up", "down"]:
        raise SchemaError(
            f"{file_name} must be named NNNN_name.sql and hold '-- readable-by: N', '-- up' and '-- down'."
        )
    checksum = hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()
    return Migration(
        int(match[1]),
        match[2],
        checksum,
        int(readable_by[1]),
        sections[2].strip() + "\n",
        sections[4].strip() + "\n",
    )


def begin(name: str) -> Path:
    """Write the skeleton of the next migration and return its path. Raises `SchemaError` for a name that is not one."""
    version = len(known()) + 1
    path = Path(__file__).with_name("migrations") / f"{version:04d}_{name}.sql"
    if not _FILE_NAME.fullmatch(path.name):
        raise SchemaError(f"{name!r} is no name for a migration: use lower-case letters, digits and _.")
    path.write_text(f"-- Say what this is for.\n-- readable-by: {version}\n-- up\n\n-- down\n\n", "utf-8")
    return path


async def status(primary: Primary) -> SchemaStatus:
    """Compare the ledger with this app's files (2 reads). Raises `SchemaError` on edited history or a newer schema."""
    if not await primary.read(_LEDGER_EXISTS_SQL):
        return SchemaStatus((), known())
    return status_of(await primary.read(_APPLIED_SQL))


def status_of(ledger: list[Row]) -> SchemaStatus:
    """Judge ledger rows (as `_APPLIED_SQL` returns them). Raises `SchemaError` like `status`."""
    applied = tuple(Applied(*row) for row in ledger)  # type: ignore[arg-type]
    ours = {migration.version: migration for migration in known()}
    for row in applied:
        migration = ours.get(row.version)
        if migration is None:
            _refuse_newer(row, len(ours))
        elif migration.checksum != row.checksum:
            raise SchemaError(
                f"Migration {row.version:04d}_{row.name} was edited after it was applied (checksum "
                f"{migration.checksum[:12]}, applied {row.checksum[:12]}). Restore the file and write a new migration."
            )
    done = {row.version for row in applied}
    return SchemaStatus(applied, tuple(m for m in known() if m.version not in done))


async def schema(primary: Primary) -> str:
    """Return the schema as it stands, as SQL; `db/schema.sql` is a checked copy of it."""
    rows = await primary.read(_SCHEMA_SQL)
    return (
        "-- Made by `groupspaces migrate schema`; a test says when it is stale.\n\n"
        + "\n\n".join(f"{row[0]!s};" for row in rows)
        + "\n"
    )


def ledger_sql() -> tuple[str, str]:
    """Return the SQL that tells whether there is a ledger, and the SQL that reads it."""
    return _LEDGER_EXISTS_SQL, _APPLIED_SQL


def _refuse_newer(row: Applied, our_version: int) -> None:
    if row.readable_by > our_version:
        raise SchemaError(
            f"The database has schema {row.version:04d}_{row.name}, which an app with schema {our_version} cannot serve "
            f"(it needs at least {row.readable_by}). Start the newer version of Group Spaces, or roll the schema back with it."
        )


BeforeChange = Callable[[], Awaitable[None]]


async def up(primary: Primary, *, before: BeforeChange | None = None) -> list[Migration]:
    """Apply every pending migration, one transaction each; return those applied.

    `before` is awaited first where there are some, unless the database is new.

    Two instances may do this at once: the ledger's primary key lets one of them win each step, the other goes on. Raises DatabaseRefused
    for a database that is half moved or moved away.
    """
    done: list[Migration] = []
    found = await status(primary)
    if found.pending and found.applied and before is not None:
        await before()
    for migration in found.pending:
        try:
            await primary.sequence(_up_script(migration))
        except SequenceFailed as error:
            await _refuse_marked(primary, error)
            if migration.version not in {row.version for row in (await status(primary)).applied}:
                raise
        else:
            done.append(migration)
    return done


def script(*, up_to: int | None = None) -> str:
    """Return the whole schema of a version, by default the newest, as one script for an empty database: ledger and first rows included."""
    return "".join(_up_script(migration) for migration in known()[:up_to])


async def newest(primary: Primary, *, steps: int) -> list[Migration]:
    """Return the newest `steps` applied migrations, newest first. Raises `SchemaError` for one this app does not know."""
    ours = {migration.version: migration for migration in known()}
    applied = (await status(primary)).applied[-steps:]
    for row in applied:
        if row.version not in ours:
            raise SchemaError(
                f"Migration {row.version:04d}_{row.name} is not known here: use the newer version."
            )
    return [ours[row.version] for row in reversed(applied)]


async def down(primary: Primary, *, steps: int = 1) -> list[Migration]:
    """Undo the newest `steps` (at least 1) migrations, one transaction each; return them. What they stored is lost.

    Raises DatabaseRefused like `up`.
    """
    undone = await newest(primary, steps=steps)
    for migration in undone:
        try:
            await primary.sequence(_down_script(migration))
        except SequenceFailed as error:
            await _refuse_marked(primary, error)
            raise
    return undone


async def _refuse_marked(primary: Primary, cause: SequenceFailed) -> None:
    if await primary.read(_MARKABLE_SQL) and await primary.read(_MARKED_SQL):
        raise DatabaseRefused(
            "This database takes part in a move of all data, and keeps its schema until that has ended. Repeat `groupspaces db push` or "
            "`groupspaces db pull` where it was begun, or give the move up with `groupspaces db unmark`. Nothing was changed."
        ) from cause


def _up_script(migration: Migration) -> str:
    # The values are ours: digits, [a-z0-9_] and hex, so that quoting them is safe.
    unmarked = _UNMARKED_SQL if migration.version > 1 else ""
    return (
        f"{unmarked}{LEDGER_SQL}"
        f"INSERT INTO migration (version, name, checksum, readable_by, applied_at_ms) VALUES "
        f"({migration.version}, '{migration.name}', '{migration.checksum}', {migration.readable_by}, {NOW_MS});\n"
        f"{migration.up}"
        f"{_feed_row(migration)}"
    )


def _down_script(migration: Migration) -> str:
    keeps_feed = migration.version > 1
    return (
        f"{_UNMARKED_SQL}{migration.down}DELETE FROM migration WHERE version = {migration.version};\n"
        f"{_feed_row(migration) if keeps_feed else ''}"
    )


def _feed_row(migration: Migration) -> str:
    """A schema change moves the feed too: replicas fetch only when `seq` moved."""
    return (
        "INSERT INTO change (token, at_ms, audience, kind, subject_id, data) "
        f"VALUES (lower(hex(randomblob(8))), {NOW_MS}, 'nobody', 'schema.migrated', {migration.version}, '{{}}');\n"
    )
