"""`groupspaces seed`: the same data for the same numbers, such as people could have made, standalone and at a primary."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from groupspaces.db.resting_file import RestingFile, flaws
from groupspaces.ops.seed.plan import AMOUNTS, MENTION, Plan
from tests.support.client import Participant, expect
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld

PASSWORD = "a password of all of them"
DAY_MS = 86_400_000
COUNTS_SQL = (
    """SELECT (SELECT count(*) FROM user), (SELECT count(*) FROM space), (SELECT count(*) FROM message)"""
)
# Everything that depends on the numbers given, and on nothing else.
CONTENT_SQL = """SELECT space.slug, user.username, message.created_at_ms, message.content, message.edited_at_ms, message.version
FROM message JOIN space ON space.id = message.space_id JOIN user ON user.id = message.author_id ORDER BY message.id"""
STRANGERS_SQL = """SELECT count(*) FROM message WHERE NOT EXISTS (
  SELECT 1 FROM member WHERE member.space_id = message.space_id AND member.user_id = message.author_id
    AND member.joined_at_ms <= message.created_at_ms)"""
COUNTED_SQL = """SELECT count(*) FROM space
WHERE member_count <> (SELECT count(*) FROM member WHERE member.space_id = space.id)"""
NAMED_SQL = """SELECT count(*) FROM mention JOIN user ON user.id = mention.user_id JOIN message ON message.id = mention.message_id
WHERE instr(message.content, '@' || user.username) = 0 OR message.space_id <> mention.space_id"""


def seeded(server: Server, *arguments: str, code: int = 0) -> dict[str, Any]:
    ended: subprocess.CompletedProcess[str] = server.command(
        "seed", "--password", PASSWORD, "--at", "2026-11-22", "--json", *arguments, timeout_s=120
    )
    assert ended.returncode == code, ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1])) if code == 0 else {}


def content(database: Path) -> list[Any]:
    with RestingFile(database) as file:
        return list(file.rows(CONTENT_SQL))


def test_the_same_numbers_give_the_same_data(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        with Server(tmp_path / name) as server:
            seeded(server, "--size", "small", "--seed", seed)
            made.append(content(Path(server.data_folder) / "groupspaces.db"))
    assert made[0] == made[1] != made[2]


async def test_it_is_data_that_people_could_have_made(tmp_path: Path) -> None:
    with Server(tmp_path / "a", {"limits.enabled": False}) as server:
        found = seeded(server, "--size", "demo")
        database = Path(server.data_folder) / "groupspaces.db"
        assert flaws(database) == []
        with RestingFile(database) as file:
            assert file.rows(COUNTS_SQL) == [tuple(AMOUNTS["demo"])]
            for sql in (STRANGERS_SQL, COUNTED_SQL, NAMED_SQL):
                assert file.rows(sql) == [(0,)]
            [(mentions, deleted, edited)] = file.rows(
                "SELECT (SELECT count(*) FROM mention), sum(deleted_at_ms IS NOT NULL), sum(edited_at_ms IS NOT NULL) FROM message"
            )
            assert min(int(str(mentions)), int(str(deleted)), int(str(edited))) > 10
        assert seeded(server, "--size", "small", code=1) == {}, "there are people already"
        assert seeded(server, "--size", "small", "--yes")["operator"] is False
        assert flaws(database) == []
        server.start()
        assert "already uses" in server.command("seed", "--yes").stderr, "the server of this folder runs"
        async with Participant(server.url) as person:
            answer = await person.post("/api/auth/sign-in", {"email": found["email"], "password": PASSWORD})
            assert expect(answer, 200)["user"]["is_operator"]
            spaces = expect(await person.get("/api/spaces"), 200)["items"]
            assert spaces
            page = expect(await person.get(f"/api/spaces/{spaces[0]['id']}/messages"), 200)["items"]
            assert len(page) == 50
            said = await person.message(spaces[0]["id"], "somebody goes on")
            assert said["id"] > page[-1]["id"]


@pytest.mark.sqld
async def test_at_a_primary(tmp_path: Path, sqld: Sqld) -> None:
    with Server(tmp_path / "a", replica_settings(sqld.url)) as server:
        assert server.command("migrate", "up").returncode == 0
        found = seeded(server, "--size", "demo")
        server.start()
        async with Participant(server.url) as person:
            body = {"email": found["email"], "password": PASSWORD}
            expect(await person.post("/api/auth/sign-in", body), 200)
            spaces = expect(await person.get("/api/spaces"), 200)["items"]
            assert any(space["unread_count"] or space["mention_count"] for space in spaces)
    with Server(tmp_path / "b") as other:
        seeded(other, "--size", "demo")
        standalone = content(Path(other.data_folder) / "groupspaces.db")
    assert [tuple(row) for row in sqld.execute(CONTENT_SQL)] == standalone


def test_a_plan_is_of_its_numbers_alone() -> None:
    plan = Plan("small", seed=3, at_ms=60 * DAY_MS)
    said = list(plan.messages())
    assert said == list(plan.messages()) == list(Plan("small", seed=3, at_ms=60 * DAY_MS).messages())
    assert len(said) == AMOUNTS["small"].messages
    assert [one.at_ms for one in said] == sorted(one.at_ms for one in said)
    assert all((MENTION in one.content) is (one.mentioned is not None) for one in said)
    assert said[-1].at_ms <= 60 * DAY_MS
