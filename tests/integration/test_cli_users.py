"""Accounts, tokens, the audit record and the secret from the command line: beside a running server, and without one."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import apsw
import httpx2
import pytest

from tests.support.client import PASSWORD
from tests.support.fleet import replica_settings
from tests.support.server import Server
from tests.support.sqld import Sqld

ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def stopped(tmp_path: Path, started: Any) -> Server:
    """A server that has never run."""
    server: Server = started(Server(tmp_path / "a", {"limits.enabled": False}))
    return server


@pytest.fixture
def running(stopped: Server) -> Server:
    """One that runs: commands are a call on its socket, and fast."""
    return stopped.start()


@pytest.fixture(params=["running", "stopped", pytest.param("stopped replica", marks=pytest.mark.sqld)])
def either(request: pytest.FixtureRequest, tmp_path: Path, started: Any) -> Server:
    """A server, or what is left of one."""
    if request.param != "stopped replica":
        server: Server = request.getfixturevalue(request.param)
        return server
    sqld: Sqld = request.getfixturevalue("sqld")
    server = started(Server(tmp_path / "a", replica_settings(sqld.url)))
    server.start("--migrate")
    server.stop()
    return server


def done(server: Server, *arguments: str) -> str:
    """Run a command that must succeed, and return what it printed."""
    ended = server.command(*arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def told(server: Server, *arguments: str) -> Any:
    """Return the JSON that a command printed, which is all it printed."""
    return json.loads(done(server, *arguments, "--json"))


def failed(server: Server, *arguments: str, code: int = 1) -> str:
    """Run a command that must fail, and return its last words."""
    ended = server.command(*arguments)
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def token_in(link: str) -> str:
    return link.strip().splitlines()[0].partition("#")[2]


def post(server: Server, path: str, body: Any, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{server.url}{path}", json=body, trust_env=False, timeout=15, **options)


def chosen_password(server: Server, link: str) -> None:
    answer = post(server, "/api/auth/password/reset", {"token": token_in(link), "password": PASSWORD})
    assert answer.status_code == 204, answer.text


def test_an_account_is_made_and_seen(either: Server) -> None:
    made = told(either, "user", "create", ANN, "--name", "Ann Smith", "--operator")
    assert made["user"]["is_operator"] is True
    assert "/reset#" in made["link"]["url"]
    assert "already" in failed(either, "user", "create", ANN, "--name", "Ann")
    assert [person["email"] for person in told(either, "user", "list")["items"]] == [ANN]
    [by] = {
        (entry["actor"], entry["address"])
        for entry in (
            {**one, "actor": json.dumps(one["actor"])} for one in told(either, "audit", "list")["items"]
        )
    }
    assert by == ("null", "")


def test_people_are_listed_and_found(running: Server) -> None:
    made = told(running, "user", "create", ANN, "--name", "Ann Smith", "--operator")
    assert "email" in failed(running, "user", "create", "no address", "--name", "Ann")
    assert "/reset#" in done(running, "user", "create", BOB, "--name", "Bob")
    assert sorted(person["email"] for person in told(running, "user", "list")["items"]) == [ANN, BOB]
    assert [p["email"] for p in told(running, "user", "list", "--state", "operators")["items"]] == [ANN]
    assert BOB in done(running, "user", "list", "--q", "bob")
    for who in (ANN, "ANN@example.org", made["user"]["username"], str(made["user"]["id"])):
        assert told(running, "user", "show", who)["id"] == made["user"]["id"]
    assert "nobody with" in failed(running, "user", "show", "carl")


def test_links_let_in_once(stopped: Server) -> None:
    """Made without a server, used with one."""
    made = told(stopped, "user", "create", ANN, "--name", "Ann")
    enter = done(stopped, "user", "sign-in-link", ANN)
    again = told(stopped, "user", "sign-in-link", ANN)
    stopped.start()
    with httpx2.Client(base_url=stopped.url, trust_env=False, timeout=15) as browser:
        answer = browser.post("/api/auth/sign-in", json={"link": token_in(enter)})
        assert answer.status_code == 200, answer.text
        assert answer.json()["session"]["method"] == "link"
        assert browser.get("/api/users/me").json()["email"] == ANN
        assert browser.post("/api/auth/sign-in", json={"link": token_in(enter)}).status_code == 401
        # A session cannot do what the command line can, not even an operator's.
        person_id = made["user"]["id"]
        done(stopped, "user", "operator", ANN)
        refused = browser.post(f"/api/ops/users/{person_id}/sign-in-link")
        assert (refused.status_code, refused.json()["code"]) == (403, "COMMAND_LINE_ONLY")
        assert browser.get(f"/api/ops/users/{person_id}/tokens").json()["code"] == "COMMAND_LINE_ONLY"

    chosen_password(stopped, made["link"]["url"])
    used = {"token": token_in(made["link"]["url"]), "password": PASSWORD}
    assert post(stopped, "/api/auth/password/reset", used).status_code == 422
    # What was made before the password changed is worth nothing any more.
    assert post(stopped, "/api/auth/sign-in", {"link": token_in(again["url"])}).status_code == 401
    chosen_password(stopped, done(stopped, "user", "reset-link", ANN))
    made_by = [entry["data"] for entry in told(stopped, "audit", "list", "--action", "link.made")["items"]]
    assert {"purpose": "enter"} in made_by


def test_the_emergency_way_in_needs_no_password_and_no_second_factor(stopped: Server) -> None:
    done(stopped, "user", "create", ANN, "--name", "Ann")
    stopped.settings |= {"auth.password_sign_in": False}
    stopped.start()
    answer = post(stopped, "/api/auth/sign-in", {"email": ANN, "password": PASSWORD})
    assert answer.json()["code"] == "PASSWORD_SIGN_IN_OFF"
    link = token_in(done(stopped, "user", "sign-in-link", ANN))
    assert post(stopped, "/api/auth/sign-in", {"link": link}).status_code == 200


def test_somebody_is_suspended_restored_and_deleted(running: Server) -> None:
    done(running, "user", "create", ANN, "--name", "Ann", "--operator")
    assert "operator" in failed(running, "user", "operator", ANN, "--off")
    done(running, "user", "create", BOB, "--name", "Bob")
    for command, key, value in (
        (("suspend",), "suspended_at", True),
        (("restore",), "suspended_at", False),
        (("operator",), "is_operator", True),
        (("operator", "--off"), "is_operator", False),
        (("verify-email",), "email_verified", True),
    ):
        name, *options = command
        done(running, "user", name, BOB, *options)
        assert bool(told(running, "user", "show", BOB)[key]) is value
    done(running, "user", "suspend", BOB)
    assert "who may sign in" in failed(running, "user", "sign-in-link", BOB)
    done(running, "user", "restore", BOB)
    done(running, "user", "sign-out", BOB)
    done(running, "user", "reset-second-factor", BOB)

    done(running, "user", "delete", BOB)
    assert "nobody with" in failed(running, "user", "show", BOB)
    assert len(told(running, "user", "list", "--state", "deleted")["items"]) == 1
    actions = [entry["action"] for entry in told(running, "audit", "list")["items"]]
    for action in ("user.suspended", "user.restored", "user.operator_granted", "user.deleted"):
        assert action in actions


def test_spaces_are_handed_over_or_the_list_says_which(running: Server) -> None:
    people = {}
    for name, email in (("Olga", "olga@example.org"), ("Ann", ANN), ("Bob", BOB)):
        people[name] = httpx2.Client(base_url=running.url, trust_env=False, timeout=15)
        body = {"email": email, "password": PASSWORD, "name": name}
        assert people[name].post("/api/auth/sign-up", json=body).status_code == 201
    space = people["Ann"].post("/api/spaces", json={"name": "Attic", "visibility": "public"}).json()
    people["Bob"].post(f"/api/spaces/{space['id']}/join")
    words = failed(running, "user", "delete", ANN)
    assert f"{space['id']}  Attic: --hand-over {space['id']}=WHO, such as bob" in words
    done(running, "user", "delete", ANN, "--hand-over", f"{space['id']}=bob")
    [left] = people["Bob"].get(f"/api/spaces/{space['id']}/members").json()["items"]
    assert (left["user"]["username"], left["role"]) == ("bob", "owner")
    for client in people.values():
        client.close()


def test_a_token_is_made_used_and_revoked(running: Server) -> None:
    done(running, "user", "create", ANN, "--name", "Ann", "--operator")
    printed = done(running, "token", "create", ANN, "--name", "bot", "--scope", "read", "--scope", "ops")
    token = printed.splitlines()[0]
    made = told(running, "token", "create", ANN, "--name", "short", "--scope", "write", "--days", "3")
    assert made["expires_at"] is not None
    listed = told(running, "token", "list", ANN)["items"]
    assert [one["name"] for one in listed] == ["short", "bot"]
    assert token not in done(running, "token", "list", ANN)
    assert "scopes" in failed(running, "token", "create", ANN, "--name", "x", "--scope", "space:1")
    assert "--scope" in failed(running, "token", "create", ANN, "--name", "x", code=2)

    headers = {"Authorization": f"Bearer {token}"}
    me = httpx2.get(f"{running.url}/api/users/me", headers=headers, trust_env=False, timeout=15)
    assert me.status_code == 200, me.text
    link = f"/api/ops/users/{me.json()['id']}/sign-in-link"
    refused = post(running, link, None, headers=headers)
    assert refused.status_code == 403, refused.text
    done(running, "token", "revoke", ANN, str(listed[1]["id"]))
    me = httpx2.get(f"{running.url}/api/users/me", headers=headers, trust_env=False, timeout=15)
    assert me.status_code == 401
    assert "no such" in failed(running, "token", "revoke", ANN, str(listed[1]["id"]))


def test_the_record_is_listed_exported_and_checked(running: Server, tmp_path: Path) -> None:
    for name in ("ann", "bob"):
        done(running, "user", "create", f"{name}@example.org", "--name", name.title())
    done(running, "user", "suspend", BOB)
    listed = told(running, "audit", "list")["items"]
    assert told(running, "audit", "list", "--limit", "1")["items"] == listed[:1]
    suspended = told(running, "audit", "list", "--action", "user.suspended")["items"]
    assert [entry["action"] for entry in suspended] == ["user.suspended"]
    assert told(running, "audit", "list", "--actor", BOB)["items"] == []
    assert told(running, "audit", "list", "--until", "2020-01-01")["items"] == []
    assert "since" in failed(running, "audit", "list", "--since", "yesterday")

    lines = [json.loads(line) for line in done(running, "audit", "export", "--format", "jsonl").splitlines()]
    assert lines == listed
    file = tmp_path / "audit.csv"
    done(running, "audit", "export", "--output", str(file), "--subject", suspended[0]["subject"])
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [int(row["id"]) for row in rows] == [
        entry["id"] for entry in listed if entry["subject"] == suspended[0]["subject"]
    ]
    assert "cannot be written" in failed(running, "audit", "export", "--output", str(tmp_path / "no" / "x"))
    verdict = told(running, "audit", "verify")
    assert (verdict["ok"], verdict["problem"]) == (True, None)


def test_a_changed_record_ends_with_an_exit_code(stopped: Server) -> None:
    done(stopped, "user", "create", ANN, "--name", "Ann")
    database = stopped.data_folder / "groupspaces.db"
    connection = apsw.Connection(str(database))
    connection.execute(
        "INSERT INTO audit_seal SELECT max(id), 0, count(*), zeroblob(32), zeroblob(32) FROM audit"
    )
    connection.close()
    ended = stopped.command("audit", "verify")
    assert ended.returncode == 1
    assert "The record was changed" in ended.stdout
    verdict = json.loads(stopped.command("audit", "verify", "--json").stdout)
    assert (verdict["ok"], verdict["problem"]["what"]) == (False, "changed")


def test_the_secret_is_replaced_without_signing_anybody_out(running: Server) -> None:
    with httpx2.Client(base_url=running.url, trust_env=False, timeout=15) as browser:
        body = {"email": ANN, "password": PASSWORD, "name": "Ann"}
        assert browser.post("/api/auth/sign-up", json=body).status_code == 201
        before = told(running, "secret", "status")
        assert (len(before["fingerprints"]), before["replaced_at"]) == (1, None)
        assert "Restart" in done(running, "secret", "rotate")
        files = {name: (running.data_folder / name) for name in ("secret", "secret.previous")}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}

        running.restart()
        after = told(running, "secret", "status")
        assert after["fingerprints"][1:] == before["fingerprints"]
        assert after["replaced_at"] is not None
        assert browser.get("/api/auth/session").status_code == 200
        assert told(running, "secret", "reseal") == {"newest": 0, "previous": 0, "unreadable": 0}
        files["secret.previous"].unlink()
        running.restart()
        assert browser.get("/api/auth/session").status_code == 200
    assert told(running, "audit", "verify")["ok"] is True
    running.settings["auth.secret"] = "s" * 40
    assert "auth.secret is a setting here" in failed(running, "secret", "rotate", code=3)


def test_what_is_printed_cannot_command_the_terminal(running: Server) -> None:
    with httpx2.Client(base_url=running.url, trust_env=False, timeout=15) as browser:
        body = {"email": ANN, "password": PASSWORD, "name": "Ann"}
        browser.post("/api/auth/sign-up", json=body)
        browser.patch("/api/users/me", json={"name": "A\u202enn"})
    assert "\u202e" not in done(running, "user", "list")


@pytest.mark.parametrize("command", ["user", "token", "audit", "secret"])
def test_help_has_examples_and_wrong_use_its_own_code(stopped: Server, command: str) -> None:
    assert f"groupspaces {command} " in done(stopped, command, "--help")
    failed(stopped, command, code=2)
    failed(stopped, command, "no-such-action", code=2)


@pytest.mark.sqld
def test_a_primary_that_is_away_is_named(tmp_path: Path, started: Any, sqld: Sqld) -> None:
    server: Server = started(Server(tmp_path / "a", replica_settings(sqld.url)))
    server.start("--migrate")
    done(server, "user", "create", ANN, "--name", "Ann")
    server.stop()
    sqld.kill()
    # Reading goes on from the local file.
    assert [person["email"] for person in told(server, "user", "list")["items"]] == [ANN]
    assert "primary cannot be reached" in failed(server, "user", "sign-in-link", ANN)


def test_a_folder_in_use_without_its_socket_is_left_alone(running: Server) -> None:
    (running.data_folder / "control.sock").unlink()
    failed(running, "user", "list", code=5)
