"""Starts that must not succeed: each says in one sentence what is wrong, ends with a code of its own and changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from groupspaces.db.migrate import known
from tests.conftest import _STARTED, StartServer
from tests.support.client import Participant, expect
from tests.support.evidence import local_file, tables
from tests.support.fleet import SECRET, replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld, TokenKey
from tests.support.wait import block_until, wait_until

SETTINGS, PORT_TAKEN, FOLDER, SCHEMA, PRIMARY_REFUSED = 3, 4, 5, 6, 7

OTHER_SECRET = "another secret than the others have"


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """An instance that was not started."""
    with Server(tmp_path / "refused") as server:
        request.node.stash.setdefault(_STARTED, []).append(server)
        yield server


# --- this machine ---


def test_a_port_that_is_taken(server: Server) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.port))
        other.listen()
        said = _refused_start(server, PORT_TAKEN)
    assert f"port {server.port}" in said
    assert "PORT" in said


@pytest.mark.parametrize("where", ["a file", "below a file", "nowhere"])
def test_a_data_folder_that_cannot_be(where: str, server: Server) -> None:
    file = server.folder / "file"
    file.write_text("not a folder")
    server.data_folder = {
        "a file": file,
        "below a file": file / "data",
        "nowhere": Path("/proc/nothing/data"),
    }[where]
    assert str(server.data_folder) in _refused_start(server, FOLDER)
    assert file.read_text() == "not a folder"


def test_a_data_folder_that_another_server_uses(server: Server, start_server: StartServer) -> None:
    running = start_server()
    server.data_folder = running.data_folder
    said = _refused_start(server, FOLDER)
    assert str(running.data_folder) in said
    assert "already" in said
    # Not so when the other one was killed: a lock that nobody holds is no lock.
    running.kill()
    server.start()


def test_what_is_made_is_for_its_owner_alone_and_a_folder_open_to_others_is_told_of(server: Server) -> None:
    server.start()
    for made in (server.data_folder, *server.data_folder.rglob("*")):
        assert stat.S_IMODE(made.stat().st_mode) & 0o077 == 0, made
    assert not server.logs(message="others may open the data folder")
    server.stop()
    server.data_folder.chmod(0o755)
    server.start()
    assert server.logs(message="others may open the data folder")[0]["mode"] == "755"


def test_a_database_of_a_newer_version(server: Server) -> None:
    server.start()
    assert server.stop() == 0
    _add_migration(local_file(server), version=9999, readable_by=9999)
    before = tables(local_file(server))
    said = _refused_start(server, SCHEMA)
    assert "9999" in said
    assert tables(local_file(server)) == before


def test_history_that_was_edited(server: Server) -> None:
    server.start()
    assert server.stop() == 0
    _execute(local_file(server), "UPDATE migration SET checksum = 'edited' WHERE version = 2")
    assert "0002" in _refused_start(server, SCHEMA)


def test_a_database_file_that_is_none(server: Server) -> None:
    server.data_folder.mkdir()
    local_file(server).write_bytes(b"this is not a database, whatever its name says " * 200)
    said = _refused_start(server, SETTINGS)
    assert str(local_file(server)) in said
    assert local_file(server).read_bytes().startswith(b"this is not a database")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.workers", "1000"),
        ("replica.interval_s", "0"),
        ("log.level", "loud"),
        ("auth.secret", "short"),
    ],
)
def test_a_setting_that_makes_no_sense(key: str, value: str, server: Server) -> None:
    server.settings[key] = value
    said = _refused_start(server, SETTINGS)
    assert key in said or key.upper().replace(".", "__") in said
    assert "short" not in said


# --- the primary ---


@pytest.mark.sqld
def test_another_secret_than_the_deployments(server: Server, sqld: Sqld, start_server: StartServer) -> None:
    running = start_server(replica_settings(sqld.url), arguments=("--migrate",))
    server.settings = replica_settings(sqld.url, auth__secret=OTHER_SECRET)
    announced = "SELECT 1 FROM change WHERE kind = 'instance.changed'"
    block_until(lambda: sqld.execute(announced), what="the one that runs has told that it is there")
    feed = sqld.execute("SELECT count(*) FROM change")
    said = _refused_start(server, SETTINGS)
    assert "AUTH_SECRET" in said
    assert OTHER_SECRET not in said
    assert SECRET not in said
    assert sqld.execute("SELECT count(*) FROM change") == feed
    everything = [str(row) for row in sqld.execute("SELECT * FROM deployment")]
    assert everything
    assert not any(SECRET in row for row in everything)

    # An instance that already has a copy is not let off either, with the primary there or away.
    running.stop()
    running.settings["auth.secret"] = OTHER_SECRET
    assert "AUTH_SECRET" in _refused_start(running, SETTINGS)
    sqld.kill()
    assert "AUTH_SECRET" in _refused_start(running, SETTINGS)


@pytest.mark.sqld
def test_no_secret_in_replica_mode(server: Server, sqld: Sqld) -> None:
    server.settings = replica_settings(sqld.url, auth__secret="")
    assert "auth.secret" in _refused_start(server, SETTINGS).replace("AUTH_SECRET", "auth.secret")


@pytest.mark.sqld
def test_a_primary_without_our_schema(server: Server, sqld: Sqld) -> None:
    server.settings = replica_settings(sqld.url)
    said = _refused_start(server, SCHEMA)
    assert "groupspaces migrate up" in said
    assert known()[-1].label in said
    assert sqld.execute("SELECT count(*) FROM sqlite_schema") == [[0]]

    assert server.command("migrate", "up").returncode == 0
    server.start()


@pytest.mark.sqld
@pytest.mark.parametrize("token", ["foreign", "expired"])
def test_a_token_that_the_primary_refuses(
    token: str, server: Server, guarded_sqld: Sqld, start_server: StartServer
) -> None:
    assert guarded_sqld.key is not None
    bad = {
        "foreign": TokenKey().mint(),
        "expired": guarded_sqld.key.mint(expires_in_s=-3600),
    }[token]
    server.settings = replica_settings(guarded_sqld.url, bad, primary__migrate=True)
    said = _refused_start(server, PRIMARY_REFUSED)
    assert "TURSO_AUTH_TOKEN" in said
    assert bad not in said

    server.settings["primary.token"] = guarded_sqld.token
    server.start()


# --- starts that were cut off ---


async def test_a_start_killed_at_its_first_moments_is_made_good_by_the_next(server: Server) -> None:
    """Through folder, secret, database and migrations: whatever was half done, the next start goes on from there."""
    for files in range(6):
        server.start(wait_ready=False)
        await wait_until(
            lambda least=files: _files(server.data_folder) >= least or _says_ready(server),  # type: ignore[misc]
            10.0,
            "the start has come so far",
        )
        server.kill()
    server.start()
    async with Participant(server.url) as anyone:
        await anyone.sign_up()
        expect(await anyone.get("/api/spaces"), 200)
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_during_the_start_ends_it(number: signal.Signals, server: Server) -> None:
    server.start(wait_ready=False)
    block_until(lambda: server.data_folder.exists(), what="the start has begun")
    os.kill(server.pid, number)
    block_until(lambda: server.exit_code is not None, what="it ended")
    server.start()


# --- helpers ---


def _refused_start(server: Server, code: int, *arguments: str) -> str:
    """Start, expect an end with this code and one sentence, and return what was said."""
    begin = server.log_path.stat().st_size if server.log_path.exists() else 0
    server.start(*arguments, wait_ready=False)
    block_until(lambda: not server.is_running(), what="the start is given up")
    said = server.log_path.read_bytes()[begin:].decode()
    assert server.exit_code == code, said
    assert "Traceback" not in said, said
    assert [line for line in said.splitlines() if line.startswith("groupspaces: ")], said
    return said


def _files(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.exists() else 0


def _says_ready(server: Server) -> bool:
    return bool(server.logs(message="serving"))


def _add_migration(path: Path, *, version: int, readable_by: int) -> None:
    _execute(path, "INSERT INTO migration VALUES (?, 'future', 'x', ?, 0)", version, readable_by)


def _execute(path: Path, sql: str, *params: Any) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql, params)
    connection.close()
