"""`?instance=ID`: operators' calls carried to another instance, and everything that must not get in that way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.host import channel
from groupspaces.keys import KeyRing
from groupspaces.signing import Signer
from tests.conftest import _STARTED, StartServer
from tests.support.client import Participant, expect, refused
from tests.support.fleet import SECRET, Fleet, replica_settings
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

NOW_MS = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"


@pytest.fixture(scope="module")
def common_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The instances that the tests of this module share."""
    beats = {"instance__heartbeat_s": 0.5, "instance__idle_heartbeat_s": 0.5}
    with Fleet(
        tmp_path_factory.mktemp("fleet"),
        names=("a", "b", "c"),
        wired=True,
        limits__writes_per_min=1_000_000,
        **beats,
    ) as fleet:
        yield fleet.start()


@pytest.fixture
def fleet(common_fleet: Fleet, request: pytest.FixtureRequest) -> Fleet:
    """The shared instances, with their logs in the report of a failure."""
    request.node.stash.setdefault(_STARTED, []).extend(common_fleet.processes)
    return common_fleet


@pytest_asyncio.fixture
async def person(fleet: Fleet) -> AsyncIterator[Callable[..., Any]]:
    """Sign somebody up at instance `b`; operators are made at the primary."""
    async with AsyncExitStack() as stack:

        async def make(*, operator: bool = True) -> Participant:
            made = Participant(fleet.b.url, timeout_s=5.0)
            stack.push_async_callback(made.close)
            await made.sign_up()
            set_operator(fleet, made, operator)
            await wait_until(lambda: _has_access(made, operator), what="b knows whether this is an operator")
            return made

        yield make


async def _has_access(person: Participant, operator: bool) -> bool:
    return (await person.get("/api/ops/jobs")).status_code == (200 if operator else 403)


def set_operator(fleet: Fleet, person: Participant, operator: bool) -> None:
    """Give or take the right where all instances will hear of it."""
    fleet.primary.execute("UPDATE user SET is_operator = ? WHERE id = ?", [int(operator), person.id])
    fleet.primary.execute(
        "INSERT INTO change (token, at_ms, actor_id, space_id, audience, kind, subject_id, data) "
        f"VALUES (?, {NOW_MS}, NULL, NULL, 'nobody', 'user.updated', ?, '{{}}')",
        [secrets.token_hex(8), person.id],
    )


async def job(person: Participant, query: str = "") -> dict[str, Any]:
    items = expect(await person.get(f"/api/ops/jobs{query}"), 200)["items"]
    return next(item for item in items if item["id"] == "watch")


# --- what is carried ---


async def test_the_instance_that_is_named_answers(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    for name in ("a", "b", "c"):
        answer = await alice.get(f"/api/ops/instances?instance={name}")
        items = expect(answer, 200)["items"]
        assert [item["id"] for item in items if item["is_self"]] == [name]
        assert int(answer.headers["gs-feed-seq"]) > 0
        assert len(answer.headers.get_list("gs-feed-seq")) == 1
    by_default = expect(await alice.get("/api/ops/instances"), 200)["items"]
    assert [item["id"] for item in by_default if item["is_self"]] == ["b"]


async def test_a_write_happens_there_and_is_seen_here(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    answer = await alice.patch("/api/ops/jobs/watch?instance=c", {"paused": True})
    assert expect(answer, 200)["paused"]
    assert (await job(alice, "?instance=c"))["paused"]
    assert not (await job(alice))["paused"]
    # Read your own write, wherever it was made: no header, another instance.
    assert int(answer.headers["gs-bookmark"]) > 0
    newest = expect(await alice.get("/api/ops/audit?limit=1"), 200)["items"][0]
    assert (newest["instance"], newest["action"], newest["subject"]) == ("c", "job.changed", "watch")
    assert newest["actor"] == {"id": alice.id, "name": alice.name}
    expect(await alice.patch("/api/ops/jobs/watch?instance=c", {"paused": False}), 200)


async def test_the_machine_of_one_instance_may_call_another(fleet: Fleet, operator: Participant) -> None:
    """Whoever may open a data folder is an operator there, and by that instance's word anywhere."""

    async def local(method: str, path: str, body: Any = None) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        folder = fleet.b.data_folder
        answer = await asyncio.to_thread(channel.request, folder, method, path, "instance=c", sent)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    items = (await local("GET", "/api/ops/instances"))["items"]
    assert [item["id"] for item in items if item["is_self"]] == ["c"]
    assert not (await local("PATCH", "/api/ops/jobs/watch", {"paused": False}))["paused"]
    newest = expect(await operator.get("/api/ops/audit?limit=1&instance=c"), 200)["items"][0]
    assert (newest["instance"], newest["action"], newest["actor"]) == ("c", "job.changed", None)


async def test_a_refusal_comes_back_as_it_was_made(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    answer = await alice.patch(
        "/api/ops/jobs/watch?instance=c", {"pause": True}, x_request_id="the-callers-own"
    )
    problem = refused(answer, 422)
    assert [error["field"] for error in problem["errors"]] == ["pause"]
    assert problem["request_id"] == "the-callers-own"
    # Its log knows the call by the same name; the line is written after the answer.
    [line] = await wait_until(
        lambda: fleet.servers["c"].logs(request_id="the-callers-own"), 10.0, "c logs the call"
    )
    assert line["status"] == 422
    refused(await alice.get("/api/ops/jobs/none/runs?instance=c"), 404)
    refused(await alice.get("/api/ops/audit?instance=c&limit=0"), 422)
    refused(await alice.post("/api/ops/audit?instance=c"), 405)
    answer = await alice.http.patch("/api/ops/jobs/watch?instance=c", content=b"{}")
    refused(answer, 415)


async def test_queries_arrive_as_they_were_sent(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    expect(await alice.patch("/api/ops/jobs/watch?instance=c", {"paused": False}), 200)
    for query in (
        "limit=1&instance=c",
        "instance=c&limit=1",
        "limit=%31&inst%61nce=%63",
        "&instance=c&&limit=1",
    ):
        assert len(expect(await alice.get(f"/api/ops/audit?{query}"), 200)["items"]) == 1, query
    refused(await alice.get("/api/ops/audit?instance=c&colour=%22%c3%a9%22"), 422)


# --- who may not, and where nobody is ---


@pytest.mark.parametrize("instance", ["nobody", "A", "", "a%00", "..%2f", "a" * 500, "%ff", "c%20"])
async def test_an_unknown_instance(fleet: Fleet, person: Callable[..., Any], instance: str) -> None:
    alice = await person()
    refused(await alice.get(f"/api/ops/jobs?instance={instance}"), 404, "INSTANCE_UNKNOWN")


async def test_naming_two_is_refused(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    refused(await alice.get("/api/ops/jobs?instance=a&instance=c"), 422)


async def test_only_operators_reach_another_instance(fleet: Fleet, person: Callable[..., Any]) -> None:
    await person()  # whoever is first is an operator
    bob = await person(operator=False)
    refused(await bob.get("/api/ops/jobs?instance=c"), 403, "OPERATOR_ONLY")
    refused(await bob.get("/api/ops/jobs?instance=nobody"), 403, "OPERATOR_ONLY")
    async with Participant(fleet.b.url) as nobody:
        refused(await nobody.get("/api/ops/jobs?instance=c"), 401)


async def test_who_has_just_lost_the_right_is_refused_by_the_instance_that_knows(
    fleet: Fleet, person: Callable[..., Any]
) -> None:
    """B's replica still says yes; C looks at a fresher state before it does anything."""
    alice = await person()
    fleet.wires["b"].set_mode("reset")
    try:
        set_operator(fleet, alice, False)
        expect(await alice.get("/api/ops/jobs"), 200)
        refused(await alice.get("/api/ops/jobs?instance=c"), 403, "OPERATOR_ONLY")
        answer = await alice.patch("/api/ops/jobs/watch?instance=c", {"paused": True})
        refused(answer, 403, "OPERATOR_ONLY")
        # The same for a session that has ended.
        set_operator(fleet, alice, True)
        fleet.primary.execute("DELETE FROM session WHERE user_id = ?", [alice.id])
        set_operator(fleet, alice, True)
        refused(await alice.get("/api/ops/jobs?instance=c"), 401)
    finally:
        fleet.wires["b"].set_mode("pass")


async def test_a_body_that_is_too_large_goes_nowhere(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    answer = await alice.patch("/api/ops/jobs/watch?instance=c", {"paused": "x" * 1_100_000})
    refused(answer, 413)


# --- instances that do not answer ---


async def test_a_peer_that_hangs_is_given_up(fleet: Fleet, person: Callable[..., Any]) -> None:
    """Within the 5 s that this client waits at most."""
    alice = await person()
    expect(await alice.get("/api/ops/jobs?instance=c"), 200)
    fleet.servers["c"].pause()
    try:
        problem = refused(await alice.get("/api/ops/jobs?instance=c"), 503, "INSTANCE_UNREACHABLE")
        assert "c cannot be reached from here" in problem["detail"]
        # Nobody else has to wait for it.
        expect(await alice.get("/api/ops/jobs?instance=a"), 200)
    finally:
        fleet.servers["c"].resume()
    expect(await alice.get("/api/ops/jobs?instance=c"), 200)


async def test_a_peer_that_started_anew_is_called_again(fleet: Fleet, person: Callable[..., Any]) -> None:
    alice = await person()
    expect(await alice.get("/api/ops/jobs?instance=c"), 200)
    fleet.servers["c"].kill()
    refused(await alice.get("/api/ops/jobs?instance=c"), 503, "INSTANCE_UNREACHABLE")
    fleet.servers["c"].start()
    expect(await alice.get("/api/ops/jobs?instance=c"), 200)


@pytest.mark.parametrize(
    ("name", "words"), [("without", "advertises no address"), ("wrong", "another instance answers")]
)
async def test_addresses_that_lead_nowhere(
    fleet: Fleet, person: Callable[..., Any], start_server: StartServer, name: str, words: str
) -> None:
    alice = await person()
    url = fleet.a.url if name == "wrong" else ""
    start_server(replica_settings(fleet.primary.url, instance__id=name, instance__url=url), name=name)

    async def is_known() -> bool:
        return (await alice.get(f"/api/ops/jobs?instance={name}")).status_code != 404

    await wait_until(is_known, what="b knows it")
    problem = refused(await alice.get(f"/api/ops/jobs?instance={name}"), 503, "INSTANCE_UNREACHABLE")
    assert words in problem["detail"]


# --- calls that no instance made ---


class Forger:
    """Somebody who may know the secret, or not, and calls an instance as another would."""

    def __init__(self, server: Server, secret: str = SECRET) -> None:
        self.server = server
        self.signer = Signer(KeyRing(secret))
        self.http = httpx2.AsyncClient(base_url=server.url, trust_env=False)

    async def __aenter__(self) -> Forger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    def envelope(self, person: Participant, door: str = "", **others: Any) -> dict[str, Any]:
        return {
            "sender": "b",
            "to": self.server.settings["instance.id"],
            "door": door,
            "nonce": secrets.token_hex(12),
            "user_id": person.id,
            "session_id": session_of(person),
            "local_operator": False,
            "headers": {"content-type": "application/json"},
        } | others

    def signed(
        self, envelope: dict[str, Any], method: str = "GET", target: str = "/api/ops/jobs", body: bytes = b""
    ) -> dict[str, str]:
        """Return the headers of the call, signed as `web/forward.py` says."""
        path, _, query = target.partition("?")
        sealed = base64.urlsafe_b64encode(json.dumps(envelope).encode()).decode()
        parts = (method, path, query, sealed, hashlib.sha256(body).hexdigest())
        signature = self.signer.sign("forward", "\n".join(parts).encode())
        return {"GS-Forwarded": sealed, "GS-Signature": signature}

    async def call(self, envelope: dict[str, Any]) -> httpx2.Response:
        return await self.http.get("/api/ops/jobs", headers=self.signed(envelope))

    async def door(self, person: Participant) -> str:
        """Return the current door: told to whoever knows the secret."""
        answer = await self.call(self.envelope(person))
        return str(refused(answer, 409, "INSTANCE_RESTARTED")["current"]["door"])


def session_of(person: Participant) -> int:
    return _sessions[person.id]


_sessions: dict[int, int] = {}


@pytest_asyncio.fixture
async def operator(fleet: Fleet, person: Callable[..., Any]) -> Participant:
    """An operator whose session's id is known, as an instance knows it."""
    made: Participant = await person()
    [[session_id]] = fleet.primary.execute("SELECT id FROM session WHERE user_id = ?", [made.id])
    _sessions[made.id] = int(str(session_id))
    return made


async def test_a_replayed_call_is_refused_before_and_after_a_restart(
    fleet: Fleet, operator: Participant
) -> None:
    c = fleet.servers["c"]
    async with Forger(c) as forger:
        envelope = forger.envelope(operator, await forger.door(operator))
        expect(await forger.call(envelope), 200)
        refused(await forger.call(envelope), 409, "REPLAYED")
        expect(await forger.call(envelope | {"nonce": "another"}), 200)
        c.restart()
        refused(await forger.call(envelope), 409, "INSTANCE_RESTARTED")


async def test_a_call_for_another_instance_is_refused(fleet: Fleet, operator: Participant) -> None:
    async with Forger(fleet.servers["c"]) as forger:
        envelope = forger.envelope(operator, await forger.door(operator), to="a")
        refused(await forger.call(envelope), 409, "INSTANCE_OTHER")


async def test_what_is_signed_cannot_be_changed(fleet: Fleet, operator: Participant) -> None:
    async with Forger(fleet.servers["c"]) as forger:
        door = await forger.door(operator)
        body = b'{"paused":false}'
        path = "/api/ops/jobs/watch"

        def headers(**others: Any) -> dict[str, str]:
            return forger.signed(forger.envelope(operator, door, **others), "PATCH", path, body)

        good = headers()
        expect(await forger.http.patch(path, headers=good, content=body), 200)
        for method, target, changed, sent in (
            ("PATCH", path, headers(), b'{"paused":true}'),
            ("PATCH", "/api/ops/jobs/heartbeat", headers(), body),
            ("PATCH", f"{path}?x=1", headers(), body),
            ("POST", f"{path}/run", headers(), body),
            ("PATCH", path, headers() | {"GS-Forwarded": good["GS-Forwarded"]}, body),
            ("PATCH", path, headers() | {"GS-Signature": "0" * 64}, body),
            ("PATCH", path, headers() | {"GS-Signature": "é"}, body),
            ("PATCH", path, {"GS-Forwarded": headers()["GS-Forwarded"]}, body),
            ("PATCH", path, {"GS-Forwarded": "", "GS-Signature": ""}, body),
        ):
            answer = await forger.http.request(
                method, target, headers={k: v.encode("latin-1") for k, v in changed.items()}, content=sent
            )
            refused(answer, 401, "BAD_SIGNATURE")
        # Headers travel inside what is signed; those beside it are nothing.
        answer = await forger.http.patch(
            path, headers=headers(headers={"content-type": "text/plain"}), content=body
        )
        refused(answer, 415)


async def test_the_secret_of_another_deployment_is_worth_nothing(fleet: Fleet, operator: Participant) -> None:
    async with Forger(fleet.servers["c"], "a secret of somebody else, long enough") as forger:
        refused(await forger.call(forger.envelope(operator)), 401, "BAD_SIGNATURE")


async def test_a_carried_call_is_not_carried_on_and_opens_nothing_else(
    fleet: Fleet, operator: Participant
) -> None:
    async with Forger(fleet.servers["c"]) as forger:
        door = await forger.door(operator)
        target = "/api/ops/jobs?instance=a"
        headers = forger.signed(forger.envelope(operator, door), target=target)
        refused(await forger.http.get(target, headers=headers), 403, "FORWARDED_TWICE")
        for target in ("/api/users/me", "/api/spaces"):
            headers = forger.signed(forger.envelope(operator, door), target=target)
            refused(await forger.http.get(target, headers=headers), 401)


async def test_a_session_that_never_was_is_nobody(fleet: Fleet, operator: Participant) -> None:
    async with Forger(fleet.servers["c"]) as forger:
        door = await forger.door(operator)
        refused(await forger.call(forger.envelope(operator, door, session_id=2**40)), 401)
        refused(await forger.call(forger.envelope(operator, door, user_id=operator.id + 1)), 401)
        # That nobody is named makes nobody the operator at a command line.
        refused(await forger.call(forger.envelope(operator, door, user_id=None, session_id=None)), 401)


async def test_forgeries_are_counted(start_server: StartServer) -> None:
    server = start_server({"limits.anonymous_per_min": 3, "instance.id": "alone"})
    async with (
        Forger(server, "a secret of somebody else, long enough") as forger,
        Participant(server.url) as alice,
    ):
        await alice.sign_up()
        _sessions[alice.id] = 1
        envelope = forger.envelope(alice)
        statuses = [(await forger.call(envelope)).status_code for _ in range(5)]
        assert (statuses[0], statuses[-1]) == (401, 429)
        # Who is signed in is not concerned.
        expect(await alice.get("/api/ops/jobs?instance=alone"), 200)
        refused(await alice.get("/api/ops/jobs?instance=other"), 404, "INSTANCE_UNKNOWN")


async def test_headers_that_no_client_sends_are_carried_or_refused(
    fleet: Fleet, operator: Participant
) -> None:
    async def patch(media_type: bytes) -> httpx2.Response:
        return await operator.http.patch(
            "/api/ops/jobs/watch?instance=c",
            content=b'{"paused": false}',
            headers=[(b"Content-Type", media_type)],
        )

    assert (await patch(b"application/json; x=\xff")).status_code < 500
    refused(await patch(b"application/json; x=" + b"y" * 5_000), 422)
