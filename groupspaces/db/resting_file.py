"""A database file that nobody serves: looked at, judged, copied, marked.

Owns opening one without changing it, saying why a file is no database of ours, damaged, or of another schema, and in whose words a disk
that is full or cannot be written is told. The caller has claimed the data folder. Everything here blocks, `judge` and `copy` for as long as
reading the whole file takes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import apsw

from groupspaces.errors import DatabaseRefused

from . import migrate
from .batch import Row, Statement
from .folder import FolderError, fsync
from .moved import MADE_BY_US, MARKS_SQL, Marks, marks_of

_ORIGIN_SQL = "SELECT value FROM deployment WHERE name = 'origin'"
_NAMES_SQL = f"SELECT type, name FROM sqlite_schema WHERE type IN ('table', 'trigger') AND {MADE_BY_US}"
_BUSY_TIMEOUT_MS = 5_000
# A copy takes as much as there is; beginning an epoch in it, or settling what it replaces, needs a little more.
_ROOM_BYTES = 16 * 1024 * 1024
_SIDECARS = ("-journal", "-wal", "-shm")
_IF_DAMAGED = "Restore it from a backup first."
_IF_OLDER = "Bring it up to date first: run `groupspaces migrate up` without TURSO_CONNECTION_URL."


class RestingFile:
    """Read one file; use it as a context. Raises DatabaseRefused for a file that cannot be read as a database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise DatabaseRefused(f"There is no database {path}.")
        try:
            self.connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self.connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except apsw.Error as error:
            raise DatabaseRefused(f"{path} cannot be read as a database: {error}.") from error

    def __enter__(self) -> RestingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def rows(self, sql: str, params: tuple[Any, ...] = ()) -> list[Row]:
        """Read. Raises apsw.Error."""
        return cast("list[Row]", self.connection.execute(sql, params).fetchall())

    def judge(self, *, if_damaged: str = _IF_DAMAGED, if_older: str = _IF_OLDER) -> None:
        """Raise DatabaseRefused, saying what can be done, unless this is a whole database of exactly this version's schema."""
        try:
            self._judge_schema(if_older)
            [(found,)] = self.rows("PRAGMA quick_check(1)")
        except apsw.Error as error:
            raise DatabaseRefused(f"{self.path} is damaged: {error}. {if_damaged}") from error
        if found != "ok":
            raise DatabaseRefused(f"{self.path} is damaged: {found!s}. {if_damaged}")

    def marks(self) -> Marks:
        """Return its marks of moves."""
        return marks_of(self.rows(MARKS_SQL))

    def origin(self) -> str:
        """Return the name of the family of histories it belongs to."""
        [(origin,)] = self.rows(_ORIGIN_SQL)
        return str(origin)

    def triggers(self) -> list[tuple[str, str]]:
        """Return names and SQL of its triggers."""
        found = self.rows("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name")
        return [(str(name), str(sql)) for name, sql in found]

    def _judge_schema(self, if_older: str) -> None:
        exists_sql, applied_sql = migrate.ledger_sql()
        if not self.rows(exists_sql):
            raise DatabaseRefused(f"{self.path} is not a database of Group Spaces.")
        try:
            status = migrate.status_of(self.rows(applied_sql))
        except migrate.SchemaError as error:
            raise DatabaseRefused(f"{self.path}: {error}") from error
        if status.pending or status.version != len(migrate.known()):
            raise DatabaseRefused(
                f"{self.path} has schema {status.version}, this version has {len(migrate.known())}. {if_older}"
            )
        ours = _known_names()
        others = sorted(str(name) for kind, name in self.rows(_NAMES_SQL) if (kind, name) not in ours)
        if others:
            raise DatabaseRefused(f"{self.path} holds what Group Spaces did not make: {', '.join(others)}.")


def write(path: Path, *statements: Statement) -> None:
    """Commit statements to a file, durably and all or none. Raises FolderError, and DatabaseRefused for a damaged or busy file."""
    with told(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            connection.pragma("synchronous", "FULL")
            # Not as `with connection`: on a full disk SQLite has rolled back by itself, and doing so again would be the error told.
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement.sql, tuple(statement.params))
            connection.execute("COMMIT")
        finally:
            connection.close()


def flaws(path: Path) -> list[str]:
    """Look at every page and every reference of a file, and return what is wrong, as SQLite says it; nothing for a whole one."""
    try:
        with RestingFile(path) as file:
            found = [str(row[0]) for row in file.rows("PRAGMA integrity_check(5)") if row != ("ok",)]
            broken = {str(row[0]) for row in file.rows("PRAGMA foreign_key_check")}
    except (apsw.Error, DatabaseRefused) as error:
        return [str(error)]
    return [*found, *(f"rows of {table} refer to rows that are not there" for table in sorted(broken))]


def settle(path: Path) -> None:
    """Bring everything into the file itself, so that it can be moved without its log. Raises like `write`."""
    with told(path):
        connection = apsw.Connection(str(path))
        try:
            connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
            connection.pragma("journal_mode", "DELETE")
        finally:
            connection.close()


def require_room(source: Path, folder: Path) -> None:
    """Raise FolderError where a copy of a file would not fit."""
    wal = source.with_name(f"{source.name}-wal")
    needed = source.stat().st_size + (wal.stat().st_size if wal.exists() else 0) + _ROOM_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FolderError(f"{folder} has room for {free // 10**6} MB; {needed // 10**6} MB are needed.")


class Copying:
    """Copy a file as it stands at one moment, also while somebody else writes to it; another thread may `stop` it."""

    def __init__(self, source: Path, copy: Path) -> None:
        self._source = source
        self._copy = copy
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write the copy, durably, in the place of what is left of one. Raises FolderError, and DatabaseRefused for a damaged source."""
        with told(self._copy):
            discard(self._copy)
            require_room(self._source, self._copy.parent)
            try:
                with RestingFile(self._source) as file:
                    file.connection.set_progress_handler(self._stopped.is_set, 10_000)
                    file.connection.execute("VACUUM INTO ?", (str(self._copy),))
                self._copy.chmod(0o600)
                fsync(self._copy)
            except BaseException:
                discard(self._copy)
                raise

    def stop(self) -> None:
        """Make `run` end soon, without a copy."""
        self._stopped.set()


def discard(path: Path) -> None:
    """Remove a file and what SQLite keeps beside it; a journal that stayed would be taken for the next one's."""
    for suffix in (*_SIDECARS, ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell what SQLite could not do as what it means to whoever runs a command."""
    try:
        yield
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise FolderError(
            f"{path} cannot be written: {error}. Free some room on that disk, or mend its permissions."
        ) from error
    except OSError as error:
        raise FolderError(f"{path} cannot be written: {error.strerror}.") from error
    except (apsw.BusyError, apsw.LockedError) as error:
        raise DatabaseRefused(f"{path} is in use by another program: {error}. Stop that one.") from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise DatabaseRefused(f"{path} is damaged: {error}. {_IF_DAMAGED}") from error


def _known_names() -> set[Row]:
    scratch = apsw.Connection(":memory:")
    try:
        scratch.execute(migrate.script())
        return cast("set[Row]", set(scratch.execute(_NAMES_SQL).fetchall()))
    finally:
        scratch.close()
