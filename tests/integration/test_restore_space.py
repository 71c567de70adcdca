"""One space as it was in a backup, as a new space: beside what is there, on both primaries, all of it or nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.db import migrate
from groupspaces.ops.backups.space_restoring import LEFT_OUT, TABLES
from tests.conftest import _STARTED, StartServer
from tests.support.backups import PATH, TIMEOUT_S, ended, listed, made
from tests.support.client import PASSWORD, Participant, expect, refused
from tests.support.fleet import Fleet
from tests.support.server import Server
from tests.support.wait import wait_until

OPEN: dict[str, Any] = {"limits.enabled": False}


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
def server(request: pytest.FixtureRequest, start_server: StartServer, tmp_path: Path) -> Any:
    """An instance with its own primary, or one elsewhere."""
    if request.param == "alone":
        yield start_server(OPEN)
        return
    with Fleet(tmp_path, names=("a",)) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start().a


class People:
    """Olga is the operator; Ann owns a space with Ben and Cleo in it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.olga, self.ann, self.ben, self.cleo = (Participant(server.url) for _ in range(4))

    async def __aenter__(self) -> People:
        for person, name in ((self.olga, "Olga"), (self.ann, "Ann"), (self.ben, "Ben"), (self.cleo, "Cleo")):
            await person.sign_up(name)
        self.space_id = await self.ann.space("Garden", emoji="🌱")
        code = await self.ann.invite(self.space_id)
        for person in (self.ben, self.cleo):
            await person.accept(code)
        await self.ann.message(self.space_id, "first")
        cleo = expect(await self.cleo.get("/api/users/me"), 200)["username"]
        await self.ben.message(self.space_id, f"for @{cleo}")
        await self.cleo.message(self.space_id, "third")
        return self

    async def __aexit__(self, *_: object) -> None:
        for person in (self.olga, self.ann, self.ben, self.cleo):
            await person.close()

    async def restored(self, backup_id: str, **wish: Any) -> dict[str, Any]:
        """Have the space made anew, and return how that went."""

        async def begun() -> bool:
            answer = await self.olga.post(
                f"{PATH}/{backup_id}/restore-space", {"space_id": self.space_id} | wish
            )
            if answer.status_code != 409:
                expect(answer, 202)
            return answer.status_code == 202

        await wait_until(begun, TIMEOUT_S, "nothing else runs")
        return await ended(self.olga, "space")


@pytest_asyncio.fixture
async def people(server: Server) -> AsyncIterator[People]:
    async with People(server) as people:
        yield people


async def spaces_of(person: Participant) -> dict[str, dict[str, Any]]:
    """Return somebody's spaces by their names."""
    found = expect(await person.get("/api/spaces"), 200)["items"]
    return {space["name"]: space for space in found}


async def test_a_space_comes_back_beside_what_there_is(people: People) -> None:
    backup = await made(people.olga)
    listing = expect(await people.olga.get(f"{PATH}/{backup['id']}/spaces"), 200)["items"]
    assert [(one["name"], one["members"], one["messages"]) for one in listing] == [("Garden", 3, 3)]
    await people.ann.message(people.space_id, "later")
    expect(await people.ann.delete(f"/api/spaces/{people.space_id}"), 204)

    async with people.ben.events() as stream:
        work = await people.restored(backup["id"])
        assert (work["state"], work["error"]) == ("done", "")
        name = f"Garden ({backup['created_at'][:10]})"
        assert work["made"].startswith(f"{name} is there")
        await stream.wait_for("member.joined", lambda told: told["user"]["id"] == people.ben.id)
    new = (await spaces_of(people.ann))[name]
    assert (new["role"], new["member_count"], new["unread_count"], new["emoji"]) == ("owner", 3, 0, "🌱")
    assert new["id"] > people.space_id
    messages = await people.cleo.all_messages(new["id"])
    assert [(one["author"]["name"], one["content"].split()[0]) for one in messages] == [
        ("Ann", "first"),
        ("Ben", "for"),
        ("Cleo", "third"),
    ]
    assert new["last_read_message_id"] == messages[-1]["id"]
    await people.ben.message(new["id"], "it goes on")
    refused(await people.olga.messages(new["id"]), 404)
    refused(await people.ann.messages(people.space_id), 404)
    # Once more, beside it; with a name, and with its owners alone.
    await people.restored(backup["id"], name="Only Ann's", members="owners")
    assert (await spaces_of(people.ann))["Only Ann's"]["member_count"] == 1
    assert "Only Ann's" not in await spaces_of(people.ben)
    entries = expect(await people.olga.get("/api/ops/audit?action=space.restored"), 200)["items"]
    assert [entry["data"]["members"] for entry in entries] == ["owners", "everyone"]


async def test_who_has_no_account_any_more_is_nobody_there(people: People) -> None:
    backup = await made(people.olga)
    cleo = people.cleo.http.request("DELETE", "/api/users/me", json={"password": PASSWORD})
    expect(await cleo, 204)
    hand_over = [{"space_id": people.space_id, "user_id": people.ben.id}]
    body = {"password": PASSWORD, "hand_over": hand_over}
    expect(await people.ann.http.request("DELETE", "/api/users/me", json=body), 204)
    work = await people.restored(backup["id"], name="Again")
    assert (work["state"], work["error"]) == ("done", "")
    # Ann owned it, alone: it is the operator's who asked.
    new = (await spaces_of(people.olga))["Again"]
    assert (new["role"], new["member_count"]) == ("owner", 2)
    authors = [one["author"]["name"] for one in await people.ben.all_messages(new["id"])]
    assert authors == ["Deleted account", "Ben", "Deleted account"]


async def test_whoever_is_not_in_the_history_any_more_wrote_under_no_name(people: People) -> None:
    """After going back to before somebody came, a space of the time in between still has what they wrote."""
    early = await made(people.olga)
    async with Participant(people.server.url) as dora:
        await dora.sign_up("Dora")
        await dora.accept(await people.ann.invite(people.space_id))
        await dora.message(people.space_id, "by Dora")
        late = await made(people.olga)
    body = {"confirm": early["id"]}

    async def begun() -> bool:
        return (await people.olga.post(f"{PATH}/{early['id']}/restore", body)).status_code == 202

    await wait_until(begun, TIMEOUT_S, "nothing else runs")
    assert (await ended(people.olga, "restore"))["state"] == "done"
    work = await people.restored(late["id"], name="With Dora's")
    assert (work["state"], work["error"]) == ("done", "")
    new = (await spaces_of(people.ann))["With Dora's"]
    assert new["member_count"] == 3
    messages = await people.ann.all_messages(new["id"])
    assert (messages[-1]["content"], messages[-1]["author"]["name"]) == ("by Dora", "Deleted account")


async def test_what_cannot_be_is_refused_and_changes_nothing(people: People) -> None:
    backup = await made(people.olga)
    path = f"{PATH}/{backup['id']}/restore-space"
    refused(await people.ann.post(path, {"space_id": people.space_id}), 403)
    refused(await people.olga.post(path, {"space_id": people.space_id, "members": "nobody"}), 422)
    refused(await people.olga.post(path, {"space_id": people.space_id, "name": " "}), 422)
    before = await spaces_of(people.ann)
    people.space_id = 10_000
    work = await people.restored(backup["id"])
    assert (work["state"], work["error"]) == ("failed", "There is no such space in this backup.")
    assert await spaces_of(people.ann) == before


async def test_whoever_is_no_operator_any_more_by_then_gets_nothing(people: People) -> None:
    backup = await made(people.olga)
    body = {"space_id": people.space_id, "name": "Stolen"}
    user = f"/api/ops/users/{people.ann.id}"

    async def begun() -> bool:
        return (await people.ann.post(f"{PATH}/{backup['id']}/restore-space", body)).status_code == 202

    for _ in range(5):
        expect(await people.olga.patch(user, {"is_operator": True}), 200)
        await wait_until(begun, TIMEOUT_S, "nothing else runs")
        expect(await people.olga.patch(user, {"is_operator": False}), 200)
        before = await spaces_of(people.ann)
        if (await ended(people.olga, "space"))["state"] == "failed":
            assert await spaces_of(people.ann) == before
            return
        # It was done before the right was gone.
    pytest.fail("It is made for whoever may not any more.")


async def test_from_the_command_line(people: People) -> None:
    backup = await made(people.olga)
    archive = str(Path(people.server.data_folder) / "backups" / backup["file"])
    listed_then = await command(people.server, "backup", "spaces", backup["id"])
    assert "Garden" in listed_then
    told = json.loads(
        await command(people.server, "restore", archive, "--space", "garden", "--name", "Beds", "--json")
    )
    assert told["made"].startswith("Beds is there")
    assert (await spaces_of(people.ann))["Beds"]["member_count"] == 3
    found = await asyncio.to_thread(people.server.command, "restore", backup["id"], "--space", "nowhere")
    assert (found.returncode, "backup spaces" in found.stderr) == (1, True)


async def test_killed_in_the_middle_it_is_all_there_or_not_at_all(people: People) -> None:
    backup = await made(people.olga)
    for delay_s in (0.05, 0.2, 0.35, 0.5, 0.65):
        answer = await people.olga.post(f"{PATH}/{backup['id']}/restore-space", {"space_id": people.space_id})
        if answer.status_code == 409:
            await ended(people.olga, "proof")
            continue
        expect(answer, 202)
        await asyncio.sleep(delay_s)
        await asyncio.to_thread(people.server.kill)
        await asyncio.to_thread(people.server.start)
    work = await people.restored(backup["id"], name="In the end")
    assert (work["state"], work["error"]) == ("done", "")
    for name, space in (await spaces_of(people.ann)).items():
        assert (space["member_count"], len(await people.ann.all_messages(space["id"]))) == (3, 3), name
    assert not [work for work in (await listed(people.olga))["works"] if work["state"] == "failed"]


async def test_what_a_killed_one_had_unpacked_is_taken_away(people: People) -> None:
    left = Path(people.server.data_folder) / "backups" / "restoring-space" / "groupspaces.db"
    left.parent.mkdir(parents=True)
    left.touch()

    async def is_gone() -> bool:
        expect(await people.olga.post("/api/ops/jobs/restore_cleanup/run"), 202)
        return not left.parent.exists()

    await wait_until(is_gone, 30, "the job has removed it")


def test_every_table_of_a_space_comes_back_or_is_left_out_on_purpose() -> None:
    import apsw

    scratch = apsw.Connection(":memory:")
    scratch.execute(migrate.script())
    referring = {
        str(name)
        for (name,) in scratch.execute(
            """SELECT DISTINCT t.name FROM pragma_table_list AS t, pragma_foreign_key_list(t.name) AS k
            WHERE t.type = 'table' AND k."table" IN ('space', 'message')"""
        )
    }
    assert referring <= {*TABLES, *LEFT_OUT}


async def command(server: Server, *arguments: str) -> str:
    """Run a command, which works, and return what it prints."""
    found = await asyncio.to_thread(server.command, *arguments, timeout_s=120)
    assert found.returncode == 0, found.stderr
    return found.stdout
