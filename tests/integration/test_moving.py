"""`groupspaces db push` and `unmark` from a folder into a real primary, and what stops them in between."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from groupspaces.db import comparison, migrate
from groupspaces.db.remote_primary import RemotePrimary
from tests.support.client import Participant
from tests.support.filled import content, fill
from tests.support.fleet import SECRET, replica_settings
from tests.support.moves import REFUSED, Command, database_of, mark_in, mark_of, push, tables_of
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until

pytestmark = pytest.mark.sqld

_LEDGER_SQL = "SELECT version FROM migration ORDER BY version"


@pytest.fixture
def folder(tmp_path: Path, started: Callable[[Any], Any]) -> Server:
    """An instance that has served alone so far and is stopped: nothing runs."""
    instance: Server = started(Server(tmp_path / "a", {"auth.secret": SECRET}))
    fill(database_of(instance))
    return instance


def arrived(sqld: Sqld) -> dict[str, Any]:
    """Stop a primary and return what its file holds: read by SQLite, not by what was written for moving."""
    sqld.stop()
    return content(sqld.database_folder / "dbs" / "default" / "data")


# --- push ---


def test_every_value_arrives_as_it_left(folder: Server, sqld: Sqld) -> None:
    before = content(database_of(folder))
    ended = push(folder, sqld)
    assert ended.returncode == 0, ended.stderr
    assert "DIFFERS" not in ended.stdout
    assert sqld.execute("SELECT member_count FROM space") == [[10], [10]]
    assert sqld.execute("SELECT seq > 999 + 1000000 - 1 FROM sqlite_sequence WHERE name = 'user'") == [[1]]
    assert sqld.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'") == [[2]]
    assert mark_of(sqld, "moving") is None
    assert arrived(sqld) == before
    assert content(database_of(folder)) == before


async def test_a_primary_that_cannot_hash_is_compared_all_the_same(folder: Server, sqld: Sqld) -> None:
    assert (await asyncio.to_thread(push, folder, sqld)).returncode == 0
    copy = database_of(folder)
    primary = RemotePrimary(sqld.url, None, timeout_s=10.0)
    await primary.start()
    try:
        hashed = await comparison.compare(copy, primary.read)
        fetched = await comparison.compare(copy, primary.read, function="no_such_hash")
        assert fetched == hashed
        assert {one.table for one in fetched if not one.equal} == {
            "change",
            "lineage",
            "deployment",
            "sqlite_sequence",
        }
        sqld.execute("UPDATE message SET content = 'changed' WHERE id = (SELECT max(id) FROM message)")
        fetched = await comparison.compare(copy, primary.read, function="no_such_hash")
        assert not next(one.equal for one in fetched if one.table == "message")
    finally:
        await primary.close()


def test_what_is_printed_for_programs(folder: Server, sqld: Sqld) -> None:
    ended = push(folder, sqld, "--json")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    *progress, step, last = lines
    assert set(progress[0]) == {"table", "rows", "rows_total", "sent_bytes", "mb_per_s", "eta_s"}
    assert progress[-1]["rows"] == progress[-1]["rows_total"] == last["rows"]
    assert step == {"step": "comparing"}
    assert all(table["equal"] for table in last["tables"])
    assert {"message", "user", "change"} < {table["table"] for table in last["tables"]}


def test_a_token_that_may_not_write_is_told(folder: Server, guarded_sqld: Sqld) -> None:
    assert guarded_sqld.key is not None
    for token in (guarded_sqld.key.mint("ro"), "no token"):
        folder.settings["primary.token"] = token
        ended = push(folder, guarded_sqld)
        assert (ended.returncode, "does not accept the token" in ended.stderr) == (7, True), ended.stderr
        assert not tables_of(guarded_sqld)
        assert mark_in(database_of(folder), "moved_to") is None
    folder.settings["primary.token"] = guarded_sqld.token
    assert push(folder, guarded_sqld).returncode == 0


def test_a_killed_push_goes_on_where_it_stopped(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    database_of(folder).unlink()
    before = content(fill(database_of(folder), messages=12_000))
    wire = start_proxy(sqld.port, one_way_ms=40)
    arguments = ("db", "push", "--json", "--to", wire.url)
    reached: list[int] = []
    for number in range(3):
        command = started(Command(tmp_path / f"push{number}", folder, *arguments))
        least = reached[-1] if reached else 0
        block_until(lambda least=least: _moved_rows(sqld) > least, 30, "more rows arrive")  # type: ignore[misc]
        command.kill()
        reached.append(_moved_rows(sqld))
    assert 0 < reached[0] < reached[1] < reached[2] < sum(map(len, before.values()))
    refused_start(folder, "has not finished")
    assert started(Command(tmp_path / "last", folder, *arguments)).ends() == 0
    assert arrived(sqld) == before


def _moved_rows(sqld: Sqld) -> int:
    mark = mark_of(sqld, "moving")
    return int(mark["rows"]) if mark else 0


def test_a_push_outlives_its_primary(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    database_of(folder).unlink()
    before = content(fill(database_of(folder), messages=10_000))
    wire = start_proxy(sqld.port, one_way_ms=60)
    command = started(Command(tmp_path / "push", folder, "db", "push", "--json", "--to", wire.url))
    for _ in range(2):
        rows = _moved_rows(sqld)
        block_until(lambda rows=rows: _moved_rows(sqld) > rows, 30, "more rows arrive")  # type: ignore[misc]
        sqld.restart()
    assert command.ends() == 0, command.log_tail()
    assert arrived(sqld) == before


def test_a_begin_that_nobody_heard_of_is_recognised(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    before = content(database_of(folder))
    wire = start_proxy(sqld.port, one_way_ms=500)
    command = started(Command(tmp_path / "push", folder, "db", "push", "--to", wire.url))
    block_until(lambda: tables_of(sqld), 30, "the schema is there")
    # Its answer is still on the way.
    wire.drop_connections()
    wire.set_delay(0)
    assert command.ends() == 0, command.log_tail()
    assert "is away" in command.log_tail(), "the answer was lost"
    assert arrived(sqld) == before


def test_who_interrupts_a_push_is_told_how_to_go_on(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    wire = start_proxy(sqld.port, one_way_ms=40)
    command = started(Command(tmp_path / "push", folder, "db", "push", "--to", wire.url))
    block_until(lambda: tables_of(sqld), 30, "it has begun")
    command.send(signal.SIGTERM)
    assert command.ends() == 143
    assert "Repeat `groupspaces db push`" in command.log_tail()
    assert started(Command(tmp_path / "again", folder, "db", "push", "--to", wire.url)).ends() == 0


def test_a_primary_that_is_away_is_told_in_an_operators_words(folder: Server, sqld: Sqld) -> None:
    sqld.stop()
    ended = push(folder, sqld)
    assert ended.returncode == 1
    assert "is away" in ended.stderr
    assert "Nothing was changed" in ended.stderr
    assert mark_in(database_of(folder), "moved_to") is None


def test_an_end_that_nobody_heard_of_is_told_next_time(folder: Server, sqld: Sqld) -> None:
    assert push(folder, sqld).returncode == 0
    moved = mark_in(database_of(folder), "moved_to")
    assert moved is not None
    assert moved["complete"]
    _set_mark(database_of(folder), "moved_to", moved | {"complete": False})
    again = push(folder, sqld)
    assert (again.returncode, again.stdout.startswith("An earlier run")) == (0, True)
    assert mark_in(database_of(folder), "moved_to") == moved
    assert sqld.execute("SELECT max(epoch) FROM lineage") == [[2]]


def _set_mark(path: Path, name: str, value: dict[str, Any]) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE deployment SET value = ? WHERE name = ?", (json.dumps(value), name))
    connection.close()


def test_a_primary_that_is_being_filled_serves_nobody(
    folder: Server, sqld: Sqld, tmp_path: Path, started: Any
) -> None:
    assert push(folder, sqld).returncode == 0
    sqld.execute('INSERT INTO deployment VALUES (\'moving\', \'{"move": "x", "origin": "y"}\')')
    other = started(Server(tmp_path / "b", replica_settings(sqld.url)))
    other.start(wait_ready=False)
    block_until(lambda: other.logs(message="primary refused"), 15, "it says so")
    assert not other.children()


@pytest.mark.parametrize("mark", ["moving", "moved_to"])
def test_the_schema_stays_as_it_is_while_data_are_on_their_way(folder: Server, sqld: Sqld, mark: str) -> None:
    assert push(folder, sqld).returncode == 0
    folder.settings |= replica_settings(sqld.url)
    for action in (("down", "--yes"), ("up",)):
        sqld.execute("INSERT INTO deployment VALUES (?, '{}')", (mark,))
        before = (tables_of(sqld), sqld.execute(_LEDGER_SQL))
        ended = folder.command("migrate", *action)
        assert (ended.returncode, "takes part in a move" in ended.stderr) == (REFUSED, True), ended.stderr
        assert (tables_of(sqld), sqld.execute(_LEDGER_SQL)) == before
        sqld.execute("DELETE FROM deployment WHERE name = ?", (mark,))
        assert folder.command("migrate", *action).returncode == 0


def test_the_schema_of_a_file_that_was_moved_stays_as_it_is(folder: Server, sqld: Sqld) -> None:
    assert push(folder, sqld).returncode == 0
    before = content(database_of(folder))
    down = folder.command("migrate", "down", "--yes")
    assert (down.returncode, "takes part in a move" in down.stderr) == (REFUSED, True), down.stderr
    assert content(database_of(folder)) == before


# --- refusals: nothing was changed ---


def _own_table(sqld: Sqld, _: Server) -> None:
    sqld.execute("CREATE TABLE mine (a)")


def _other_deployment(sqld: Sqld, instance: Server) -> None:
    settings = Server(instance.folder / "other", replica_settings(sqld.url))
    assert settings.command("migrate", "up").returncode == 0


def _other_move(sqld: Sqld, _: Server) -> None:
    sqld.execute("CREATE TABLE deployment (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID")
    sqld.execute('INSERT INTO deployment VALUES (\'moving\', \'{"move": "x", "origin": "y"}\')')


def _older_schema(_: Sqld, instance: Server) -> None:
    _run(instance, f"DELETE FROM migration WHERE version = {len(migrate.known())}")


def _edited_schema(_: Sqld, instance: Server) -> None:
    _run(instance, "UPDATE migration SET checksum = 'edited' WHERE version = 3")


def _own_thing(_: Sqld, instance: Server) -> None:
    _run(instance, "CREATE TABLE mine (a)")


def _foreign_file(_: Sqld, instance: Server) -> None:
    database_of(instance).unlink()
    with sqlite3.connect(database_of(instance)) as connection:
        connection.execute("CREATE TABLE bookmarks (a)")


def _no_database(_: Sqld, instance: Server) -> None:
    database_of(instance).write_bytes(b"hello" * 5000)


def _truncated_file(_: Sqld, instance: Server) -> None:
    path = database_of(instance)
    _run(instance, "PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _no_file(_: Sqld, instance: Server) -> None:
    database_of(instance).unlink()


def _other_secret(_: Sqld, instance: Server) -> None:
    (instance.data_folder / "secret").write_text("another secret than that of the settings")


def _view_in_the_way(sqld: Sqld, _: Server) -> None:
    sqld.execute("CREATE VIEW user AS SELECT 1 AS id")


def _other_fingerprint(_: Sqld, instance: Server) -> None:
    _run(instance, "INSERT INTO deployment VALUES ('secret_fingerprint', 'another')")


def _run(instance: Server, sql: str) -> None:
    connection = apsw.Connection(str(database_of(instance)))
    connection.execute(sql)
    connection.close()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_view_in_the_way, "did not take the schema"),
        (_own_table, "is not empty"),
        (_other_deployment, "is not empty"),
        (_other_move, "part of another move"),
        (_older_schema, "Bring it up to date first"),
        (_edited_schema, "was edited"),
        (_own_thing, "did not make: mine"),
        (_foreign_file, "is not a database of Group Spaces"),
        (_no_database, "cannot be read as a database"),
        (_truncated_file, "malformed"),
        (_no_file, "There is no database"),
        (_other_secret, "AUTH_SECRET is not the secret"),
        (_other_fingerprint, "AUTH_SECRET differs"),
    ],
)
def test_a_push_is_refused(
    folder: Server, sqld: Sqld, spoil: Callable[[Sqld, Server], None], why: str
) -> None:
    spoil(sqld, folder)
    database = database_of(folder)
    before = (tables_of(sqld), database.read_bytes() if database.exists() else None)
    ended = push(folder, sqld)
    assert (ended.returncode, why in ended.stderr) == (REFUSED, True), ended.stderr
    assert (tables_of(sqld), database.read_bytes() if database.exists() else None) == before


def test_a_push_beside_a_running_server_is_refused(sqld: Sqld, tmp_path: Path, started: Any) -> None:
    server = started(Server(tmp_path / "a"))
    server.start()
    ended = push(server, sqld)
    assert (ended.returncode, "already uses the data folder" in ended.stderr) == (5, True)
    assert not tables_of(sqld)


def test_what_was_moved_is_served_no_more_until_it_is_unmarked(folder: Server, sqld: Sqld) -> None:
    assert push(folder, sqld).returncode == 0
    refused_start(folder, "were moved to")
    again = push(folder, sqld)
    assert (again.returncode, "were moved to" in again.stderr) == (REFUSED, True)
    assert folder.command("db", "unmark").returncode == 0
    [[last]] = sqld.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'")
    folder.start().stop()
    connection = apsw.Connection(str(database_of(folder)))
    [(first,)] = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchall()
    connection.close()
    assert int(str(first)) >= int(str(last)) + 1_000_000, "both may give out ids, and never the same"


def refused_start(instance: Server, why: str) -> None:
    instance.start(wait_ready=False)
    block_until(lambda: not instance.is_running(), 15, "it ends")
    assert (instance.exit_code, why in instance.log_tail()) == (REFUSED, True), instance.log_tail()


# --- there and back ---


async def test_people_stay_signed_in_there_and_back(sqld: Sqld, tmp_path: Path, started: Any) -> None:
    server: Server = started(Server(tmp_path / "a", {"limits.enabled": False}))
    server.start()
    async with Participant(server.url) as alice:
        await alice.sign_up("Alice")
        space_id = await alice.space()
        said = [await alice.message(space_id, f"alone {number}") for number in range(5)]
        async with alice.events() as stream:
            await alice.message(space_id, "seen")
            await stream.wait_for_messages(1)
            last_seen = stream.last_id
        server.stop()

        assert (await asyncio.to_thread(push, server, sqld)).returncode == 0
        secret = (server.data_folder / "secret").read_text().strip()
        server.settings |= replica_settings(sqld.url) | {"auth.secret": secret}
        server.start()
        assert len(await alice.all_messages(space_id)) == 6
        async with alice.events(last_seen) as stream:
            moved = await alice.message(space_id, "moved")
            await stream.wait_for_messages(1)
            assert stream.contents() == ["moved"], "what was seen is not told again, what was not is"
            last_seen = stream.last_id
        assert moved["id"] > said[-1]["id"] + 1_000_000
        server.stop()

        pulled = await asyncio.to_thread(server.command, "db", "pull")
        assert pulled.returncode == 0, pulled.stderr
        del server.settings["primary.url"]
        server.start()
        assert len(await alice.all_messages(space_id)) == 7
        async with alice.events(last_seen) as stream:
            back = await alice.message(space_id, "back")
            await stream.wait_for_messages(1)
            assert stream.contents() == ["back"]
        assert back["id"] > moved["id"] + 1_000_000
        server.stop()
    [kept] = server.data_folder.glob("groupspaces.db.before-pull-*")
    assert mark_in(kept, "moved_to") is not None


def test_there_and_back_is_equal(folder: Server, sqld: Sqld) -> None:
    before = content(database_of(folder))
    assert push(folder, sqld).returncode == 0
    folder.settings |= replica_settings(sqld.url)
    ended = folder.command("db", "pull", "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert all(table["equal"] for table in told["tables"])
    assert content(database_of(folder)) == before
    again = folder.command("db", "pull")
    assert (again.returncode, "were moved to" in again.stderr) == (REFUSED, True)
    del folder.settings["primary.url"]
    folder.start().stop()
