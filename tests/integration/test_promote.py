"""`groupspaces replica promote` after a primary is lost for good: what the fleet has then, and what must not come back."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio

from groupspaces.db import migrate
from groupspaces.db.generations import Cause, Generations, Wish
from groupspaces.db.lineage import LEAST_JUMP, begin_epoch_script
from groupspaces.db.promote import choose
from groupspaces.errors import DatabaseRefused
from groupspaces.ops.torture.ports import free_port
from tests.support.client import EventStream, Participant, expect, new_key, refused
from tests.support.filled import content, fill
from tests.support.fleet import SECRET, Fleet, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld
from tests.support.wait import block_until, wait_until

pytestmark = pytest.mark.sqld

TIMEOUT_S = 30.0
REFUSED = 8


class Bereft:
    """Alice at `b` and Bob at `a`; then `b` heard no more, Bob wrote three messages more, and the primary was lost."""

    def __init__(self, fleet: Fleet, alice: Participant, bob: Participant, space_id: int) -> None:
        self.fleet = fleet
        self.alice = alice
        self.bob = bob
        self.space_id = space_id
        self.both = [f"both {number}" for number in range(5)]
        self.ghosts = [f"ghost {number}" for number in range(3)]
        self.last_message_id = 0
        self.streams: list[EventStream] = []

    async def told(self, person: Participant) -> list[str]:
        return [one["content"] for one in await person.all_messages(self.space_id)]

    async def until_told(self, person: Participant, contents: list[str]) -> None:
        async def is_there() -> bool:
            return await self.told(person) == contents

        await wait_until(is_there, TIMEOUT_S, f"{contents} are there")

    async def say(self, person: Participant, content: str) -> dict[str, Any]:
        """Post until it is taken, once: while an instance fetches everything anew it saves nothing."""
        said: dict[str, Any] = {}
        key = new_key()

        async def is_taken() -> bool:
            answer = await person.post_message(self.space_id, content, key)
            if answer.status_code == 503:
                return False
            said.update(expect(answer, 201))
            return True

        await wait_until(is_taken, TIMEOUT_S, "writes work again")
        return said

    async def lose_the_primary(self) -> None:
        await asyncio.to_thread(self.fleet.primary.kill)
        self.fleet.primary.database_folder.rename(self.fleet.primary.folder / "lost")

    async def restart_with(self, url: str) -> None:
        for server in self.fleet.servers.values():
            await asyncio.to_thread(server.stop)
            server.settings["primary.url"] = url
            await asyncio.to_thread(server.start)


@pytest_asyncio.fixture
async def bereft(tmp_path: Path, started: Callable[[Any], Any]) -> AsyncIterator[Bereft]:
    with Fleet(tmp_path / "fleet", wired=True) as fleet:
        for process in fleet.processes:
            started(process)
        await asyncio.to_thread(fleet.start)
        async with Participant(fleet.a.url) as bob, Participant(fleet.b.url) as alice:
            await alice.sign_up("Alice")
            await bob.sign_up("Bob")
            scene = Bereft(fleet, alice, bob, await alice.space())
            await bob.accept(await alice.invite(scene.space_id))
            for text in scene.both:
                await alice.message(scene.space_id, text)
            await scene.until_told(bob, scene.both)
            async with alice.events() as hers, bob.events() as his:
                scene.streams = [hers, his]
                await asyncio.to_thread(fleet.wires["b"].set_mode, "blackhole")
                for text in scene.ghosts:
                    scene.last_message_id = (await bob.message(scene.space_id, text))["id"]
                await scene.until_told(bob, scene.both + scene.ghosts)
                await scene.lose_the_primary()
                yield scene


async def promote(server: Server, to: Path | str, *arguments: str) -> dict[str, Any]:
    ended = await asyncio.to_thread(
        server.command, "replica", "promote", "--to", str(to), "--json", *arguments
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_a_fleet_goes_on_with_a_promoted_replica(
    bereft: Bereft, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    fleet, alice, bob = bereft.fleet, bereft.alice, bereft.bob
    new = started(Sqld(tmp_path / "new"))
    before = {name: await _feed_seq(server) for name, server in fleet.servers.items()}
    assert before["a"] > before["b"]

    found = await promote(fleet.b, new.database_folder)

    assert (found["feed_seq"], found["known_seq"]) == (before["b"], before["a"])
    assert found["lost"] == before["a"] - before["b"]
    assert (found["promote_instead"]["name"], found["promote_instead"]["feed_seq"]) == ("a", before["a"])
    assert files_in(new.database_folder) == ["dbs/default/data"]
    assert not list(tmp_path.glob("new/*.promoting"))
    await asyncio.to_thread(new.start)
    last_ids = [stream.last_id for stream in bereft.streams]
    await bereft.restart_with(new.url)

    for person in (alice, bob):
        # What both had is there once, and no ghost is.
        await bereft.until_told(person, bereft.both)
    for person in (alice, bob):
        assert expect(await person.get("/api/auth/session"), 200)["user"]["id"] == person.id
    for person, last_id in zip((alice, bob), last_ids, strict=True):
        async with person.events(last_id) as stream:
            sent = await bereft.say(person, f"after it, {person.name}")
            assert sent["id"] > bereft.last_message_id + LEAST_JUMP - 100
            if person is bob:
                await stream.wait_for("reset")
            else:
                await stream.wait_for_messages(1)
            assert person.bookmark > before["a"] + LEAST_JUMP - 100
    quarantined = Path(fleet.a.data_folder / "replica" / "1")
    assert (quarantined / "replica.db").exists()
    assert _contents(quarantined / "replica.db") == bereft.both + bereft.ghosts
    assert new.execute("SELECT epoch FROM lineage ORDER BY epoch") == [[1], [2]]
    [epoch] = new.execute("SELECT epoch, branch FROM lineage WHERE epoch = 2")
    for server in fleet.servers.values():
        health = await _replica_health(server)
        assert [health["epoch"], health["branch"]] == epoch
    assert new.execute("SELECT count(*), count(DISTINCT content) FROM message") == [[7, 7]]


async def _feed_seq(server: Server) -> int:
    return int((await _replica_health(server))["feed_seq"])


async def _replica_health(server: Server) -> dict[str, Any]:
    async with Participant(server.url) as anyone:
        found: dict[str, Any] = expect(await anyone.get("/api/health"), 200)["replica"]
        return found


def _contents(path: Path) -> list[str]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return [str(row[0]) for row in connection.execute("SELECT content FROM message ORDER BY id")]
    finally:
        connection.close()


async def test_instances_that_run_follow_the_new_primary_and_refuse_the_old_one(bereft: Bereft) -> None:
    fleet, alice, bob = bereft.fleet, bereft.alice, bereft.bob
    primary = fleet.primary
    await promote(fleet.b, primary.database_folder)
    await asyncio.to_thread(primary.start)
    await asyncio.to_thread(fleet.wires["b"].set_mode, "pass")
    [hers, his] = bereft.streams
    await his.wait_for("reset", timeout_s=TIMEOUT_S)
    await wait_until(lambda: his.ended, TIMEOUT_S, "the stream of who saw ghosts ends")
    await bereft.until_told(bob, bereft.both)
    said = [(await bereft.say(person, f"by {person.name}"))["content"] for person in (bob, alice)]
    await hers.wait_for_messages(2, TIMEOUT_S)
    assert hers.contents() == said
    assert not hers.of_kind("reset"), "who listened at the promoted instance goes on"
    for person in (alice, bob):
        await bereft.until_told(person, bereft.both + said)

    promoted = primary.folder / "promoted"
    await _exchange(primary, primary.folder / "lost", promoted)
    # The first writes meet it; it may never take one.
    for person in (alice, bob, alice, bob):
        refused(await person.post_message(bereft.space_id, "to the dead"), 503)
    for person in (alice, bob):
        await wait_until(lambda p=person: _lineage_is(p, "superseded"), TIMEOUT_S, "it is refused")  # type: ignore[misc]
        assert await bereft.told(person) == bereft.both + said
    for server in fleet.servers.values():
        await asyncio.to_thread(server.restart)
        refused(await alice.at(server.url).post_message(bereft.space_id, "to the dead"), 503)
        assert await bereft.told(alice.at(server.url)) == bereft.both + said
        condition = server.logs(message="primary refused")[-1]
        assert condition["lineage"] == "superseded"
        assert "another one was promoted in its place" in condition["reason"]
    assert primary.execute("SELECT count(*) FROM message") == [[len(bereft.both + bereft.ghosts)]]
    assert primary.execute("SELECT max(epoch) FROM lineage") == [[1]]

    await _exchange(primary, promoted, primary.folder / "lost")
    said.append((await bereft.say(alice, "the right one again"))["content"])
    await bereft.until_told(bob, bereft.both + said)


async def _exchange(primary: Sqld, content: Path, aside: Path) -> None:
    await asyncio.to_thread(primary.kill)
    primary.database_folder.rename(aside)
    content.rename(primary.database_folder)
    await asyncio.to_thread(primary.start)


async def _lineage_is(person: Participant, state: str) -> bool:
    health = expect(await person.get("/api/health"), 200)
    return bool(health["replica"]["lineage"] == state)


async def test_straight_into_an_empty_primary(
    bereft: Bereft, sqld: Sqld, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    fleet = bereft.fleet
    found = await promote(fleet.a, sqld.url)
    assert (found["to"], found["lost"], found["promote_instead"]) == (sqld.url, 0, None)
    assert not (fleet.a.data_folder / "promoting").exists()
    await bereft.restart_with(sqld.url)
    for person in (bereft.alice, bereft.bob):
        await bereft.until_told(person, bereft.both + bereft.ghosts)
    sent = await bereft.say(bereft.alice, "straight")
    assert sent["id"] > bereft.last_message_id + LEAST_JUMP

    again = await asyncio.to_thread(fleet.a.command, "replica", "promote", "--to", sqld.url)
    assert (again.returncode, "is not empty" in again.stderr) == (REFUSED, True), again.stderr
    assert not (fleet.a.data_folder / "promoting").exists()
    assert sqld.execute("SELECT count(*) FROM message") == [[len(bereft.both + bereft.ghosts) + 1]]


async def test_an_older_copy_that_rescues_is_promoted(
    bereft: Bereft, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    fleet, primary = bereft.fleet, bereft.fleet.primary
    await promote(fleet.b, primary.database_folder)
    await asyncio.to_thread(primary.start)
    await bereft.until_told(bereft.bob, bereft.both)
    newer = await promote(fleet.a, tmp_path / "newer")
    assert [one["name"] for one in newer["kept"]] == ["generation 1"]
    assert newer["primary"]["feed_seq"] == newer["feed_seq"], "it answers, and is told of"
    await asyncio.to_thread(fleet.a.stop)
    await promote(fleet.a, tmp_path / "older", "--generation", "1")
    assert _contents(tmp_path / "older/dbs/default/data") == bereft.both + bereft.ghosts
    # It was known that an epoch had been begun already: this one takes over, and who followed the other follows.
    await _exchange(primary, tmp_path / "older", primary.folder / "wrong one")
    await asyncio.to_thread(fleet.a.start)
    await asyncio.to_thread(fleet.wires["b"].set_mode, "pass")
    for person in (bereft.alice, bereft.bob):
        await bereft.until_told(person, bereft.both + bereft.ghosts)
    assert primary.execute("SELECT epoch FROM lineage ORDER BY epoch") == [[1], [3]]


# --- which copy, and past which numbers ---


def _promoted(server: Server, to: Path, *arguments: str) -> dict[str, Any]:
    ended = server.command("replica", "promote", "--to", str(to), "--json", *arguments)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _other_generation(file: Path, number: int, sql: str) -> None:
    """Keep another copy beside this one, which went on by some SQL."""
    shutil.copytree(file.parent, file.parent.parent / str(number))
    _run(file.parent.parent / str(number) / file.name, sql)


def _sequences(file: Path) -> dict[str, int]:
    return {str(name): int(str(seq)) for name, seq in _rows(file, "SELECT name, seq FROM sqlite_sequence")}


def _rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_copy_of_the_same_epoch_is_ahead_however_far(replica: tuple[Server, Path], tmp_path: Path) -> None:
    server, file = replica
    ahead, before = 3 * LEAST_JUMP, _sequences(file)
    _other_generation(
        file,
        7,
        f"INSERT INTO change SELECT seq + {ahead}, 'far', at_ms, actor_id, space_id, audience, kind, subject_id, data "
        "FROM change ORDER BY seq DESC LIMIT 1",
    )
    found = _promoted(server, tmp_path / "new")
    assert (found["lost"], found["promote_instead"]["name"]) == (ahead, "generation 7")
    for table, seq in _sequences(tmp_path / "new/dbs/default/data").items():
        assert seq > before.get(table, 0) + ahead, table


def test_an_epoch_that_was_begun_already_is_left_out_with_all_its_numbers(
    replica: tuple[Server, Path], tmp_path: Path
) -> None:
    server, file = replica
    _other_generation(file, 2, begin_epoch_script(lost=2 * LEAST_JUMP))
    given = _sequences(file.parent.parent / "2" / file.name)
    found = _promoted(server, tmp_path / "new")
    assert (found["lost"], found["promote_instead"]) == (0, None)
    [other] = found["kept"]
    assert (other["epoch"], other["other_history"]) == (2, True)
    for table, seq in _sequences(tmp_path / "new/dbs/default/data").items():
        assert seq > given[table], table
    assert _rows(tmp_path / "new/dbs/default/data", "SELECT max(epoch) FROM lineage") == [(3,)]


def test_a_copy_that_was_to_be_replaced_is_promoted_by_its_name_alone(
    replica: tuple[Server, Path], tmp_path: Path
) -> None:
    server, file = replica
    generations = Generations(file.parent.parent)
    generations.want(Wish(1, "somebody asked for it", "asked"))
    assert choose(generations.folder, None).doubts == ()
    causes: tuple[Cause, ...] = ("differs", "damaged", "history")
    for cause in causes:
        generations.want(Wish(1, f"because of {cause}", cause))
        with pytest.raises(DatabaseRefused, match=f"because of {cause}.*--generation 1"):
            choose(generations.folder, None)
        assert f"because of {cause}" in choose(generations.folder, 1).doubts[0]
    ended = server.command("replica", "promote", "--yes", "--to", str(tmp_path / "new"))
    assert (ended.returncode, "because of history" in ended.stderr) == (REFUSED, True), ended.stderr
    assert not (tmp_path / "new").exists()
    ended = server.command("replica", "promote", "--generation", "1", "--to", str(tmp_path / "new"))
    assert (ended.returncode, "because of history" in ended.stderr) == (0, True), ended.stderr


# --- refusals: nothing was changed ---


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An instance that is stopped and whose primary is gone, with a replica of a few messages."""
    with Fleet(tmp_path_factory.mktemp("alone"), names=("a",)) as fleet:
        fleet.start()
        asyncio.run(_some_messages(fleet.a))
        fleet.a.stop()
        fleet.primary.kill()
        yield fleet.a


async def _some_messages(server: Server) -> None:
    async with Participant(server.url) as alice:
        await alice.sign_up("Alice")
        space_id = await alice.space()
        for number in range(20):
            await alice.message(space_id, f"message {number} " + "x" * 2000)

        async def are_here() -> bool:
            return len(await alice.all_messages(space_id)) == 20

        await wait_until(are_here, TIMEOUT_S)


@pytest.fixture
def replica(alone: Server, tmp_path: Path) -> tuple[Server, Path]:
    """The same in a folder of its own, and its file."""
    server = Server(tmp_path / "a", alone.settings)
    shutil.copytree(alone.data_folder, server.data_folder)
    file = server.data_folder / "replica" / "1" / "replica.db"
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return server, file


def _run(file: Path, sql: str) -> None:
    connection = apsw.Connection(str(file))
    connection.execute(sql)
    connection.close()


def _truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _truncated_unnoticed(file: Path) -> None:
    file.with_name("size").unlink(missing_ok=True)
    _truncated(file)


def _no_database(file: Path) -> None:
    file.write_bytes(b"hello" * 50_000)


def _foreign(file: Path) -> None:
    file.unlink()
    file.with_name("size").unlink(missing_ok=True)
    _run(file, "CREATE TABLE bookmarks (a)")


def _older_schema(file: Path) -> None:
    _run(file, f"DELETE FROM migration WHERE version = {len(migrate.known())}")


def _edited_schema(file: Path) -> None:
    _run(file, "UPDATE migration SET checksum = 'edited' WHERE version = 3")


def _own_table(file: Path) -> None:
    _run(file, "CREATE TABLE mine (a)")


def _broken_reference(file: Path) -> None:
    _run(file, "DELETE FROM space")


def _half_moved(file: Path) -> None:
    _run(file, 'INSERT INTO deployment VALUES (\'moving\', \'{"move": "x", "origin": "y"}\')')


def _moved_away(file: Path) -> None:
    mark = '{"move": "x", "to": "elsewhere", "complete": true}'
    _run(file, f"INSERT INTO deployment VALUES ('moved_to', '{mark}')")


def _torn(file: Path) -> None:
    content = bytearray(file.read_bytes())
    page = content.index(b"message 7 x") // 4096
    content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    file.write_bytes(content)


def _half_there(file: Path) -> None:
    file.with_name("filling").touch()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_half_there, "only half there"),
        (_truncated, "somebody has cut it off"),
        (_truncated_unnoticed, "malformed"),
        (_torn, "is damaged"),
        (_no_database, "cannot be read as a database"),
        (_foreign, "is not a database of Group Spaces"),
        (_older_schema, "Promote it with the version that served it last"),
        (_edited_schema, "was edited"),
        (_own_table, "did not make: mine"),
        (_broken_reference, "refer to rows that are not there"),
        (_half_moved, "half of a move"),
        (_moved_away, "were moved to elsewhere"),
    ],
)
def test_an_unfit_copy_is_refused(
    replica: tuple[Server, Path], tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    server, file = replica
    spoil(file)
    before = file.read_bytes()
    ended = server.command("replica", "promote", "--to", str(tmp_path / "new"))
    assert (ended.returncode, why in ended.stderr) == (REFUSED, True), ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert file.read_bytes() == before


def test_a_folder_that_is_not_empty_is_refused(replica: tuple[Server, Path], tmp_path: Path) -> None:
    server, _ = replica
    new = tmp_path / "new"
    new.mkdir()
    (new / "mine").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for place, why in (
        (new, "is not empty: it holds mine"),
        (new / "mine", "is no folder"),
        (link, "is no folder"),
        (tmp_path / "nowhere" / "new", "There is no folder"),
    ):
        ended = server.command("replica", "promote", "--to", str(place))
        assert (ended.returncode, why in ended.stderr) == (REFUSED, True), ended.stderr
    ended = server.command("replica", "promote", "--generation", "7", "--to", str(tmp_path / "x"))
    assert (ended.returncode, "no generation 7" in ended.stderr) == (REFUSED, True)
    data = server.data_folder
    (tmp_path / "way").symlink_to(data / "replica")
    for place in (data / "replica" / "20261123", tmp_path / "way" / ".." / "new"):
        ended = server.command("replica", "promote", "--to", str(place))
        assert (ended.returncode, "data folder" in ended.stderr) == (REFUSED, True), ended.stderr
    (tmp_path / "way").unlink()
    assert files_in(new) == ["mine"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "link", "new"]


def test_an_instance_without_a_replica_has_nothing_to_promote(tmp_path: Path) -> None:
    server = Server(tmp_path / "a")
    ended = server.command("replica", "promote", "--to", str(tmp_path / "new"))
    assert (ended.returncode, "There is no replica" in ended.stderr) == (REFUSED, True)


def test_a_stopped_instance_is_promoted_into_an_empty_folder_though_an_earlier_run_was_killed(
    replica: tuple[Server, Path], tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    server, file = replica
    before = file.read_bytes()
    new = started(Sqld(tmp_path / "new"))
    new.database_folder.mkdir()
    left = new.folder / "primary.promoting" / "dbs" / "default"
    left.mkdir(parents=True)
    (left / "data").write_bytes(before[:5000])
    ended = server.command("replica", "promote", "--to", str(new.database_folder))
    assert ended.returncode == 0, ended.stderr
    assert "Nobody who was asked has more" in ended.stderr
    assert f"sqld --db-path {new.database_folder}" in ended.stdout
    assert f"chown -R USER {new.database_folder}" in ended.stdout
    assert file.read_bytes() == before
    assert not left.exists()
    new.start()
    assert new.execute("SELECT count(*) FROM message") == [[20]]


# --- into a primary, interrupted ---


def test_a_promotion_that_was_killed_goes_on_with_the_same_copy(
    sqld: Sqld, start_proxy: Any, tmp_path: Path
) -> None:
    server = Server(tmp_path / "a", {"auth.secret": SECRET})
    folder = server.data_folder / "replica"
    before = content(fill(folder / "1" / "replica.db", messages=20_000))
    (folder / "current").write_text("1\n")
    wire = start_proxy(sqld.port, one_way_ms=60)
    command = ["replica", "promote", "--yes", "--json", "--to", wire.url]
    running = subprocess.Popen(
        [sys.executable, "-m", "groupspaces", *command],
        env=server._environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        block_until(lambda: _moved_rows(sqld) > 0, TIMEOUT_S, "rows arrive")
    finally:
        running.kill()
        running.wait()
    reached = _moved_rows(sqld)
    assert (server.data_folder / "promoting" / "seed.db").exists()
    elsewhere = server.command("replica", "promote", "--to", sqld.url)
    assert (elsewhere.returncode, "not seen to finish" in elsewhere.stderr) == (REFUSED, True), (
        elsewhere.stderr
    )
    assert _moved_rows(sqld) == reached > 0

    ended = server.command(*command)
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert next(line["rows"] for line in lines if "rows" in line) >= reached, "it goes on where it stopped"
    assert not (server.data_folder / "promoting").exists()
    sqld.stop()
    assert content(sqld.database_folder / "dbs" / "default" / "data") == before


_KILLED_AT_THE_END = """
import os, sys
from groupspaces.__main__ import main
from groupspaces.db import promote
promote._discard = lambda place: os.kill(os.getpid(), 9)
sys.argv[0] = "groupspaces"
sys.exit(main())
"""


def test_a_promotion_that_was_killed_when_all_had_arrived_is_done(
    sqld: Sqld, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    server = Server(tmp_path / "a", {"auth.secret": SECRET})
    folder, copy = server.data_folder / "replica", server.data_folder / "promoting" / "seed.db"
    before = content(fill(folder / "1" / "replica.db"))
    (folder / "current").write_text("1\n")
    command = ["replica", "promote", "--yes", "--to"]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AT_THE_END, *command, sqld.url],
        env=server._environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (killed.returncode, copy.exists()) == (-9, True), killed.stderr
    left = copy.read_bytes()
    sqld.execute("INSERT INTO deployment VALUES ('used', 'since')")
    for complete in (True, False):
        # As killed a moment earlier, it was not said any more that it is complete.
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(left)
        if not complete:
            _run(
                copy, "UPDATE deployment SET value = json_remove(value, '$.complete') WHERE name = 'moved_to'"
            )
        ended = server.command(*command, sqld.url)
        assert (ended.returncode, "What to do next" in ended.stdout) == (0, True), ended.stderr
        assert not copy.parent.exists()

    # That primary is lost as well, and another one is begun: nobody is told to delete what people have used.
    copy.parent.mkdir()
    copy.write_bytes(left)
    another = started(Sqld(tmp_path / "another").start())
    ended = server.command(*command, another.url)
    assert ended.returncode == 0, ended.stderr
    assert not copy.parent.exists()
    assert sqld.execute("SELECT value FROM deployment WHERE name = 'used'") == [["since"]]
    another.stop()
    assert content(another.database_folder / "dbs" / "default" / "data") == before


def test_a_primary_that_is_away_leaves_nothing_behind(replica: tuple[Server, Path]) -> None:
    server, _ = replica
    to = f"http://127.0.0.1:{free_port()}"
    ended = server.command("replica", "promote", "--to", to)
    assert (ended.returncode, f"{to} is away" in ended.stderr) == (1, True), ended.stderr
    assert not (server.data_folder / "promoting").exists()


def _moved_rows(sqld: Sqld) -> int:
    if not sqld.execute("SELECT 1 FROM sqlite_schema WHERE name = 'deployment'"):
        return 0
    rows = sqld.execute("SELECT value ->> 'rows' FROM deployment WHERE name = 'moving'")
    return int(str(rows[0][0])) if rows else 0


# --- what may be lost ---


async def test_what_was_heard_and_not_fetched_is_told(
    sqld: Sqld, start_proxy: Any, tmp_path: Path, started: Callable[[Any], Any]
) -> None:
    wire = start_proxy(sqld.port)
    server = started(Server(tmp_path / "a", replica_settings(sqld.url, replica__url=wire.url)))
    await asyncio.to_thread(server.start, "--migrate")
    async with Participant(server.url) as alice:
        await alice.sign_up("Alice")
        space_id = await alice.space()
        await alice.message(space_id, "fetched")
        await wait_until(lambda: _has_all(alice), TIMEOUT_S, "it has fetched all")
        here = await _feed_seq(server)
        await asyncio.to_thread(wire.set_mode, "blackhole")
        await asyncio.to_thread(wire.drop_connections)
        for number in range(3):
            await alice.message(space_id, f"never fetched {number}")
        await asyncio.to_thread(sqld.kill)

    to = str(tmp_path / "new")
    ended = await asyncio.to_thread(server.command, "replica", "promote", "--to", to)
    assert ended.returncode == 0, ended.stderr
    assert f"Up to 3 changes ({here + 1} to {here + 3}) would be lost" in ended.stderr
    assert "nobody who was asked has them" in ended.stderr
    assert _contents(Path(to) / "dbs/default/data") == ["fetched"]


async def _has_all(person: Participant) -> bool:
    replica = expect(await person.get("/api/health"), 200)["replica"]
    return bool(replica["feed_seq"] == replica["primary_seq"] > 0)


def test_somebody_at_a_terminal_is_asked(replica: tuple[Server, Path], tmp_path: Path) -> None:
    server, _ = replica
    command = [sys.executable, "-m", "groupspaces", "replica", "promote", "--to", str(tmp_path / "new")]
    for answer, code in ((b"no\n", 1), (b"yes\n", 0)):
        leader, follower = pty.openpty()
        try:
            os.write(leader, answer)
            ended = subprocess.run(
                command,
                env=server._environment(),
                stdin=follower,
                capture_output=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(leader)
            os.close(follower)
        assert (ended.returncode, b"Begin a new primary in" in ended.stderr) == (code, True), ended.stderr
        assert (tmp_path / "new").exists() == (code == 0)
