"""What is told of a database file that nobody serves, when the disk does not do what it should."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from groupspaces.db import resting_file
from groupspaces.db.batch import Statement
from groupspaces.db.folder import FolderError
from groupspaces.db.resting_file import Copying
from groupspaces.errors import DatabaseRefused
from tests.support.disk import SmallDisk

LARGE = Statement("INSERT INTO thing VALUES (zeroblob(4000000))")


def _file(path: Path) -> Path:
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "WAL")
    connection.execute("CREATE TABLE thing (a BLOB)")
    connection.close()
    return path


def _rows(path: Path) -> int:
    with resting_file.RestingFile(path) as file:
        return len(file.rows("SELECT 1 FROM thing"))


def test_a_full_disk_takes_nothing_and_is_told(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "small", 2_000):
        path = _file(tmp_path / "small" / "a.db")
        with pytest.raises(FolderError, match=r"cannot be written: .* is full"):
            resting_file.write(path, Statement("INSERT INTO thing VALUES (1)"), LARGE)
        assert _rows(path) == 0


def test_a_file_that_another_program_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path / "a.db")
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(resting_file, "_BUSY_TIMEOUT_MS", 50)
    with pytest.raises(DatabaseRefused, match="in use by another program"):
        resting_file.write(path, Statement("INSERT INTO thing VALUES (1)"))
    other.execute("ROLLBACK")
    other.close()


def test_a_copy_for_which_there_is_no_room_is_not_begun(tmp_path: Path) -> None:
    source = _file(tmp_path / "a.db")
    with SmallDisk(tmp_path / "small", 8_000):
        copy = tmp_path / "small" / "copy.db"
        with pytest.raises(FolderError, match="has room for"):
            Copying(source, copy).run()
        assert [path.name for path in copy.parent.iterdir()] == []


def test_a_copy_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    source = _file(tmp_path / "a.db")
    resting_file.write(source, *[Statement("INSERT INTO thing VALUES (zeroblob(1000))")] * 3_000)
    copy = tmp_path / "copy.db"
    copying = Copying(source, copy)
    copying.stop()
    with pytest.raises(apsw.InterruptError):
        copying.run()
    assert list(tmp_path.glob("copy*")) == []


def test_what_an_earlier_copy_left_is_not_taken_for_its_own(tmp_path: Path) -> None:
    source, copy = _file(tmp_path / "a.db"), tmp_path / "copy.db"
    resting_file.write(source, Statement("INSERT INTO thing VALUES (1)"))
    for kind in ("", "-journal", "-wal", "-shm"):
        Path(f"{copy}{kind}").write_bytes(b"left")
    Copying(source, copy).run()
    assert _rows(copy) == 1
    assert copy.stat().st_mode & 0o777 == 0o600
