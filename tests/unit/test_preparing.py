"""What an archive holds, made ready to be gone on with: no id and no position is given out twice."""

from __future__ import annotations

from pathlib import Path

from groupspaces.db.lineage import LEAST_JUMP
from groupspaces.db.resting_file import RestingFile
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder, prepare
from tests.support.hostile_archives import good


def sequences_of(folder: Path) -> dict[str, int]:
    with RestingFile(folder / "groupspaces.db") as file:
        rows = file.rows("SELECT name, seq FROM sqlite_sequence")
        [(first_seq,)] = file.rows("SELECT max(first_seq) FROM lineage")
        [(head,)] = file.rows("SELECT max(seq) FROM change")
    assert head == first_seq
    return {str(name): int(str(seq)) for name, seq in rows}


def prepared(tmp_path: Path, **known: object) -> dict[str, int]:
    order = PrepareOrder(str(good(tmp_path)), str(tmp_path / "new"), "", **known)  # type: ignore[arg-type]
    [found] = [step for step in prepare(order) if isinstance(step, Prepared)]
    assert found.seq > 0
    return sequences_of(tmp_path / "new")


def test_ids_jump_beyond_all_that_was_given_out_since(tmp_path: Path) -> None:
    """Also where one position of the feed stood for thousands of messages."""
    found = prepared(tmp_path, seq=200, epoch=1, ids={"message": 7_000_000, "change": 200, "gone": 5})
    assert found["message"] == 7_000_000 + LEAST_JUMP
    assert found["space"] >= LEAST_JUMP
    assert found["change"] >= LEAST_JUMP
    assert "gone" not in found


def test_positions_jump_twice_as_far_as_was_lost(tmp_path: Path) -> None:
    assert prepared(tmp_path, seq=3_000_000, epoch=4)["change"] >= 2 * 2_900_000
