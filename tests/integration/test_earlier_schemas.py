"""Going back to a backup that an earlier version made, of each schema there has been: proved, prepared, and restored into what runs now."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import apsw
import pytest

from groupspaces.db import migrate
from groupspaces.db.resting_file import RestingFile
from groupspaces.ops.backups.making import Made, MakeOrder, make
from groupspaces.ops.backups.preparing import Prepared, PrepareOrder, prepare
from groupspaces.ops.backups.proof import Proved, ProveOrder, prove
from groupspaces.tryout import visit
from tests.conftest import StartServer
from tests.support.client import Participant, expect
from tests.support.fleet import Fleet

# One number each: how many migrations an earlier version knew.
EARLIER = range(1, len(migrate.known()) + 1)
# What each of them brought, and rows of it that every later version knows.
ROWS = {
    2: """INSERT INTO user (id, email, name, username, password_hash, is_operator, created_at_ms)
      VALUES (1, 'ann@example.org', 'Ann', 'ann', '', 1, 1)""",
    3: """INSERT INTO space (id, name, slug, description, visibility, created_by, created_at_ms)
      VALUES (1, 'Garden', 'garden', '', 'private', 1, 1);
      INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (1, 1, 'owner', 1)""",
    4: """INSERT INTO message (id, space_id, author_id, kind, mentions_all, created_at_ms, content)
      VALUES (1, 1, 1, 'text', 0, 1, 'from long ago')""",
}


def archive_of(version: int, folder: Path) -> Path:
    """Make an archive as the version made it that knew so many migrations."""
    database = folder / "source.db"
    connection = apsw.Connection(str(database))
    for statements in (migrate.script(up_to=version), *(ROWS[n] for n in ROWS if n <= version)):
        connection.execute(statements).fetchall()
    connection.close()
    order = MakeOrder(
        database=str(database),
        files=str(folder / "files"),
        folder=str(folder),
        settings="",
        id=f"20200101T000000Z-00000{version:x}",
        reason="by hand",
        instance_id="a",
        mode="standalone",
        created_at_ms=1,
        as_of_ms=1,
        secret="0" * 16,
    )
    [made] = [step for step in make(order) if isinstance(step, Made)]
    assert made.manifest.schema_version == version
    return folder / made.file


@pytest.mark.parametrize("version", EARLIER)
def test_it_is_brought_up_to_date(version: int, tmp_path: Path) -> None:
    archive, to = archive_of(version, tmp_path), tmp_path / "new"
    [found] = [
        step for step in prepare(PrepareOrder(str(archive), str(to), "")) if isinstance(step, Prepared)
    ]
    assert found.manifest.schema_version == version
    with RestingFile(to / "groupspaces.db") as file:
        file.judge()
        for number, table in ((2, "user"), (3, "member"), (4, "message")):
            assert file.rows(f"SELECT count(*) FROM {table}") == [(int(version >= number),)]


@pytest.mark.parametrize("version", EARLIER)
def test_it_is_proved(version: int, tmp_path: Path) -> None:
    archive = archive_of(version, tmp_path)
    steps = list(prove(ProveOrder(str(archive), str(tmp_path), ""), visit))
    found = steps[-1]
    assert isinstance(found, Proved)
    assert found.read_message == (version >= 4)


@pytest.mark.parametrize("version", [4, len(migrate.known()) - 1])
async def test_a_running_instance_goes_back_to_it(
    version: int, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server({"limits.enabled": False})
    async with Participant(server.url) as operator:
        await operator.sign_up("Olga")
        archive = archive_of(version, tmp_path)
        done = await asyncio.to_thread(server.command, "restore", str(archive), "--yes", "--json")
        assert done.returncode == 0, done.stderr
        there = await asyncio.to_thread(server.command, "user", "sign-in-link", "ann@example.org")
        assert "/enter#" in there.stdout, there.stderr
        safety = json.loads(done.stdout)["safety"]
        undone = await asyncio.to_thread(server.command, "restore", safety, "--yes", "--json")
        assert undone.returncode == 0, undone.stderr
        assert expect(await operator.get("/api/users/me"), 200)["name"] == "Olga"


@pytest.mark.sqld
async def test_a_new_primary_is_made_of_it(tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    archive = archive_of(5, tmp_path / "archive")
    with Fleet(tmp_path, names=("a",)) as fleet:
        fleet.primary.start()
        done = await asyncio.to_thread(
            fleet.a.command, "restore", str(archive), "--to-primary", fleet.primary.url, "--yes"
        )
        assert done.returncode == 0, done.stderr
        assert fleet.primary.execute("SELECT content FROM message") == [["from long ago"]]
        fleet.a.start()
