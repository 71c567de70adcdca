"""What is really in the files, once nobody writes to them: integrity, and the rows of every table.

Files are read with APSW from a copy, so that looking changes nothing about what is looked at.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from tests.support.server import Server
from tests.support.sqld import Sqld

Rows = list[tuple[Any, ...]]

# Written by heartbeats and outside the feed: two files at the same position may differ in them.
OPERATIONAL = ("instance", "lease")


def local_file(server: Server) -> Path:
    """Return the database of a standalone instance."""
    return server.data_folder / "groupspaces.db"


def replica_file(server: Server) -> Path:
    """Return the replica that an instance serves from."""
    folder = server.data_folder / "replica"
    return folder / (folder / "current").read_text().strip() / "replica.db"


def primary_file(sqld: Sqld) -> Path:
    """Return the database of a primary."""
    return sqld.database_folder / "dbs" / "default" / "data"


def damage(path: Path) -> list[str]:
    """Return what SQLite finds wrong with a file: nothing, when it is whole and its foreign keys hold."""
    with _copied(path) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        broken = [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    return [text for text in found if text != "ok"] + broken


def rows(path: Path, sql: str, params: Sequence[Any] = ()) -> Rows:
    """Run one query."""
    with _copied(path) as connection:
        return list(connection.execute(sql, tuple(params)))


def tables(path: Path) -> dict[str, Rows]:
    """Return all rows of all tables that the feed tells of, in a fixed order."""
    with _copied(path) as connection:
        names = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' "
            "AND name NOT LIKE 'libsql_%' AND name NOT LIKE '\\_litestream%' ESCAPE '\\' ORDER BY name"
        )
        return {
            str(name): sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr)
            for (name,) in list(names)
            if name not in OPERATIONAL
        }


@contextmanager
def _copied(path: Path) -> Iterator[apsw.Connection]:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.db"
        shutil.copyfile(path, copy)
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists():
            shutil.copyfile(wal, copy.with_name("copy.db-wal"))
        connection = apsw.Connection(str(copy))
        try:
            yield connection
        finally:
            connection.close()
