"""Portable dumps under test: databases to make them of, the same text with a line changed, and the programs of others that load them."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import apsw

from groupspaces.db import migrate, sql_dump, sql_load
from groupspaces.db.resting_file import Copying
from groupspaces.ops.backups import tables
from groupspaces.ops.backups.manifest import TableDigest
from tests.support.debian import install
from tests.support.filled import EVERY_TABLE, fill
from tests.support.process import clean_environment
from tests.support.sqld import Sqld

_T = TypeVar("_T")

# Not dumped: what instances say of themselves, and that people are asked to wait.
LEFT_OUT = {"instance", "lease", "maintenance"}


def full(path: Path, *, version: int | None = None) -> Path:
    """Make a database with rows in every table, as it rests; of an earlier version, with those that its migrations put there."""
    grown = path.with_name("grown.db")
    connection = apsw.Connection(str(grown))
    connection.execute(migrate.script(up_to=version)).fetchall()
    if version is None:
        connection.execute(EVERY_TABLE)
    connection.close()
    Copying(grown, path).run()
    return path


def odd(path: Path) -> Path:
    """Make a database with the values that get lost on the way, as it rests."""
    Copying(fill(path.with_name("odd.db")), path).run()
    return path


def ended(steps: Generator[Any, None, _T]) -> _T:
    """Do something to its end, and return what came of it."""
    try:
        while True:
            next(steps)
    except StopIteration as found:
        value: _T = found.value
        return value


def dumped(database: Path, out: Path) -> Path:
    """Dump a database, compressed where the name says so."""
    ended(sql_dump.write(database, out, compressed=out.suffix == ".gz", secret=""))
    return out


def loaded(dump: Path, database: Path) -> Path:
    """Read a dump."""
    ended(sql_load.read(dump, database))
    return database


def lines_of(dump: Path) -> list[bytes]:
    """Return the lines of a dump."""
    text = dump.read_bytes()
    return (gzip.decompress(text) if dump.suffix == ".gz" else text).splitlines(keepends=True)


def sealed(lines: list[bytes], dump: Path, *, rows: int | None = None) -> Path:
    """Write other lines as a dump whose last line is right about them; only the count is taken from the last one given, or from `rows`."""
    *lines, end = lines
    told = json.loads(end[3:])
    told |= {"sha256": hashlib.sha256(b"".join(lines)).hexdigest(), "rows": rows or told["rows"]}
    dump.write_bytes(b"".join(lines) + f"-- {json.dumps(told)}\n".encode())
    return dump


def digests(database: Path) -> dict[str, TableDigest]:
    """Return the digest of each table, `sqlite_schema` and `sqlite_sequence` among them."""
    found = {one.name: one for one in tables.digests(database) if isinstance(one, TableDigest)}
    return {name: one for name, one in found.items() if name not in LEFT_OUT}


def rows_left_out(database: Path) -> int:
    """Count the rows that no dump holds."""
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return sum(
            int(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]) for name in LEFT_OUT
        )
    finally:
        connection.close()


def sqlite3(database: str, sql: bytes) -> str:
    """Run SQL with Debian's `sqlite3`, and return what it printed. Raises RuntimeError with its words."""
    if shutil.which("sqlite3") is None:
        install("sqlite3")
    done = subprocess.run(["sqlite3", "-bail", database], input=sql, capture_output=True, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(done.stderr.decode())
    return done.stdout.decode()


def by_sqlite3(dump: Path, database: Path) -> Path:
    """Load a dump, as anybody would."""
    sqlite3(str(database), b"".join(lines_of(dump)))
    return database


def statements(dump: Path) -> Iterator[str]:
    """Cut a dump into statements as clients of a server do: at a semicolon that ends a line."""
    begun = b""
    for line in lines_of(dump):
        begun += b"" if line.startswith(b"--") else line
        if line.endswith(b";\n"):
            yield begun.decode()
            begun = b""


class LoadingSqld(Sqld):
    """A primary that may be told to make its database of a dump, by its own administration API; afterwards it is one like any other."""

    def load(self, dump: Path, admin_port: int) -> LoadingSqld:
        """Start it empty, have it load the text of a dump, and start it again."""
        plain = self.folder / "dump.sql"
        plain.parent.mkdir(parents=True, exist_ok=True)
        plain.write_bytes(b"".join(lines_of(dump)))
        extra = [
            "--enable-namespaces",
            "--disable-default-namespace",
            "--admin-listen-addr",
            f"127.0.0.1:{admin_port}",
        ]
        self._spawn([*self._command(), *extra], clean_environment() | {"RUST_LOG": "error"})
        self._wait_for_http("/health", 60.0)
        body = json.dumps({"dump_url": plain.as_uri()}).encode()
        address = f"http://127.0.0.1:{admin_port}/v1/namespaces/default/create"
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            if answer.status != 200:
                raise RuntimeError(answer.read().decode())
        self.stop()
        return self.start()
