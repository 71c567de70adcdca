"""What is no backup is refused by whoever is given it, and leaves nothing behind, inside of its folder or out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db.folder import FolderError
from groupspaces.ops.backups.contents import Contents, ContentsOrder, contents
from groupspaces.ops.backups.manifest import ArchiveRefused
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder, prepare
from groupspaces.ops.backups.proof import ProveOrder, Visit, prove
from tests.support.hostile_archives import PASSPHRASE, all_of_them, good

# Their databases are what they say: they can be looked into, and are refused by whoever would go back to them.
ROWS_ALONE = {
    "another database with its own digest",
    "with another digest of a table",
    "with a table more",
    "with a table less",
}


async def nobody(visit: Visit) -> None:
    """Whoever comes as far as to start the application has let something in."""
    raise AssertionError(visit)


ERRANDS: dict[str, Callable[[Path, Path, str], Iterator[Any]]] = {
    "prepare": lambda archive, folder, passphrase: prepare(
        PrepareOrder(str(archive), str(folder / "new"), passphrase)
    ),
    "prove": lambda archive, folder, passphrase: prove(
        ProveOrder(str(archive), str(folder), passphrase), nobody
    ),
    "contents": lambda archive, folder, passphrase: contents(
        ContentsOrder(str(archive), str(folder), passphrase)
    ),
}


@pytest.mark.parametrize(
    ("what", "errand"),
    [
        (what, errand)
        for what in all_of_them()
        for errand in ERRANDS
        if errand != "contents" or what not in ROWS_ALONE
    ],
)
def test_it_is_refused_and_nothing_is_left(what: str, errand: str, tmp_path: Path) -> None:
    archive, folder = tmp_path / "given", tmp_path / "deep" / "folder"
    archive.write_bytes(all_of_them()[what])
    folder.mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((ArchiveRefused, FolderError)) as refused:
        for _ in ERRANDS[errand](archive, folder, PASSPHRASE):
            pass
    assert len(str(refused.value)) < 400
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/escaped").exists()


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE], ids=["plain", "sealed"])
def test_a_good_one_is_taken(passphrase: str, tmp_path: Path) -> None:
    archive, folder = good(tmp_path, passphrase=passphrase), tmp_path / "folder"
    folder.mkdir()
    assert list(ERRANDS["contents"](archive, folder, passphrase))[-1] == Contents([])
    found = list(ERRANDS["prepare"](archive, folder, passphrase))[-1]
    assert isinstance(found, Prepared)


def test_a_wrong_passphrase_is_told_from_none(tmp_path: Path) -> None:
    archive = good(tmp_path, passphrase=PASSPHRASE)
    for passphrase, said in (("", "is encrypted"), ("another one", "another passphrase")):
        with pytest.raises(ArchiveRefused, match=said):
            for _ in ERRANDS["prepare"](archive, tmp_path, passphrase):
                pass
