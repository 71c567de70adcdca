"""The portable dump: what it holds, who loads it, and what is refused with nothing left behind."""

from __future__ import annotations

import gzip
import math
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import psutil
import pytest

from groupspaces.db import migrate, sql_form, sql_load
from groupspaces.db.folder import FolderError
from groupspaces.db.resting_file import RestingFile
from groupspaces.db.sql_literals import number
from groupspaces.errors import AppError, DatabaseRefused, Unavailable
from groupspaces.ops.backups import errands
from groupspaces.ops.backups.making import Made
from groupspaces.ops.backups.manifest import TableDigest
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.sql_text import ConvertOrder, Exported, ExportOrder
from groupspaces.ops.torture.ports import free_port
from tests.conftest import StartServer
from tests.support.disk import SmallDisk
from tests.support.filled import content, fill
from tests.support.fleet import SECRET
from tests.support.sql_dumps import (
    LoadingSqld,
    by_sqlite3,
    digests,
    dumped,
    full,
    lines_of,
    loaded,
    odd,
    rows_left_out,
    sealed,
    sqlite3,
    statements,
)
from tests.support.sqld import Sqld

Make = Callable[[Path], Path]
BOTH = pytest.mark.parametrize("make", [full, odd])
PUT = b'INSERT INTO "deployment" ("name", "value") VALUES\n'


def nobody_hears(_: Progress) -> None: ...


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A database with rows in every table."""
    return full(tmp_path / "source.db")


@pytest.fixture
def lines(source: Path, tmp_path: Path) -> list[bytes]:
    """The lines of its dump."""
    return lines_of(dumped(source, tmp_path / "whole.sql"))


def refused(dump: Path, words: str) -> None:
    """Expect that a dump is refused in these words, and leaves nothing."""
    folder = dump.parent / "refused"
    folder.mkdir(exist_ok=True)
    with pytest.raises(DatabaseRefused, match=words):
        loaded(dump, folder / "new.db")
    assert list(folder.iterdir()) == []


def rows_of(database: Path) -> dict[str, TableDigest]:
    """Return the digests of all tables but that of the schema: elsewhere, triggers stand on one line, and servers add tables."""
    return {
        name: one
        for name, one in digests(database).items()
        if not name.startswith(("sqlite_schema", "libsql_"))
    }


# --- what it holds ---


@BOTH
@pytest.mark.parametrize("name", ["all.sql", "all.sql.gz"])
def test_what_is_read_back_is_what_was_there(make: Make, name: str, tmp_path: Path) -> None:
    source = make(tmp_path / "source.db")
    copy = loaded(dumped(source, tmp_path / name), tmp_path / "copy.db")
    assert digests(copy) == digests(source)
    assert rows_left_out(copy) == 0
    assert copy.stat().st_mode & 0o777 == 0o600


def test_every_table_had_rows(source: Path) -> None:
    assert [name for name, found in digests(source).items() if not found.rows] == []
    assert rows_left_out(source) == 3


@BOTH
def test_lines_and_statements_are_such_as_any_loader_takes(make: Make, tmp_path: Path) -> None:
    lines = lines_of(dumped(make(tmp_path / "source.db"), tmp_path / "all.sql"))
    assert lines[2:4] == [b"PRAGMA foreign_keys=OFF;\n", b"BEGIN TRANSACTION;\n"]
    assert lines[-2] == b"COMMIT;\n"
    text = b"".join(lines)
    assert not re.search(rb"[\0\r]", text)
    for statement in re.findall(rb"^INSERT .*?;$", text, re.DOTALL | re.MULTILINE):
        assert len(statement) <= sql_form.STATEMENT_BYTES + 200 or statement.count(b"\n") == 1


def test_marks_of_moves_stay_where_they_are(source: Path, tmp_path: Path) -> None:
    connection = apsw.Connection(str(source))
    connection.execute("""INSERT INTO deployment VALUES ('moved_from', '{"move": "m"}')""")
    connection.close()
    copy = loaded(dumped(source, tmp_path / "all.sql"), tmp_path / "copy.db")
    with RestingFile(copy) as file:
        assert [str(row[0]) for row in file.rows("SELECT name FROM deployment ORDER BY name")] == ["origin"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("CREATE TABLE mine (a)", "not what Group Spaces made.*CREATE TABLE mine"),
        ("DROP INDEX user_operator", "not what Group Spaces made.*CREATE INDEX user_operator"),
        ("""INSERT INTO deployment VALUES ('moving', '{"move": "m", "origin": "o"}')""", "has not finished"),
        ("DROP TABLE migration", "not a database of Group Spaces"),
        ("UPDATE migration SET checksum = 'x' WHERE version = 3", "was edited"),
    ],
)
def test_what_could_not_be_read_back_is_not_dumped(source: Path, sql: str, words: str) -> None:
    connection = apsw.Connection(str(source))
    connection.execute(sql)
    connection.close()
    with pytest.raises(DatabaseRefused, match=words):
        dumped(source, source.with_name("all.sql"))


# --- who loads it ---


@BOTH
def test_sqlite3_loads_it(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path / "source.db")
    dump = dumped(source, tmp_path / "all.sql.gz")
    theirs = by_sqlite3(dump, tmp_path / "theirs.db")
    assert rows_of(theirs) == rows_of(source)
    again = dumped(theirs, tmp_path / "again.sql")
    assert lines_of(again)[2:-1] == lines_of(dump)[2:-1]


def test_sqlite3_reads_numbers_to_the_last_bit() -> None:
    """It reads the shortest decimals of three in a thousand one bit wrong (measured 2026-11, 3.40.1)."""
    drawn = random.Random(1)
    numbers = [1.1699210331657369e-293, 5e-324, -0.0, math.pi, 1e22, 1.7976931348623157e308]
    numbers += [math.ldexp(drawn.random() - 0.5, drawn.randrange(-1000, 1000)) for _ in range(2_000)]
    sql = "".join(f"SELECT hex(ieee754_to_blob({number(one)}));\n" for one in numbers)
    assert sqlite3(":memory:", sql.encode()).split() == [
        struct.pack(">d", one).hex().upper() for one in numbers
    ]


def test_sqlite3_loads_nothing_of_one_that_is_cut_off(lines: list[bytes], tmp_path: Path) -> None:
    dump = tmp_path / "cut.sql"
    dump.write_bytes(b"".join(lines[:-2]))
    theirs = apsw.Connection(str(by_sqlite3(dump, tmp_path / "theirs.db")))
    assert theirs.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    theirs.close()


@pytest.mark.sqld
@BOTH
def test_an_empty_sqld_loads_it_by_itself(
    make: Make, tmp_path: Path, started: Callable[[Any], Any], start_server: StartServer
) -> None:
    source = make(tmp_path / "source.db")
    sqld: LoadingSqld = started(LoadingSqld(tmp_path / "sqld"))
    sqld.load(dumped(source, tmp_path / "all.sql.gz"), free_port())
    start_server(
        {"primary.url": sqld.url, "auth.secret": SECRET}
    )  # serves what is there, and migrates nothing
    assert sqld.execute("SELECT count(*) FROM message") == [[len(content(source)["message"])]]


@pytest.mark.sqld
@BOTH
def test_an_empty_sqld_takes_it_statement_by_statement(make: Make, sqld: Sqld, tmp_path: Path) -> None:
    """Without the transaction around it: sqld would end that after 5 s, and each request is a connection of its own."""
    source = make(tmp_path / "source.db")
    for statement in statements(dumped(source, tmp_path / "all.sql")):
        if not statement.startswith(("PRAGMA", "BEGIN", "COMMIT")):
            sqld.execute(statement)
    sqld.stop()
    assert rows_of(sqld.database_folder / "dbs" / "default" / "data") == rows_of(source)


# --- what is refused ---


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.99999])
@pytest.mark.parametrize("name", ["all.sql", "all.sql.gz"])
def test_one_that_is_cut_off_is_refused(share: float, name: str, source: Path) -> None:
    dump = dumped(source, source.with_name(name))
    text = dump.read_bytes()
    dump.write_bytes(text[: int(len(text) * share)])
    refused(dump, "cut off|no SQL dump")


def test_one_without_its_last_lines_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    for left in (1, 2, 10):
        dump = tmp_path / "cut.sql"
        dump.write_bytes(b"".join(lines[:-left]))
        refused(dump, "cut off")


def test_one_that_was_altered_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    dump = tmp_path / "altered.sql"
    dump.write_bytes(b"".join(lines).replace(b"message number 77 of", b"message number 78 of"))
    refused(dump, "its digest is another")
    dump.write_bytes(b"".join(lines) + b"\n")
    refused(dump, "goes on behind its end")
    sealed([line for line in lines if b"'older'" not in line and b'former_username" (' not in line], dump)
    refused(dump, "rows and says that it has")


def test_one_that_is_damaged_is_refused(source: Path) -> None:
    dump = dumped(source, source.with_name("all.sql.gz"))
    text = bytearray(dump.read_bytes())
    text[len(text) // 2] ^= 0x40
    dump.write_bytes(text)
    refused(dump, "damaged|digest|none that a dump|is refused")


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"hello\n", b"\x1f\x8b", b"\x1f\x8b not zipped at all", bytes(1000)]
)
def test_what_is_no_dump_is_refused(text: bytes, tmp_path: Path) -> None:
    dump = tmp_path / "other.sql"
    dump.write_bytes(text)
    refused(dump, "no SQL dump|damaged|cut off")


@pytest.mark.parametrize(
    ("old", "new"), [(b'"format":1', b'"format":2'), (b'"schema_version":', b'"schema_version":9')]
)
def test_one_of_a_later_version_is_refused(
    old: bytes, new: bytes, lines: list[bytes], tmp_path: Path
) -> None:
    lines[1] = lines[1].replace(old, new)
    dump = sealed(lines, tmp_path / "later.sql")
    refused(dump, "Use that version or a later one")
    with pytest.raises(DatabaseRefused, match="Use that version or a later one"):
        sql_load.head_of(dump)


def test_a_later_version_that_this_one_may_serve_is_dumped_for_the_later_one(source: Path) -> None:
    connection = apsw.Connection(str(source))
    connection.execute(
        "INSERT INTO migration VALUES (99, 'later', 'x', 1, 1); ALTER TABLE user ADD COLUMN later TEXT"
    )
    connection.close()
    dump = dumped(source, source.with_name("later.sql"))
    refused(dump, "has schema 99")
    assert rows_of(by_sqlite3(dump, source.with_name("theirs.db"))) == rows_of(source)


def test_one_whose_first_lines_do_not_tell_the_truth_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    newest = len(migrate.known())
    lines[1] = lines[1].replace(b'"schema_version":%d' % newest, b'"schema_version":%d' % (newest - 1))
    refused(sealed(lines, tmp_path / "earlier.sql"), "none that a dump of this schema has")
    lines[1] = b"-- {}\n"
    refused(sealed(lines, tmp_path / "empty.sql"), "Line 2")


HOSTILE = [
    b"ATTACH 'stolen.db' AS other;\n",
    b"PRAGMA writable_schema=ON;\n",
    b"PRAGMA foreign_keys=OFF;\n",
    b"CREATE TRIGGER mine AFTER INSERT ON user BEGIN UPDATE user SET is_operator = 1; END;\n",
    b"CREATE VIEW mine AS SELECT 1;\n",
    b"CREATE TABLE mine (a);\n",
    b"CREATE TABLE migration (\n",
    b"CREATE VIRTUAL TABLE mine USING fts5 (a);\n",
    b"DROP TABLE user;\n",
    b"DELETE FROM user;\n",
    b"UPDATE user SET is_operator = 1;\n",
    b"SELECT load_extension('x');\n",
    b"SELECT 1;\n",
    b"VACUUM INTO 'stolen.db';\n",
    b".shell touch stolen\n",
    b"-- nothing\n",
    b"\n",
    b"INSERT INTO user SELECT * FROM user;\n",
    b'INSERT INTO "sqlite_schema" ("type") VALUES\n(\'table\');\n',
    b'INSERT INTO "lease" ("name", "holder", "number", "expires_at_ms") VALUES\n(\'a\',\'b\',1,1);\n',
    PUT + b"('a',(SELECT email FROM user));\n",
    PUT + b"('a',load_extension('x'));\n",
    PUT + b"('a',hex(randomblob(500000000)));\n",
    PUT + b"('a','b'); ATTACH 'stolen.db' AS other;\n",
    PUT + b"('a','b') ON CONFLICT DO UPDATE SET value = 'x';\n",
    PUT + b"('a','b'),\n",
    PUT + b"('a','b\n');\n",
    PUT + b"('a','\xff');\n",
    PUT + b"('a','b\0');\n",
    PUT + b"('a','" + b"x" * 60_000 + b"'),\n('b','" + b"x" * 60_000 + b"');\n",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=[repr(one[:40]) for one in HOSTILE])
def test_what_is_not_ours_to_say_is_refused(hostile: bytes, lines: list[bytes], tmp_path: Path) -> None:
    at = lines.index(b"DELETE FROM sqlite_sequence;\n")
    lines.insert(at, hostile)
    refused(sealed(lines, tmp_path / "hostile.sql"), r"Line \d+ is none that a dump of this schema has")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"('origin','another');\n", "UNIQUE constraint failed"),
        (b"('a');\n", "1 values for 2 columns"),
        (b"('a','b','c');\n", "3 values for 2 columns"),
        (b"('a',NULL);\n", "NOT NULL constraint failed"),
        (b"('a',X'00');\n", "cannot store BLOB"),
        (b"('a',replace('b','\\n',char(10)),'\\r',char(13)));\n", "syntax error"),
    ],
)
def test_what_the_schema_does_not_take_is_refused(
    row: bytes, words: str, lines: list[bytes], tmp_path: Path
) -> None:
    lines.insert(lines.index(b"DELETE FROM sqlite_sequence;\n"), PUT + row)
    refused(sealed(lines, tmp_path / "hostile.sql"), words)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"('a',load_extension('x'));", "not authorized"),
        (b"('a',(SELECT hex(email) FROM user));", "not authorized"),
        (b"('a','b'); ATTACH 'stolen.db' AS other;", "not authorized"),
        (b"('a','b'); PRAGMA writable_schema = 1;", "not authorized"),
        (b"('a','b'); DELETE FROM user;", "not authorized"),
        (b"('a','b'); DROP TABLE user;", "not authorized"),
        (b"('a','b'); CREATE VIEW mine AS SELECT 1;", "not authorized"),
        (b"('a','b'); COMMIT;", "not authorized"),
    ],
)
def test_sqlite_itself_allows_no_more_than_rows(
    row: bytes, words: str, lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_load, "_ROW", re.compile("(?s).*"))
    lines.insert(lines.index(b"DELETE FROM sqlite_sequence;\n"), PUT + row + b"\n")
    refused(sealed(lines, tmp_path / "hostile.sql"), words)


def test_one_that_lacks_something_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    for lacking in (b"CREATE TRIGGER member_went", b"CREATE INDEX user_operator"):
        found = [line for line in lines if not line.startswith(lacking)]
        refused(sealed(found, tmp_path / "lacking.sql"), "does not make everything")


def test_rows_that_refer_to_nothing_are_refused(lines: list[bytes], tmp_path: Path) -> None:
    found = [line.replace(b"(1,1,'owner',1,", b"(7,1,'owner',1,") for line in lines]
    refused(sealed(found, tmp_path / "broken.sql"), "rows of member refer to rows that are not there")


def test_a_bomb_is_refused_before_it_fills_the_disk(lines: list[bytes], tmp_path: Path) -> None:
    at = lines.index(b"DELETE FROM sqlite_sequence;\n")
    dump = tmp_path / "bomb.sql.gz"
    with gzip.open(dump, "wb", compresslevel=9) as file:
        file.write(b"".join(lines[:at]))
        for number in range(300):
            file.write(PUT + b"('%d','%s');\n" % (number, b"x" * 1_000_000))
        file.write(b"".join(lines[at:]))
    refused(dump, "far more than a dump of its size can")


def test_a_line_without_end_is_refused(lines: list[bytes], tmp_path: Path) -> None:
    at = lines.index(b"DELETE FROM sqlite_sequence;\n")
    lines.insert(at, PUT + b"('a','" + b"x" * sql_form.LINE_BYTES + b"');\n")
    refused(sealed(lines, tmp_path / "long.sql"), "none that a dump")


# --- disks, crashes, versions ---


def test_a_disk_without_room_for_it_is_told(source: Path, tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "small", 500):
        out = tmp_path / "small" / "all.sql"
        with pytest.raises(FolderError, match="No space left"):
            dumped(source, out)
    dump = dumped(source, tmp_path / "all.sql")
    with SmallDisk(tmp_path / "small", 8_000):
        with pytest.raises(FolderError, match="has room for"):
            loaded(dump, tmp_path / "small" / "new.db")
        assert list((tmp_path / "small").iterdir()) == []


def test_a_disk_that_fills_up_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_load, "_SPARE_BYTES", 0)
    dump = dumped(source, tmp_path / "all.sql")
    with SmallDisk(tmp_path / "small", 500):
        with pytest.raises(FolderError, match=r"cannot be written: .* full"):
            loaded(dump, tmp_path / "small" / "new.db")
        assert list((tmp_path / "small").iterdir()) == []


async def test_an_export_to_a_full_disk_leaves_the_one_before(source: Path, tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "small", 2_000):
        to = tmp_path / "small" / "all.sql"
        to.write_bytes(b"the one before")
        with pytest.raises(Unavailable) as failed:
            await errands.run("export", ExportOrder(str(source), str(to)), Exported, nobody_hears)
        assert failed.value.code == "STORAGE_UNAVAILABLE"
        assert [(path.name, path.read_bytes()) for path in to.parent.iterdir()] == [
            (to.name, b"the one before")
        ]


def kill_when(step: str) -> Callable[[Progress], None]:
    """Kill -9 the process of an errand as soon as it tells of a step."""

    def hear(progress: Progress) -> None:
        if progress.step == step:
            for child in psutil.Process().children():
                if any("errand_process" in part for part in child.cmdline()):
                    child.kill()

    return hear


async def test_what_a_killed_one_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    source = fill(tmp_path / "source.db", messages=20_000)
    folder = tmp_path / "dumps"
    folder.mkdir()
    dump = folder / "all.sql.gz"
    order = ExportOrder(str(source), str(dump))
    with pytest.raises(Unavailable) as failed:
        await errands.run("export", order, Exported, kill_when("writing SQL"))
    assert failed.value.code == "ERRAND_FAILED"
    assert not dump.exists()
    exported = await errands.run("export", order, Exported, nobody_hears)
    assert [path.name for path in folder.iterdir()] == [dump.name]
    assert exported.size_bytes == dump.stat().st_size

    converting = ConvertOrder(str(dump), str(folder), "")
    for step in ("reading SQL", "compressing"):
        with pytest.raises(Unavailable) as failed:
            await errands.run("convert", converting, Made, kill_when(step))
        assert failed.value.code == "ERRAND_FAILED"
        assert [path.name for path in folder.iterdir() if path.is_file()] == [dump.name]
    made = await errands.run("convert", converting, Made, nobody_hears)
    assert {path.name for path in folder.iterdir()} == {dump.name, made.file}
    assert content(loaded(dump, tmp_path / "copy.db")) == content(source)


async def test_a_place_that_is_none_is_told(source: Path, tmp_path: Path) -> None:
    for to in (tmp_path, tmp_path / "nowhere" / "all.sql"):
        with pytest.raises(AppError, match="can be no file"):
            await errands.run("export", ExportOrder(str(source), str(to)), Exported, nobody_hears)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("version", range(1, len(migrate.known()) + 1))
async def test_one_of_each_earlier_version_is_brought_up_to_date(version: int, tmp_path: Path) -> None:
    dump = dumped(full(tmp_path / "source.db", version=version), tmp_path / "all.sql.gz")
    assert sql_load.head_of(dump).schema_version == version
    to = tmp_path / "new"
    made = await errands.run("convert", ConvertOrder(str(dump), str(tmp_path), ""), Made, nobody_hears)
    again = await errands.run("convert", ConvertOrder(str(dump), str(tmp_path), ""), Made, nobody_hears)
    assert (made.manifest.schema_version, made.file) == (version, again.file)
    order = PrepareOrder(str(tmp_path / made.file), str(to), "")
    await errands.run("prepare", order, Prepared, nobody_hears)
    with RestingFile(to / "groupspaces.db") as file:
        file.judge()
        assert file.rows("SELECT max(epoch) FROM lineage") == [(2,)]
