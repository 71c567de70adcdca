"""`groupspaces db pull` from a real primary into a folder, what stops it in between, and what it says and leaves then."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from groupspaces.clock import SystemClock
from groupspaces.db import migrate, pulling
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.folder import DataFolder, FolderError
from groupspaces.db.prospect import Source
from groupspaces.db.remote_primary import RemotePrimary
from groupspaces.deployment_secrets import secret_fingerprint
from groupspaces.errors import AppError, Unavailable
from tests.support.client import Participant, refused
from tests.support.disk import SmallDisk
from tests.support.filled import content, fill
from tests.support.fleet import SECRET, replica_settings
from tests.support.moves import REFUSED, Command, database_of, mark_in, mark_of, push
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until, wait_until

pytestmark = pytest.mark.sqld

FOLDER_UNUSABLE = 5
HEAD_SQL = "SELECT max(seq) FROM change"
MOVED_SQL = "SELECT value FROM deployment WHERE name = 'moved_to'"
PRECIOUS_SQL = "SELECT count(*) FROM change WHERE kind = 'test.precious'"


@pytest.fixture
def folder(tmp_path: Path, sqld: Sqld, started: Callable[[Any], Any]) -> Server:
    """An instance of a primary that was filled from its folder, and is stopped: nothing of it runs, and it has no replica yet."""
    instance: Server = started(Server(tmp_path / "a", {"auth.secret": SECRET}))
    fill(database_of(instance))
    assert push(instance, sqld).returncode == 0
    instance.settings |= replica_settings(sqld.url)
    return instance


def leftovers(instance: Server) -> list[str]:
    return sorted(path.name for path in instance.data_folder.glob("groupspaces.db.pulling*"))


def run_in(path: Path, sql: str) -> list[Any]:
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def with_replica(instance: Server) -> Path:
    """Let an instance fetch its replica, and stop it."""
    instance.start().stop()
    return instance.data_folder / "replica" / "1" / "replica.db"


def test_a_killed_pull_is_repeated(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    before = content(database_of(folder))
    wire = start_proxy(sqld.port, one_way_ms=30)
    folder.settings |= replica_settings(wire.url)
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: mark_of(sqld, "moved_to"), 30, "the primary is marked")
    command.kill()
    first = mark_of(sqld, "moved_to")
    assert first is not None
    assert not first["complete"]
    assert started(Command(tmp_path / "again", folder, "db", "pull")).ends() == 0
    assert mark_of(sqld, "moved_to") == first | {"complete": True}
    assert content(database_of(folder)) == before


def test_a_killed_pull_is_given_up(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    folder.settings |= replica_settings(start_proxy(sqld.port, one_way_ms=30).url)
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: "comparing" in command.log_tail(), 30, "it compares")
    command.kill()
    assert leftovers(folder)
    assert folder.command("db", "unmark", "--primary").returncode == 0
    assert leftovers(folder) == []
    assert mark_of(sqld, "moved_to") is None


def test_an_unheard_end_of_a_pull_is_told_next_time(folder: Server, sqld: Sqld) -> None:
    assert folder.command("db", "pull").returncode == 0
    moved = mark_of(sqld, "moved_to")
    assert moved is not None
    text = json.dumps(moved | {"complete": False})
    sqld.execute("UPDATE deployment SET value = ? WHERE name = 'moved_to'", (text,))
    before = database_of(folder).read_bytes()
    again = folder.command("db", "pull")
    assert (again.returncode, again.stdout.startswith("An earlier run")) == (0, True), again.stderr
    assert mark_of(sqld, "moved_to") == moved
    assert database_of(folder).read_bytes() == before


def test_who_stops_reading_along_does_not_stop_it(folder: Server, sqld: Sqld) -> None:
    before = content(database_of(folder))
    command = [sys.executable, "-m", "groupspaces", "db", "pull", "--yes", "--json"]
    pull = subprocess.Popen(
        command, env=folder._environment(), cwd=folder.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert pull.stdout is not None
    assert pull.stderr is not None
    assert b"step" in pull.stdout.readline()
    pull.stdout.close()
    said = pull.stderr.read()
    pull.stderr.close()
    assert (pull.wait(30), said) == (0, b"")
    mark = mark_of(sqld, "moved_to")
    assert mark is not None
    assert mark["complete"]
    assert content(database_of(folder)) == before


# --- two of them at once ---


async def test_of_two_at_once_only_one_takes_the_data(folder: Server, sqld: Sqld, tmp_path: Path) -> None:
    """The other one had looked at the primary before, and was still fetching."""
    other = DataFolder(tmp_path / "other")
    other.claim()
    primary = RemotePrimary(sqld.url, None, timeout_s=10.0)
    await primary.start()
    source = Source(
        url=sqld.url,
        replica_url=sqld.url,
        replica_token=None,
        timeout_s=8.0,
        fingerprints=[secret_fingerprint(SECRET)],
        to="the other",
        by="other",
    )
    steps: list[str] = []

    def on_step(step: str) -> None:
        if step == "fetching" and not steps:
            assert folder.command("db", "pull").returncode == 0
        steps.append(step)

    try:
        agreed = await pulling.prospect_of(other, primary, source, anyway=True)
        with pytest.raises(AppError, match=r"another move of its data has begun. Nothing was changed"):
            await pulling.pull(other, primary, source, SystemClock(), agreed, anyway=True, on_step=on_step)
    finally:
        await primary.close()
        other.release()
    mark = mark_of(sqld, "moved_to")
    assert mark is not None
    assert (mark["complete"], mark["to"] != "the other") == (True, True)
    assert not other.database.exists()


MINE, THEIRS = {"move": "mine", "to": "here"}, {"move": "theirs", "to": "there"}


@pytest.mark.parametrize(
    ("there", "changed", "is_taken"),
    [
        (None, {}, True),
        (MINE | {"complete": False}, {}, True),
        (MINE | {"complete": True}, {}, False),
        (THEIRS | {"complete": False}, {}, False),
        (THEIRS | {"complete": True}, {}, False),
        (None, {"seq": 1}, False),
        (None, {"token": "another"}, False),
        (None, {"epoch": 7}, False),
    ],
)
async def test_the_mark_is_put_only_where_nothing_speaks_against_it(
    folder: Server, sqld: Sqld, there: dict[str, Any] | None, changed: dict[str, Any], is_taken: bool
) -> None:
    if there is not None:
        sqld.execute("INSERT INTO deployment VALUES ('moved_to', ?)", (json.dumps(there),))
    [[seq, token]] = sqld.execute("SELECT seq, token FROM change ORDER BY seq DESC LIMIT 1")
    [[epoch]] = sqld.execute("SELECT max(epoch) FROM lineage")
    at = {"seq": int(str(seq)), "token": token, "epoch": int(str(epoch))} | changed
    mark = json.dumps(MINE | {"complete": False})
    params = (mark, at["seq"], at["token"], at["epoch"], "mine")
    primary = RemotePrimary(sqld.url, None, timeout_s=10.0)
    await primary.start()
    try:
        put = Batch([Statement(pulling._PUT_MARK_SQL, params, refused=pulling._EXCHANGED)])
        if is_taken:
            await primary.write(put)
        else:
            with pytest.raises(AppError, match="another history"):
                await primary.write(put)
    finally:
        await primary.close()
    assert mark_of(sqld, "moved_to") == (json.loads(mark) if is_taken else there)


# --- what stops it after the primary was marked ---


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_who_interrupts_a_pull_has_the_primary_let_go(
    folder: Server,
    sqld: Sqld,
    start_proxy: Any,
    tmp_path: Path,
    started: Any,
    number: signal.Signals,
    code: int,
) -> None:
    before = database_of(folder).read_bytes()
    folder.settings |= replica_settings(start_proxy(sqld.port, one_way_ms=30).url)
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: "comparing" in command.log_tail(), 30, "it compares")
    command.send(number)
    assert command.ends() == code, command.log_tail()
    assert "was let go again" in command.log_tail()
    assert mark_of(sqld, "moved_to") is None
    assert leftovers(folder) == []
    assert database_of(folder).read_bytes() == before


def test_who_interrupts_while_the_primary_is_away_is_told_what_to_do(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    before = content(database_of(folder))
    folder.settings |= replica_settings(start_proxy(sqld.port, one_way_ms=30).url)
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: "comparing" in command.log_tail(), 30, "it compares")
    sqld.kill()
    block_until(lambda: "waiting up to" in command.log_tail(), 30, "it waits")
    command.send(signal.SIGINT)
    assert command.ends() == 130
    told = command.log_tail()
    assert "may still be marked as moved" in told
    assert "`groupspaces db pull`" in told
    assert "`groupspaces db unmark --primary`" in told
    assert leftovers(folder) == []
    sqld.start()
    assert mark_of(sqld, "moved_to") is not None
    assert started(Command(tmp_path / "again", folder, "db", "pull")).ends() == 0
    assert content(database_of(folder)) == before


def test_a_pull_outlives_its_primary(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    before = content(database_of(folder))
    folder.settings |= replica_settings(start_proxy(sqld.port, one_way_ms=30).url)
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: "comparing" in command.log_tail(), 30, "it compares")
    sqld.restart()
    assert command.ends() == 0, command.log_tail()
    assert content(database_of(folder)) == before


async def pull_here(
    instance: Server, url: str, on_step: Callable[[str], None], *, patience_s: float = 20.0
) -> pulling.Pulled:
    """Pull in this process, as the command does."""
    folder = DataFolder(instance.data_folder)
    source = Source(url, url, None, 10.0, [secret_fingerprint(SECRET)], "here", "a")
    primary = RemotePrimary(url, None, timeout_s=5.0)
    await primary.start()
    try:
        agreed = await pulling.prospect_of(folder, primary, source, anyway=True)
        return await pulling.pull(
            folder,
            primary,
            source,
            SystemClock(),
            agreed,
            anyway=True,
            on_step=on_step,
            patience_s=patience_s,
        )
    finally:
        await primary.close()


async def test_a_primary_that_stays_away_is_told_in_an_operators_words(
    folder: Server, sqld: Sqld, start_proxy: Any
) -> None:
    wire = start_proxy(sqld.port, one_way_ms=0)

    def cut(step: str) -> None:
        if step == "comparing":
            wire.set_mode("reset")

    with pytest.raises(Unavailable) as caught:
        await pull_here(folder, wire.url, cut, patience_s=1.0)
    assert "is away" in caught.value.detail
    assert "`groupspaces db unmark --primary`" in caught.value.detail
    assert "Idempotency-Key" not in caught.value.detail
    assert leftovers(folder) == []


async def test_who_unmarks_the_primary_meanwhile_loses_nothing(
    folder: Server, sqld: Sqld, start_proxy: Any
) -> None:
    before = database_of(folder).read_bytes()

    def unmark(step: str) -> None:
        if step == "comparing":
            sqld.execute("DELETE FROM deployment WHERE name = 'moved_to'")

    with pytest.raises(AppError, match="Somebody has let the primary go"):
        await pull_here(folder, sqld.url, unmark)
    assert database_of(folder).read_bytes() == before


# --- disks and primaries that do not give what is needed ---


def test_a_full_disk_is_told_before_the_primary_is_marked(sqld: Sqld, folder: Server, tmp_path: Path) -> None:
    head = sqld.execute(HEAD_SQL)
    with SmallDisk(tmp_path / "small", 60_000) as disk:
        shutil.move(folder.data_folder, tmp_path / "small" / "data")
        folder.settings["data.dir"] = str(tmp_path / "small" / "data")
        disk.fill(leaving_kb=8_000)
        ended = folder.command("db", "pull")
        assert ended.returncode == FOLDER_UNUSABLE, ended.stderr
        assert "has room for" in ended.stderr
        assert "Nothing was changed" in ended.stderr
        assert not list((tmp_path / "small" / "data").glob("groupspaces.db.pulling*"))
    assert sqld.execute(HEAD_SQL) == head, "not even for a moment"


async def test_a_disk_that_fills_up_meanwhile_lets_the_primary_go(
    sqld: Sqld, folder: Server, tmp_path: Path
) -> None:
    with SmallDisk(tmp_path / "small", 60_000) as disk:
        small = tmp_path / "small" / "data"
        shutil.move(folder.data_folder, small)
        folder.data_folder = small

        def fill_up(step: str) -> None:
            if step == "comparing":
                disk.fill()

        with pytest.raises(FolderError) as caught:
            await pull_here(folder, sqld.url, fill_up)
        assert "cannot be written" in str(caught.value)
        assert "was let go again" in str(caught.value)
        assert leftovers(folder) == []
        assert mark_in(database_of(folder), "moved_to") is not None, "what was in place is still there"
    assert mark_of(sqld, "moved_to") is None


def test_a_primary_that_gives_its_data_only_later_is_waited_for(
    folder: Server, sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Any
) -> None:
    before = content(database_of(folder))
    wire = start_proxy(sqld.port, one_way_ms=0)
    wire.set_mode("http_503")
    folder.settings |= {"replica.url": wire.url}
    command = started(Command(tmp_path / "pull", folder, "db", "pull"))
    block_until(lambda: "trying again" in command.log_tail(), 30, "it is told")
    wire.set_mode("pass")
    assert command.ends() == 0, command.log_tail()
    assert content(database_of(folder)) == before


def test_a_token_that_may_not_write_changes_nothing(folder: Server, guarded_sqld: Sqld) -> None:
    assert guarded_sqld.key is not None
    database_of(folder).unlink()
    fill(database_of(folder))
    folder.settings |= {"primary.url": "", "primary.token": guarded_sqld.token}
    assert push(folder, guarded_sqld).returncode == 0
    folder.settings |= {"primary.url": guarded_sqld.url, "primary.token": guarded_sqld.key.mint("ro")}
    before = database_of(folder).read_bytes()
    ended = folder.command("db", "pull")
    assert (ended.returncode, "does not accept the token" in ended.stderr) == (7, True), ended.stderr
    assert "Nothing was changed" in ended.stderr
    assert guarded_sqld.execute(MOVED_SQL) == []
    assert database_of(folder).read_bytes() == before


# --- what only this folder's replica has ---


async def test_what_the_primary_has_lost_is_told_and_kept(folder: Server, sqld: Sqld, tmp_path: Path) -> None:
    [[shared]] = sqld.execute(HEAD_SQL)
    sqld.stop()
    shutil.copytree(sqld.database_folder, tmp_path / "backup")
    sqld.start()
    _write(sqld, 3, "precious")
    replica = with_replica(folder)
    [(seq,)] = run_in(replica, HEAD_SQL)
    _restore(sqld, tmp_path / "backup")
    _write(sqld, 40, "later")
    assert sqld.execute(HEAD_SQL) > [[seq]], "it was written past what is here"

    ended = folder.command("db", "pull", "--anyway", "--json")
    assert ended.returncode == 0, ended.stderr
    first, *_, last = [json.loads(line) for line in ended.stdout.splitlines()]
    # The instance may have said something of its own while it ran.
    lost = seq - int(str(shared))
    assert lost >= 3
    assert first == {"only_here": lost, "kept_generation": 1}
    assert (last["only_here"], last["kept_generation"]) == (lost, 1)
    kept = json.loads((replica.parent / "quarantined").read_text())
    assert (kept["seq"], kept["rescues"]) == (seq, True)
    assert run_in(replica, PRECIOUS_SQL) == [(3,)]
    assert run_in(replica, "PRAGMA integrity_check") == [("ok",)]
    assert run_in(database_of(folder), PRECIOUS_SQL) == [(0,)]


def _write(sqld: Sqld, count: int, text: str) -> None:
    for number in range(count):
        sqld.execute(
            "INSERT INTO change (token, at_ms, audience, kind, subject_id, data) VALUES (lower(hex(randomblob(8))), 1, 'nobody', ?, ?, '{}')",
            (f"test.{text}", number),
        )


def _restore(sqld: Sqld, backup: Path) -> None:
    sqld.stop()
    shutil.rmtree(sqld.database_folder)
    shutil.copytree(backup, sqld.database_folder)
    sqld.start()


def test_primaries_that_must_not_be_pulled_into_this_replica(folder: Server, sqld: Sqld) -> None:
    with_replica(folder)
    before = _state(folder, sqld)
    origin = sqld.execute("SELECT value FROM deployment WHERE name = 'origin'")[0][0]
    sqld.execute("UPDATE deployment SET value = 'another' WHERE name = 'origin'")
    sqld.execute("UPDATE lineage SET at_ms = at_ms - 1 WHERE epoch = 1")
    ended = folder.command("db", "pull", "--anyway")
    assert (ended.returncode, "belongs to another deployment" in ended.stderr) == (REFUSED, True), (
        ended.stderr
    )
    sqld.execute("UPDATE deployment SET value = ? WHERE name = 'origin'", (origin,))
    sqld.execute("DELETE FROM lineage WHERE epoch = 2")
    ended = folder.command("db", "pull", "--anyway")
    assert (ended.returncode, "of an earlier epoch" in ended.stderr) == (REFUSED, True), ended.stderr
    assert _state(folder, sqld) == before


def _cut(replica: Path) -> None:
    replica.write_bytes(replica.read_bytes()[: replica.stat().st_size // 2])


def _noise(replica: Path) -> None:
    replica.write_bytes(b"hello" * 200_000)


@pytest.mark.parametrize("spoil", [_cut, _noise])
def test_a_damaged_replica_is_fetched_anew(folder: Server, sqld: Sqld, spoil: Callable[[Path], None]) -> None:
    before = content(database_of(folder))["message"]
    spoil(with_replica(folder))
    ended = folder.command("db", "pull", "--anyway")
    assert ended.returncode == 0, ended.stderr
    assert content(database_of(folder))["message"] == before


# --- refusals: nothing was changed ---


def _data_of_its_own(_: Sqld, instance: Server) -> None:
    database_of(instance).unlink()
    fill(database_of(instance))


def _primary_away(sqld: Sqld, _: Server) -> None:
    sqld.kill()


def _primary_empty(sqld: Sqld, instance: Server) -> None:
    other = Sqld(instance.folder / "empty")
    sqld.stop()
    sqld.database_folder.rename(other.folder / "kept")
    sqld.start()


def _half_filled(sqld: Sqld, _: Server) -> None:
    sqld.execute('INSERT INTO deployment VALUES (\'moving\', \'{"move": "x", "origin": "y"}\')')


def _another_lives(sqld: Sqld, _: Server) -> None:
    sqld.execute("INSERT INTO instance VALUES ('b', 'x', 'http://b', '{}', unixepoch('subsec') * 1000)")


def _another_fingerprint(sqld: Sqld, _: Server) -> None:
    sqld.execute("UPDATE deployment SET value = 'another' WHERE name = 'secret_fingerprint'")


def _older_schema(sqld: Sqld, _: Server) -> None:
    sqld.execute(f"DELETE FROM migration WHERE version = {len(migrate.known())}")


def _newer_schema(sqld: Sqld, _: Server) -> None:
    sqld.execute(f"INSERT INTO migration VALUES ({len(migrate.known()) + 1}, 'later', 'x', 1, 1)")


def _edited_schema(sqld: Sqld, _: Server) -> None:
    sqld.execute("UPDATE migration SET checksum = 'edited' WHERE version = 3")


def _on_its_way_elsewhere(sqld: Sqld, _: Server) -> None:
    sqld.execute('INSERT INTO deployment VALUES (\'moved_to\', \'{"move": "x", "to": "y", "by": "z"}\')')


def _no_database(_: Sqld, instance: Server) -> None:
    database_of(instance).write_bytes(b"hello" * 5000)


def _log_of_another_file(_: Sqld, instance: Server) -> None:
    database_of(instance).rename(instance.data_folder / "elsewhere.db")
    (instance.data_folder / "groupspaces.db-wal").write_bytes(b"hello")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_older_schema, "Run `groupspaces migrate up` first"),
        (_newer_schema, "the newer version of Group Spaces"),
        (_edited_schema, "was edited"),
        (_on_its_way_elsewhere, "are on their way to y"),
        (_no_database, "cannot be read"),
        (_log_of_another_file, "groupspaces.db-wal"),
        (_data_of_its_own, "holds data that were not moved"),
        (_primary_away, "is away"),
        (_primary_empty, "is empty"),
        (_half_filled, "takes part in a move"),
        (_another_lives, "Other instances were alive"),
        (_another_fingerprint, "AUTH_SECRET differs"),
    ],
)
def test_a_pull_is_refused(
    folder: Server, sqld: Sqld, spoil: Callable[[Sqld, Server], None], why: str
) -> None:
    spoil(sqld, folder)
    before = _state(folder, sqld)
    ended = folder.command("db", "pull")
    assert (ended.returncode, why in ended.stderr) == (REFUSED, True), ended.stderr
    assert _state(folder, sqld) == before


def _state(instance: Server, sqld: Sqld) -> tuple[Any, ...]:
    database = database_of(instance)
    marks = (mark_of(sqld, "moving"), mark_of(sqld, "moved_to")) if sqld.is_running() else None
    return leftovers(instance), database.read_bytes() if database.exists() else None, marks


async def test_who_was_forgotten_saves_nothing_until_the_primary_is_unmarked(
    folder: Server, sqld: Sqld, tmp_path: Path, started: Any
) -> None:
    forgotten: Server = started(Server(tmp_path / "b", replica_settings(sqld.url)))
    await asyncio.to_thread(forgotten.start)
    async with Participant(forgotten.url) as bob:
        await bob.sign_up("Bob")
        space_id = await bob.space()
        await bob.message(space_id, "in time")
        ended = await asyncio.to_thread(folder.command, "db", "pull", "--anyway")
        assert ended.returncode == 0, ended.stderr
        refused(await bob.post_message(space_id, "too late"), 503)
        assert [one["content"] for one in await bob.all_messages(space_id)] == ["in time"]
        connection = apsw.Connection(str(database_of(folder)), flags=apsw.SQLITE_OPEN_READONLY)
        [(newest,)] = connection.execute("SELECT content FROM message ORDER BY id DESC LIMIT 1").fetchall()
        connection.close()
        assert newest == "in time"

        assert (await asyncio.to_thread(folder.command, "db", "unmark", "--primary")).returncode == 0

        async def saved() -> bool:
            return (await bob.post_message(space_id, "again")).status_code == 201

        await wait_until(saved, 30, "it takes writes again")
