"""`groupspaces backup export --sql`, and `groupspaces restore` of what it wrote: beside a running server, without one, into new places."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.backups import folder_of
from tests.support.client import Participant, expect
from tests.support.fleet import SECRET, replica_settings
from tests.support.server import Server
from tests.support.sql_dumps import by_sqlite3, lines_of
from tests.support.sqld import Sqld

OPEN: dict[str, Any] = {"limits.enabled": False}
SAID = "Kept\n'for' later; \\n"


def done(ended: subprocess.CompletedProcess[str]) -> Any:
    """Return the last line that a command printed, as JSON."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


async def filled(server: Server) -> tuple[str, int]:
    """Have somebody say something; return their address, and the space."""
    async with Participant(server.url) as person:
        await person.sign_up("Alice")
        space_id = await person.space()
        await person.message(space_id, SAID)
        return person.email, space_id


async def said(server: Server, email: str, space_id: int) -> list[str]:
    """Sign somebody in and return what they read."""
    async with Participant(server.url) as person:
        await person.sign_in(email)
        found = expect(await person.get(f"/api/spaces/{space_id}/messages"), 200)
        return [message["content"] for message in found["items"]]


@pytest.mark.parametrize("running", [True, False], ids=["beside a server", "without one"])
async def test_what_was_exported_is_gone_back_to(
    start_server: StartServer, running: bool, tmp_path: Path
) -> None:
    server = start_server(OPEN)
    email, space_id = await filled(server)
    if not running:
        server.stop()
    dump = tmp_path / "all.sql.gz"
    exported = done(server.command("backup", "export", "--sql", str(dump), "--json"))
    assert exported["size_bytes"] == dump.stat().st_size
    assert exported["rows"] == json.loads(lines_of(dump)[-1][3:])["rows"]
    assert dump.stat().st_mode & 0o777 == 0o600

    if not running:
        server.start()
    async with Participant(server.url) as alice:
        await alice.sign_in(email)
        await alice.message(space_id, "after")
    if not running:
        server.stop()
    plan = done(server.command("restore", str(dump), "--dry-run", "--json"))
    assert (plan["messages"], plan["seq"]) == (1, exported["feed_seq"])
    back = done(server.command("restore", str(dump), "--json"))
    if not running:
        server.start()
    assert await said(server, email, space_id) == [SAID]
    if not running:
        server.stop()
    done(server.command("restore", back["safety"], "--json"))
    if not running:
        server.start()
    assert await said(server, email, space_id) == [SAID, "after"]
    assert not (server.data_folder / ".work").exists()


@pytest.mark.sqld
async def test_a_replica_is_exported_while_people_write(
    start_server: StartServer, sqld: Sqld, tmp_path: Path
) -> None:
    server = start_server(OPEN | replica_settings(sqld.url), arguments=("--migrate",))
    email, space_id = await filled(server)
    dump = tmp_path / "all.sql"
    ended: list[subprocess.CompletedProcess[str]] = []
    command = ("backup", "export", "--sql", str(dump), "--json")
    exporting = threading.Thread(target=lambda: ended.append(server.command(*command)))
    async with Participant(server.url) as alice:
        await alice.sign_in(email)
        exporting.start()
        while not ended:
            await alice.message(space_id, "meanwhile")
    exporting.join()
    assert done(ended[0])["feed_seq"] > 0

    server.stop()
    to = tmp_path / "b" / "data"
    to.parent.mkdir()
    found = done(server.command("restore", str(dump), "--to", str(to), "--json"))
    assert found["feed_seq"] == done(ended[0])["feed_seq"]
    other = start_server(OPEN | {"auth.secret": SECRET}, name="b")
    assert (await said(other, email, space_id))[0] in (SAID, "meanwhile")
    async with Participant(other.url) as alice:
        await alice.sign_in(email)
        assert (await alice.all_messages(space_id))[0]["content"] == SAID


@pytest.mark.sqld
async def test_into_a_new_primary(start_server: StartServer, sqld: Sqld, tmp_path: Path) -> None:
    server = start_server(OPEN | {"auth.secret": SECRET})
    email, space_id = await filled(server)
    dump = tmp_path / "all.sql.gz"
    done(server.command("backup", "export", "--sql", str(dump), "--json"))
    server.stop()
    done(server.command("restore", str(dump), "--to-primary", sqld.url, "--yes", "--json"))
    other = start_server(replica_settings(sqld.url), name="b")
    assert await said(other, email, space_id) == [SAID]


async def test_sqlite3_makes_a_database_that_is_served(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(OPEN)
    email, space_id = await filled(server)
    dump = tmp_path / "all.sql.gz"
    done(server.command("backup", "export", "--sql", str(dump), "--json"))
    folder = tmp_path / "b" / "data"
    folder.mkdir(mode=0o700, parents=True)
    shutil.copy(server.data_folder / "secret", folder / "secret")
    by_sqlite3(dump, folder / "groupspaces.db")
    other = start_server(OPEN, name="b")
    assert await said(other, email, space_id) == [SAID]

    assert other.command("backup", "export", "--sql", str(dump)).returncode == 0, "it can be dumped again"


async def test_with_a_passphrase_nothing_of_it_lies_in_the_clear(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(OPEN | {"backup.passphrase": "to be kept elsewhere"})
    email, space_id = await filled(server)
    dump = tmp_path / "all.sql.gz"
    done(server.command("backup", "export", "--sql", str(dump), "--json"))
    done(server.command("restore", str(dump), "--json"))
    assert await said(server, email, space_id) == [SAID]
    assert {path.suffix for path in folder_of(server).iterdir()} == {".tar"}


def test_what_is_told(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(OPEN)
    dump = tmp_path / "all.sql.gz"
    told = server.command("backup", "export", "--sql", str(dump))
    assert "of feed position" in told.stdout
    assert "writing SQL" in told.stderr
    for name, words, code in (
        ("all.txt", "a name that ends in .sql", 1),
        ("none/all.sql", "Name one in a folder that is there", 1),
    ):
        ended = server.command("backup", "export", "--sql", str(tmp_path / name))
        assert (ended.returncode, words in ended.stderr) == (code, True), ended.stderr

    cut = tmp_path / "cut.sql.gz"
    cut.write_bytes(dump.read_bytes()[:-100])
    to = tmp_path / "new" / "data"
    to.parent.mkdir()
    for arguments in (("--to", str(to)), ("--to", str(to), "--dry-run"), ()):
        ended = server.command("restore", str(cut), *arguments)
        assert (ended.returncode, "cut off" in ended.stderr) == (1, True), ended.stderr
    assert [*to.parent.iterdir()] == []
    assert not folder_of(server).exists()

    server.stop()
    server.settings["data.dir"] = str(tmp_path / "empty")
    ended = server.command("backup", "export", "--sql", str(dump))
    assert (ended.returncode, "There is no database" in ended.stderr) == (8, True), ended.stderr
    assert not (tmp_path / "empty").exists()
