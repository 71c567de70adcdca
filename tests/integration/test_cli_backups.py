"""`groupspaces backup` and `groupspaces restore`: beside a running server, without one, and where none can start any more."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.altered import alter
from tests.support.backups import folder_of
from tests.support.client import Participant, expect
from tests.support.fleet import SECRET, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld

OPEN: dict[str, Any] = {"limits.enabled": False}


def done(ended: subprocess.CompletedProcess[str]) -> Any:
    """Return the last line that a command printed, as JSON."""
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def failed(ended: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert ended.returncode == code, ended.stdout + ended.stderr
    for word in words:
        assert word in ended.stderr


async def said(server: Server, email: str, space_id: int) -> list[str]:
    """Sign somebody in and return what they read."""
    async with Participant(server.url) as person:
        await person.sign_in(email)
        found = expect(await person.get(f"/api/spaces/{space_id}/messages"), 200)
        return [message["content"] for message in found["items"]]


async def filled(server: Server, *texts: str) -> tuple[str, int]:
    """Have somebody say something; return their address, and the space."""
    async with Participant(server.url) as person:
        await person.sign_up("Alice")
        space_id = await person.space()
        for text in texts:
            await person.message(space_id, text)
        return person.email, space_id


async def more(server: Server, email: str, space_id: int, text: str) -> None:
    async with Participant(server.url) as person:
        await person.sign_in(email)
        await person.message(space_id, text)


@pytest.mark.parametrize("running", [True, False], ids=["beside a server", "without one"])
async def test_all_that_can_be_done_about_backups(start_server: StartServer, running: bool) -> None:
    server = start_server(OPEN)
    email, space_id = await filled(server, "before")
    if not running:
        server.stop()
    made = done(server.command("backup", "create", "--prove", "--json"))
    assert made["proof"]["ok"]
    assert (folder_of(server) / made["file"]).stat().st_size == made["size_bytes"]
    listing = done(server.command("backup", "list", "--json"))
    assert [one["id"] for one in listing["items"]] == [made["id"]]
    assert listing["restorable"]["backup_id"] == made["id"]
    shown = server.command("backup", "list").stdout
    assert made["id"] in shown
    assert "Restorable" in shown
    assert done(server.command("backup", "show", made["id"], "--json"))["id"] == made["id"]
    assert "is good" in server.command("backup", "prove").stdout
    failed(server.command("backup", "show", "20200101T000000Z-abcdef"), "no such backup")
    failed(server.command("backup", "delete", made["id"]), "newest backup that is proved")
    second = done(server.command("backup", "create", "--json"))
    assert done(server.command("backup", "prune", "--json")) == {"removed": [], "adopted": 0}
    done(server.command("backup", "delete", second["id"], "--even-if-last", "--json"))
    assert not (folder_of(server) / second["file"]).exists()

    if not running:
        server.start()
    await more(server, email, space_id, "after")
    if not running:
        server.stop()
    plan = done(server.command("restore", made["id"], "--dry-run", "--json"))
    assert (plan["messages"], plan["seq"]) == (1, made["seq"])
    back = done(server.command("restore", made["id"], "--json"))
    undone_to = back["safety"]
    if not running:
        server.start()
    assert await said(server, email, space_id) == ["before"]
    if not running:
        server.stop()
    assert done(server.command("restore", "undo", "--json"))["restored"] == undone_to
    if not running:
        server.start()
    assert await said(server, email, space_id) == ["before", "after"]


async def test_a_new_folder_from_an_encrypted_archive(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(OPEN | {"backup.passphrase": "to be kept elsewhere"})
    email, space_id = await filled(server, "sealed")
    made = done(server.command("backup", "create", "--prove", "--json"))
    assert made["encrypted"]
    assert made["proof"]["ok"], made
    archive = folder_of(server) / made["file"]
    assert b"SQLite" not in archive.read_bytes()
    to = tmp_path / "b" / "data"
    to.parent.mkdir()

    server.settings["backup.passphrase"] = ""
    failed(server.command("restore", str(archive), "--to", str(to)), "encrypted")
    server.settings["backup.passphrase"] = "another one"
    failed(server.command("restore", str(archive), "--to", str(to)), "another passphrase")
    assert [*to.parent.iterdir()] == []
    server.settings["backup.passphrase"] = "to be kept elsewhere"
    assert "feed_seq" in server.command("restore", str(archive), "--to", str(to), "--dry-run").stdout
    assert [*to.parent.iterdir()] == []
    done(server.command("restore", str(archive), "--to", str(to), "--json"))
    assert sorted(path.name for path in to.iterdir()) == ["groupspaces.db", "settings.toml"]
    failed(server.command("restore", str(archive), "--to", str(to)), "not an empty folder", code=8)

    shutil.copy(server.data_folder / "secret", to / "secret")
    other = start_server(OPEN, name="b")
    assert await said(other, email, space_id) == ["sealed"]


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
async def test_a_database_that_cannot_be_opened_is_replaced_and_kept(
    start_server: StartServer, damage: str
) -> None:
    server = start_server(OPEN)
    email, space_id = await filled(server, "safe")
    made = done(server.command("backup", "create", "--json"))
    server.stop()
    database = server.data_folder / "groupspaces.db"
    alter(database)  # everything is in the file itself then
    if damage == "cut off":
        database.write_bytes(database.read_bytes()[:5000])
    else:
        database.write_bytes(b"not a database at all" * 1000)
    damaged = database.read_bytes()
    back = done(server.command("restore", made["id"], "--json", "--yes"))
    assert (Path(back["kept"]) / "groupspaces.db").read_bytes() == damaged
    server.start()
    assert await said(server, email, space_id) == ["safe"]


@pytest.mark.sqld
async def test_into_a_new_primary(start_server: StartServer, sqld: Sqld) -> None:
    server = start_server(OPEN | {"auth.secret": SECRET})
    email, space_id = await filled(server, "one", "two")
    made = done(server.command("backup", "create", "--json"))
    server.stop()
    command = ("restore", made["id"], "--to-primary", sqld.url, "--yes", "--json")
    done(server.command(*command))
    ended = server.command(*command)
    assert ended.returncode != 0, "it is not empty any more"
    other = start_server(replica_settings(sqld.url), name="b")
    assert await said(other, email, space_id) == ["one", "two"]


def test_what_is_no_archive_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(OPEN)
    path = tmp_path / "some.tar.zst"
    path.write_bytes(b"this is no archive" * 100)
    to = tmp_path / "new"
    failed(server.command("restore", str(path), "--to", str(to)), "no backup of Group Spaces")
    failed(server.command("restore", str(path)), "no backup of Group Spaces")
    failed(server.command("restore", str(tmp_path / "none")), "There is no file")
    assert not to.exists()
    assert not folder_of(server).exists()
