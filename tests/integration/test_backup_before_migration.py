"""Before the schema changes, a backup of everything as it is: at a start, by the command line, standalone and with a primary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db import migrate, resting_file
from groupspaces.db.batch import Statement
from groupspaces.db.script import split_script
from tests.conftest import StartServer
from tests.support.backups import folder_of, listed
from tests.support.client import Participant, expect
from tests.support.fleet import replica_settings
from tests.support.remote import connected
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

OPEN: dict[str, Any] = {"limits.enabled": False}


def archives(server: Server) -> list[str]:
    return sorted(path.name for path in folder_of(server).glob("groupspaces-*"))


def undo_newest(database: Path) -> None:
    """Have a database be of the version before, as one is that comes from it."""
    newest = migrate.known()[-1]
    statements = [Statement(sql) for sql in split_script(newest.down)]
    forget = Statement("DELETE FROM migration WHERE version = ?", (newest.version,))
    untold = Statement(
        "DELETE FROM change WHERE seq = (SELECT max(seq) FROM change) AND kind = 'schema.migrated'"
    )
    resting_file.write(database, *statements, forget, untold)


async def test_a_start_with_a_newer_version_backs_up_once_for_each_state(start_server: StartServer) -> None:
    server = start_server(OPEN)
    async with Participant(server.url) as person:
        await person.sign_up("Alice")
        space_id = await person.space()
        await person.message(space_id, "of the version before")
        assert archives(server) == [], "a new database has nothing to lose"
        database = server.data_folder / "groupspaces.db"
        server.stop()
        for _ in range(2):
            undo_newest(database)
            assert server.command("migrate", "up").returncode == 0
            assert len(archives(server)) == 1
        undo_newest(database)
        server.start()
        assert len(archives(server)) == 1
        expect(await person.post("/api/ops/backups/prune"), 200)
        [backup] = (await listed(person))["items"]
        assert (backup["reason"], backup["schema_version"]) == ("before migration", len(migrate.known()) - 1)

        async def is_good() -> bool:
            proof = (await listed(person))["items"][0]["proof"]
            return bool(proof and proof["ok"])

        expect(await person.post(f"/api/ops/backups/{backup['id']}/prove"), 202)
        await wait_until(is_good, 60, "a backup of the version before is brought up to date and read from")
    server.stop()
    undo_newest(database)
    server.settings["backup.before_migration"] = False
    server.start()
    assert len(archives(server)) == 1


def test_without_a_backup_the_schema_stays_as_it_is(start_server: StartServer) -> None:
    server = start_server(OPEN)
    server.stop()
    database = server.data_folder / "groupspaces.db"
    undo_newest(database)
    folder_of(server).write_text("a file where the folder should be")
    ended = server.command("migrate", "up")
    assert ended.returncode != 0
    assert "No backup could be made before the schema is changed" in ended.stderr
    pending = json.loads(server.command("migrate", "status", "--json").stdout)["pending"]
    assert len(pending) == 1


@pytest.mark.sqld
async def test_the_primary_is_backed_up_by_whoever_migrates_it(sqld: Sqld, start_server: StartServer) -> None:
    server = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    assert archives(server) == []
    async with Participant(server.url) as person:
        await person.sign_up("Alice")
        await person.message(await person.space(), "kept")
    server.stop()
    async with connected(sqld.url) as primary:
        await migrate.down(primary)
    ended = server.command("migrate", "up")
    assert ended.returncode == 0, ended.stderr
    [archive] = archives(server)
    assert not [*folder_of(server).glob("fetched")]
    shown = json.loads(
        server.command("restore", str(folder_of(server) / archive), "--to", "x", "--dry-run", "--json").stdout
    )
    assert shown["schema"] == len(migrate.known()) - 1
    assert shown["rows"] > 0
