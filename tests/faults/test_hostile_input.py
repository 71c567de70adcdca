"""Hostile callers against a running instance, over the wire, at every operation of its OpenAPI document.

Whatever they send is answered with a clear problem of a documented status. Nothing is written, nothing of the inside is shown,
and nothing of it is an error in the log.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.keys import KeyRing
from groupspaces.ops.command_line_api import COMMAND_LINE
from groupspaces.web.cookies import SessionCookies
from tests.conftest import _STARTED
from tests.faults import hostile
from tests.faults.conftest import UNLIMITED
from tests.features.stage import key_of
from tests.support.client import Participant, expect, new_key, refused
from tests.support.evidence import Rows, local_file, tables
from tests.support.openapi import DocumentedCall, documented_calls
from tests.support.readers import reading
from tests.support.server import Server
from tests.support.wait import wait_until

# Words that only the inside of the product uses.
_INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|apsw|msgspec|sqlite|SELECT |INSERT |UPDATE |constraint|"
    r"NotFoundError|Exception\b|/data/|/tmp/|0x[0-9a-f]{8}",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The instance that all tests of this module attack."""
    with Server(
        tmp_path_factory.mktemp("victim"), {**UNLIMITED, "auth.secret": "the secret of the victim"}
    ) as server:
        yield server.start()


# Nobody who comes over the network is let in here, whatever they send.
_REFUSED_BEFORE_ALL = {key_of(operation) for operation in operations() if operation.access is COMMAND_LINE}

# A wrong secret is a guess: it is told apart from a field in the wrong form, and counted.
_NO_FIELD = ("LINK_INVALID", "PASSKEY_INVALID", "TOTP_WRONG")

_OPERATOR = {"email": "operator@example.org", "password": "what operators sign in with"}


@dataclass
class Scene:
    """What the attacker may see: an account of their own with a space, a message and an invite in it."""

    server: Server
    person: Participant
    calls: list[DocumentedCall]
    ids: Mapping[str, Any]
    faults: list[str] = field(default_factory=list)

    async def attack(
        self, call: DocumentedCall, what: str, statuses: set[int], *, url: str | None = None, **request: Any
    ) -> httpx2.Response:
        """Send one request and note everything that is wrong with its answer."""
        target = url or call.url(self.ids)
        async with self.person.http.stream(call.method, target, **request) as answer:
            if answer.headers.get("content-type") == "text/event-stream":
                self.faults.append(f"{call.name} with {what}: a stream opens")
            else:
                await answer.aread()
        if not answer.is_stream_consumed:
            return answer
        wrong = list(_wrong_with(answer, call, statuses))
        self.faults += [f"{call.name} with {what}: {text}" for text in wrong]
        return answer

    def with_body(self) -> list[DocumentedCall]:
        """Return the calls that take a JSON body."""
        return [call for call in self.calls if call.body is not None]


@asynccontextmanager
async def staged(victim: Server, *, operators: bool = False) -> AsyncIterator[Scene]:
    """Make an account with all that the addresses of the calls need: of everybody's calls, or of those of operators."""
    async with Participant(victim.url) as person:
        await _become_operator(person)
        if not operators:
            await person.sign_up()
        space_id = await person.space()
        message = await person.message(space_id, "mine")
        code = await person.invite(space_id)
        session = expect(await person.get("/api/auth/session"), 200)["session"]["id"]
        ids = {
            "space_id": space_id,
            "message_id": message["id"],
            "user_id": person.id,
            "session_id": session,
            "code": code,
            "job_id": "retention",
            "backup_id": await _a_backup(person) if operators else "20200101T000000Z-000000",
            "passkey_id": 1,
            "linked_id": 1,
            "token_id": 1,
            "provider": "oidc",
            "name": "picture.webp",
        }
        document = expect(await person.get("/api/openapi.json"), 200)
        calls = [
            call
            for call in documented_calls(document)
            if call.path.startswith("/api/ops/") == operators and call.name not in _REFUSED_BEFORE_ALL
        ]
        assert len(calls) > (8 if operators else 20)
        yield Scene(victim, person, calls, ids)


@pytest_asyncio.fixture(params=[False, True], ids=["everybody", "operators"])
async def scene(victim: Server, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """Set the scene; at the end nothing may have been written, shown or logged as an error."""
    request.node.stash.setdefault(_STARTED, []).append(victim)
    async with staged(victim, operators=request.param) as scene:
        before = _everything(victim)
        yield scene
        assert not scene.faults, "\n".join(scene.faults)
        assert _everything(victim) == before, "something was written"
        assert victim.logs(level="error") == []


async def _a_backup(operator: Participant) -> str:
    """Return the id of a backup that is proved, so that no job writes about it; make it for whoever asks first."""

    async def found() -> dict[str, Any]:
        return dict(expect(await operator.get("/api/ops/backups"), 200))

    async def is_idle() -> bool:
        return all(work["state"] != "running" for work in (await found())["works"])

    if not (await found())["items"]:
        expect(await operator.post("/api/ops/backups"), 202)
        await wait_until(is_idle, 30.0, "the backup is made")
        path = f"/api/ops/backups/{(await found())['items'][0]['id']}/prove"
        expect(await operator.post(path), 202)
        await wait_until(is_idle, 30.0, "the backup is proved")
    return str((await found())["items"][0]["id"])


# --- bodies ---


async def test_bodies_that_are_not_what_they_should_be(scene: Scene) -> None:
    for call in scene.with_body():
        for what, body in hostile.NO_JSON.items():
            await scene.attack(call, what, {400, 422}, **_json(body))
        for what, body in hostile.OTHER_SHAPES.items():
            await scene.attack(call, what, {422}, **_json(body))
        for media_type in hostile.MEDIA_TYPES:
            body = hostile.as_json(call.valid_body())
            headers = {"content-type": media_type} if media_type else {}
            await scene.attack(call, f"type {media_type!r}", {415}, content=body, headers=headers)
        compressed = _json(hostile.as_json(call.valid_body()))
        compressed["headers"]["content-encoding"] = "gzip"
        await scene.attack(call, "a claim to be compressed", {415}, **compressed)


async def test_bodies_that_are_too_large(scene: Scene) -> None:
    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    for call in scene.with_body():
        body = hostile.large_body(call)
        await scene.attack(call, "one byte too many", {413}, **_json(body))
        # Without a length, in chunks: nobody knows before the last byte how much there is.
        request = _json(b"") | {"content": chunks(body)}
        await scene.attack(call, "one byte too many in chunks", {413}, **request)


async def test_fields_that_are_not_what_they_should_be(scene: Scene) -> None:
    for call in scene.with_body():
        valid = call.valid_body()
        for extra in ("is_operator", "id", "__proto__", "constructor", "", "\u0000", "a" * 10_000):
            body = hostile.as_json(valid | {extra: 1})
            await scene.attack(call, f"the unknown field {extra[:20]!r}", {422}, **_json(body))
        for name in (call.body or {}).get("required", []):
            body = hostile.as_json({key: value for key, value in valid.items() if key != name})
            await scene.attack(call, f"no {name}", {422}, **_json(body))
        for name, schema in call.properties().items():
            for value in hostile.other_types(schema):
                body = hostile.as_json(valid | {name: value})
                answer = await scene.attack(call, f"{name} = {value!r}", {422}, **_json(body))
                _names_the_field(scene, call, answer, name)
            for value in hostile.out_of_range(schema):
                if name in ("token", "link") and isinstance(value, str):
                    continue  # a text that nobody but us can make: any other is no link
                body = hostile.as_json(valid | {name: value})
                # Half a surrogate pair is no text at all, so that its JSON counts as unreadable.
                statuses = {400} if value == "\ud800" else {422}
                answer = await scene.attack(call, f"{name} = {value!r:.40}", statuses, **_json(body))
                _names_the_field(scene, call, answer, name)
            once, again = (hostile.as_json({name: valid.get(name, 1)})[1:-1] for _ in range(2))
            doubled = b"{" + b", ".join([once, again, hostile.as_json(valid)[1:-1]]) + b"}"
            await scene.attack(call, f"{name} three times", {400, 422}, **_json(doubled))


# --- addresses ---


async def test_ids_and_codes_that_cannot_be(scene: Scene) -> None:
    for call in scene.calls:
        for name in call.path_parameters:
            for text in hostile.NO_CODE if name == "code" else hostile.NO_ID:
                url = call.url({**scene.ids, name: text})
                request = _json(hostile.as_json(call.valid_body())) if call.body else {}
                answer = await scene.attack(call, f"{name} = {text[:40]}", {404}, url=url, **request)
                assert "set-cookie" not in answer.headers


async def test_queries_that_make_no_sense(scene: Scene) -> None:
    for call in scene.calls:
        if call.method != "GET" or call.is_public:
            continue
        url = call.url(scene.ids)
        for name, schema in call.query_parameters.items():
            if "integer" in [kind.get("type") for kind in schema.get("anyOf", [schema])]:
                for text in hostile.NO_LIMIT:
                    if text == "201" and name != "limit":
                        continue
                    if text == "0" and (schema.get("minimum") == 0 or name in ("after", "last_event_id")):
                        continue
                    await scene.attack(call, f"{name}={text[:30]}", {422}, url=f"{url}?{name}={text}")
            await scene.attack(call, f"{name} twice", {422}, url=f"{url}?{name}=1&{name}=1")
        if call.query_parameters:
            await scene.attack(call, "an unknown parameter", {422}, url=f"{url}?unknown=1")
            await scene.attack(call, "a long query", {422, 400, 414}, url=f"{url}?limit={'1' * 5000}")


async def test_headers_that_make_no_sense(scene: Scene) -> None:
    no_number: list[str | bytes] = ["-1", "abc", "1.5", "1e3", str(2**63), "9" * 400, b"\xb2"]
    for call in scene.calls:
        if call.takes_bookmark:
            names = ("GS-Bookmark", "Last-Event-ID") if call.path == "/api/events" else ("GS-Bookmark",)
            for name in names:
                for text in no_number:
                    await scene.attack(call, f"{name}: {text[:30]!r}", {422}, headers={name: text})
        if call.takes_key:
            for key in ("a" * 65, "a b", "a\tb", b"\xe9"):
                request = _json(hostile.as_json(call.valid_body())) if call.body else {"headers": {}}
                request["headers"]["idempotency-key"] = key
                await scene.attack(call, f"Idempotency-Key: {key[:30]!r}", {422}, **request)


async def test_request_ids_are_kept_only_when_they_are_harmless(scene: Scene) -> None:
    kept = await scene.person.http.get("/api/health/live", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    for text in ("<script>", "a b", "a" * 300, b"\xe9", 'a"b', "a;b", "a\tb"):
        answer = await scene.person.http.get("/api/health/live", headers={"X-Request-ID": text})
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] != text


async def test_texts_made_to_be_slow_stop_nobody(victim: Server) -> None:
    async with Participant(victim.url) as writer, Participant(victim.url, timeout_s=2.0) as reader:
        await writer.sign_up()
        space_id = await writer.space()
        await writer.message(space_id, "first")
        reader.http.cookies = writer.http.cookies
        async with reading([reader], space_id) as readings:
            for text in hostile.SLOW_TEXTS:
                message = await writer.message(space_id, text[:8000])
                assert "<script" not in message["html"]
                await writer.message(space_id, "still here")
        assert readings.wrong == []
        assert readings.broken == 0


# --- who they say they are ---


async def test_cookies_that_are_not_ours(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("foreign"), UNLIMITED) as other:
        other.start()
        async with Participant(other.url) as twin:
            # The same person by number and address, at an instance with a secret of its own.
            await twin.sign_up(email=scene.person.email)
            foreign = twin.cookie
    ours = SessionCookies(KeyRing("the secret of the victim"), secure=False)
    forged = hostile.forged_cookies(scene.person.cookie, foreign, ours)
    genuine = scene.person.cookie
    scene.person.http.cookies.clear()
    for what, value in forged.items():
        for call in scene.calls:
            if call.is_public:
                continue
            request = _json(hostile.as_json(call.valid_body())) if call.body else {"headers": {}}
            request["headers"]["cookie"] = f"gs_session={value}"
            await scene.attack(call, f"a cookie {what}", {401}, **request)
    # The check of the check: the same calls are signed in with the real one.
    answer = await scene.person.http.get("/api/auth/session", headers={"cookie": f"gs_session={genuine}"})
    assert answer.status_code == 200


async def test_a_session_that_has_ended_stays_ended(victim: Server) -> None:
    async with Participant(victim.url) as person, Participant(victim.url) as thief:
        await person.sign_up()
        cookie = person.cookie
        expect(await person.post("/api/auth/sign-out"), 204)
        thief.http.cookies.set("gs_session", cookie)
        before = _everything(victim)
        refused(await thief.get("/api/auth/session"), 401)
        refused(await thief.post("/api/spaces", {"name": "Stolen"}), 401)
        assert _everything(victim) == before


async def test_pages_of_other_sites_write_nothing(scene: Scene) -> None:
    for call in scene.calls:
        if call.method == "GET":
            continue
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": scene.server.url + ".evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site", "origin": scene.server.url},
        ):
            request = _json(hostile.as_json(call.valid_body())) if call.body else {"headers": {}}
            request["headers"] |= headers
            answer = await scene.attack(call, f"{headers}", {403}, **request)
            assert answer.json()["code"] == "CROSS_ORIGIN"


async def test_a_stranger_with_the_right_ids_gets_nothing(victim: Server) -> None:
    async with staged(victim) as scene, Participant(victim.url) as stranger:
        await stranger.sign_up()
        before = _everything(victim)
        scene.person = stranger
        for call in scene.calls:
            if not call.path_parameters or call.is_public or "/invites/{code}/accept" in call.path:
                continue
            request = _json(hostile.as_json(call.valid_body())) if call.body else {}
            await scene.attack(call, "somebody else's ids", {403, 404}, **request)
        assert not scene.faults, "\n".join(scene.faults)
        assert _everything(victim) == before


# --- the same again ---


async def test_a_key_used_again_for_something_else_is_a_conflict(victim: Server) -> None:
    async with Participant(victim.url) as person, Participant(victim.url) as other:
        await person.sign_up()
        await other.sign_up()
        space_id = await person.space()
        key = new_key()
        first = await person.message(space_id, "first", key)
        before = _everything(victim)

        assert await person.message(space_id, "first", key) == first
        for path, body in (
            (f"/api/spaces/{space_id}/messages", {"content": "second"}),
            (f"/api/spaces/{space_id}/messages", {"content": "first "}),
            ("/api/spaces", {"name": "first"}),
            (f"/api/spaces/{space_id}/invites", {}),
        ):
            refused(await person.post(path, body, idempotency_key=key), 409, "IDEMPOTENCY_KEY_REUSED")
        assert _everything(victim) == before

        # Many at once are one; and a key belongs to the person who uses it.
        key = new_key()
        many = await asyncio.gather(*(person.message(space_id, "many", key) for _ in range(20)))
        assert len({message["id"] for message in many}) == 1
        assert (await other.post("/api/spaces", {"name": "Mine"}, idempotency_key=key)).status_code == 201
        contents = [message["content"] for message in await person.all_messages(space_id)]
        assert contents == ["first", "many"]


# --- below HTTP ---


async def test_noise_on_the_wire_disturbs_nobody(scene: Scene, chance: random.Random) -> None:
    cookie = f"Cookie: gs_session={scene.person.cookie}\r\n"
    post = f"POST /api/spaces HTTP/1.1\r\nHost: x\r\n{cookie}Content-Type: application/json\r\n"
    noise = [
        b"",
        b"\r\n" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),  # somebody tries TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/spaces HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\x00b\r\n\r\n",
        b"GET /api/spaces HTTP/1.1\r\nHost: x\r\n folded: header\r\n\r\n",
        b"GET /api/" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /api/spaces HTTP/1.1\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(5000)) + b"\r\n",
        b"GET /api/spaces HTTP/1.1\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n",
        # A body that is promised and never comes, one with two lengths, and one inside another.
        f'{post}Content-Length: 100\r\n\r\n{{"name": "half'.encode(),
        f'{post}Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n{{"name": "smug"}}'.encode(),
        f'{post}Content-Length: 16\r\nContent-Length: 4\r\n\r\n{{"name": "smug"}}'.encode(),
        f"{post}Content-Length: -5\r\n\r\n".encode(),
        f"{post}Content-Length: 99999999999999999999999\r\n\r\n{{}}".encode(),
        f"{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{{}}".encode(),
        f"{post}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}".encode(),
        *(chance.randbytes(chance.randint(1, 3000)) for _ in range(30)),
    ]
    for data in noise:
        answer = await asyncio.to_thread(_exchange, scene.server.port, data)
        assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 500")), (data[:80], answer[:200])
        assert not _INSIDE.search(answer.decode("latin-1")), (data[:80], answer[:500])
    expect(await scene.person.get("/api/spaces"), 200)


async def test_a_head_without_an_end_is_cut_off(scene: Scene) -> None:
    memory = scene.server.rss_bytes()
    for begin in (b"GET /api/spaces HTTP/1.1\r\nX-A: ", b"GET /", b"GET /api/spaces HTTP/1.1\r\n"):
        piece = b"X-A: a\r\n" * 128 if begin.endswith(b"1.1\r\n") else b"a" * 1024
        assert await asyncio.to_thread(_bytes_taken, scene.server.port, begin, piece) < 16 * 1024 * 1024
    assert scene.server.rss_bytes() - memory < 32 * 1024 * 1024
    expect(await scene.person.get("/api/spaces"), 200)


# --- helpers ---


def _bytes_taken(port: int, begin: bytes, piece: bytes) -> int:
    """Send pieces until the other side ends the connection; return how much it let us send."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
        connection.sendall(begin)
        try:
            while sent < 64 * 1024 * 1024:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
    return sent


async def _become_operator(person: Participant) -> None:
    """Sign in as the operator, who is the first to have an account."""
    answer = await person.post("/api/auth/sign-up", {**_OPERATOR, "name": "Operator"})
    if answer.status_code == 409:
        answer = await person.post("/api/auth/sign-in", _OPERATOR)
    user = answer.json()["user"]
    assert user["is_operator"]
    person.id, person.email = user["id"], user["email"]


def _json(body: bytes) -> dict[str, Any]:
    return {"content": body, "headers": {"content-type": "application/json"}}


def _everything(server: Server) -> dict[str, Rows]:
    return tables(local_file(server))


def _wrong_with(answer: httpx2.Response, call: DocumentedCall, statuses: set[int]) -> Iterator[str]:
    shown = f"{answer.status_code} {answer.text[:200]!r}"
    if answer.status_code not in statuses:
        yield f"answered with {shown}"
    elif answer.status_code not in call.statuses:
        yield f"{answer.status_code} is not documented"
    if answer.headers.get("content-type") != "application/problem+json":
        yield f"no problem: {shown}"
        return
    problem = answer.json()
    if problem["status"] != answer.status_code or problem["request_id"] != answer.headers["x-request-id"]:
        yield f"does not say what it is: {shown}"
    if not {"type", "title", "detail", "code"} <= problem.keys():
        yield f"says too little: {shown}"
    if found := _INSIDE.search(answer.text):
        yield f"shows {found.group()!r}: {shown}"


def _names_the_field(scene: Scene, call: DocumentedCall, answer: httpx2.Response, name: str) -> None:
    if answer.json().get("code") in _NO_FIELD:
        return
    fields = [error["field"] for error in answer.json().get("errors", [])]
    if (
        answer.status_code == 422
        and fields != [name]
        and not any(f.startswith((f"{name}[", f"{name}.")) for f in fields)
    ):
        scene.faults.append(f"{call.name}: {name} is refused as {fields}")


def _exchange(port: int, data: bytes) -> bytes:
    """Send bytes and return the beginning of what comes back, if anything does."""
    with socket.create_connection(("127.0.0.1", port), timeout=5.0) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(1.0)
            return connection.recv(65_536)
        except OSError:
            return b""
