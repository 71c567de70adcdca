"""The jobs by which an instance looks after itself, and jobs from the command line."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from groupspaces.db import resting_file
from groupspaces.db.batch import Statement
from tests.conftest import StartServer
from tests.support.altered import alter
from tests.support.client import Participant, expect
from tests.support.server import Server

OPEN: dict[str, Any] = {"limits.enabled": False}
FILL_SQL = """WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 100000)
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content)
SELECT 1, 1, 'text', 0, i, hex(randomblob(100)) || i FROM number"""


def ran(server: Server, job: str, *, code: int = 0) -> dict[str, Any]:
    """Run a job and return how it went."""
    ended = server.command("jobs", "run", job, "--json")
    assert ended.returncode == code, ended.stderr
    last: dict[str, Any] = json.loads(ended.stdout)["last"]
    return last


def conditions(server: Server) -> dict[str, str]:
    """Return what is wrong."""

    async def ask() -> dict[str, str]:
        async with Participant(server.url) as person:
            health = expect(await person.get("/api/health"), 200)
        return {found["name"]: found["since"] for found in health.get("conditions", [])}

    return asyncio.run(ask())


def filled(server: Server) -> Path:
    """Have somebody and a space there, and return the file of the stopped instance."""

    async def fill() -> None:
        async with Participant(server.url) as person:
            await person.sign_up("Alice")
            await person.space()

    asyncio.run(fill())
    server.stop()
    return server.data_folder / "groupspaces.db"


def test_the_database_is_checked_and_tidied(start_server: StartServer) -> None:
    server = start_server(OPEN)
    database = filled(server)
    resting_file.write(database, Statement(FILL_SQL))
    resting_file.write(database, Statement("DELETE FROM message"))
    alter(database)
    before = database.stat().st_size
    server.start()
    assert "Rewritten" in ran(server, "database_check")["detail"]
    assert "Nothing to tidy" in ran(server, "database_check")["detail"]
    server.stop()
    alter(database)
    assert database.stat().st_size < before / 4

    alter(database, "INSERT INTO mention (user_id, space_id, message_id) VALUES (77, 1, 77)")
    server.start()
    assert ran(server, "database_check")["detail"].startswith("DAMAGED")
    assert "database_damaged" in conditions(server)


def test_a_disk_that_fills_up_is_told_of(start_server: StartServer) -> None:
    server = start_server(OPEN | {"data.min_free_mb": 10_000_000})
    ran(server, "disk_watch")
    assert "disk_low" in conditions(server)


def test_what_killed_processes_left_is_removed(start_server: StartServer) -> None:
    server = start_server(OPEN)
    folder = server.data_folder / "backups"
    place = folder / ".work" / "left"
    place.mkdir(parents=True)
    (place / "lock").touch()
    (place / "half.db").write_bytes(b"half")
    old, new = folder / "old.part", folder / "new.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 100_000,) * 2)
    assert ran(server, "cleanup")["detail"] == "removed 2"
    assert not place.exists()
    assert (old.exists(), new.exists()) == (False, True)


def test_sessions_that_are_over_are_forgotten(start_server: StartServer) -> None:
    server = start_server(OPEN)
    database = filled(server)
    insert = """INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms)
    VALUES (randomblob(32), 1, 'old', 0, 1)"""
    resting_file.write(database, Statement(insert))
    server.start()
    ran(server, "session_retention")
    server.stop()
    with resting_file.RestingFile(database) as file:
        assert file.rows("SELECT user_agent FROM session WHERE user_agent = 'old'") == []
        assert len(file.rows("SELECT id FROM session")) == 1


# --- the certificate ---


@contextmanager
def site(ca: trustme.CA, days: int, folder: Path) -> Iterator[str]:
    """Serve TLS with a certificate that lasts so many days; return the address."""
    certificate = ca.issue_cert("localhost", not_after=datetime.now(UTC) + timedelta(days=days, hours=1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with _serving(context) as port:
        yield f"https://localhost:{port}"


@contextmanager
def _serving(context: ssl.SSLContext) -> Iterator[int]:
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(("days", "is_told"), [(90, False), (5, True)])
def test_a_certificate_that_ends_soon_is_told_of(
    start_server: StartServer, tmp_path: Path, days: int, is_told: bool
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with site(ca, days, tmp_path) as url:
        trusting = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        server = start_server(OPEN | {"server.public_url": url}, environment=trusting)
        assert f"lasts {days} days" in ran(server, "certificate_check")["detail"]
        assert ("certificate_expires" in conditions(server)) is is_told
        if is_told:
            return
        server.environment.clear()
        server.restart()
        assert "verify failed" in ran(server, "certificate_check", code=1)["detail"]
        assert "certificate_expires" in conditions(server)


# --- the command line, and times from settings ---


def test_jobs_from_the_command_line(start_server: StartServer) -> None:
    server = start_server(OPEN | {"jobs.certificate_check": "off", "jobs.backup": "15 4 * * 1"})
    listed = {job["id"]: job for job in json.loads(server.command("jobs", "list", "--json").stdout)["items"]}
    assert "certificate_check" not in listed
    assert listed["backup"]["schedule"] == {"kind": "cron", "cron": "15 4 * * 1"}
    assert "backup" in server.command("jobs", "list").stdout
    assert json.loads(server.command("jobs", "pause", "cleanup", "--json").stdout)["paused"]
    assert not json.loads(server.command("jobs", "resume", "cleanup", "--json").stdout)["paused"]
    assert "every 300 s" in server.command("jobs", "schedule", "disk_watch", "5m").stdout
    chosen = json.loads(server.command("jobs", "schedule", "backup", "30 1 * * *", "--json").stdout)
    assert chosen["schedule"]["cron"] == "30 1 * * *"
    assert "15 4 * * 1" in server.command("jobs", "schedule", "backup", "default").stdout
    assert server.command("jobs", "schedule", "backup", "soon").returncode == 1
    assert server.command("jobs", "run", "nothing").returncode == 1
    ran(server, "disk_watch")
    history = json.loads(server.command("jobs", "history", "disk_watch", "--json").stdout)["items"]
    assert history[0]["outcome"] == "done"


def test_a_time_that_is_none_stops_the_start(tmp_path: Path) -> None:
    with Server(tmp_path / "a", {"jobs.backup": "99 2 * * *"}) as server:
        ended = server.command("serve")
        assert ended.returncode == 3
        assert "jobs.backup" in ended.stderr
