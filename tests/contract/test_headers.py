"""What browsers are told with every answer: security headers, cookies' flags, which other sites may read, and where nothing leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from groupspaces.app import operations
from groupspaces.assets import static_dir
from tests.features.world import PASSWORD, Person, World, problem, running
from tests.support.server import Server
from tests.support.wait import TIMEOUT_S

PUBLIC_URL = "https://spaces.example.org"
FRIEND = "https://friend.example"

SESSION = "__Host-gs_session"

ALL = operations()
EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
    "x-dns-prefetch-control": "off",
    "strict-transport-security": "max-age=63072000; includeSubDomains; preload",
    "cross-origin-resource-policy": "same-origin",
}
API_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """An instance that browsers reach by https, and one other site that may call its API."""
    settings = {
        "server.public_url": PUBLIC_URL,
        "server.cors_origins": FRIEND,
        "auth.secret": "a secret that only this test knows",
    }
    async with running(tmp_path_factory.mktemp("headers") / "data", settings) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owner(world: World) -> Person:
    return await over_https(world, "Olga", setup_code=world.app.setup_code)


async def over_https(world: World, name: str, **fields: Any) -> Person:
    """Sign somebody up; their client speaks http and would keep the cookie, which is for https, to itself."""
    person = await world.person(name, **fields)
    person.client.headers["cookie"] = f"{SESSION}={person.client.cookies[SESSION]}"
    return person


def protects(answer: httpx2.Response, *, page: bool = False) -> None:
    """Check the headers of one answer, each of which must be there once."""
    for name, value in EVERYWHERE.items():
        assert answer.headers.get_list(name) == [value], name
    policies = answer.headers.get_list("content-security-policy")
    assert (PAGE_POLICY if page else API_POLICY) in policies
    assert not any("unsafe" in policy for policy in policies)
    assert "server" not in answer.headers
    assert "x-powered-by" not in answer.headers
    if page:
        assert "camera=()" in answer.headers["permissions-policy"]
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"


async def test_every_operation_answers_with_them(world: World, owner: Person) -> None:
    scene = dict.fromkeys({name for op in ALL for name in op.parameter_names}, "1")
    for op in ALL:
        path = op.path.format(**scene)
        # A stream would not end; asked for its head only, it is opened all the same.
        method = "HEAD" if op.method == "GET" else op.method
        stranger = await world.stranger()
        protects(await stranger.client.request(method, path))
        if op.method == "GET":
            answer = await owner.client.request(method, path)
            assert answer.status_code != 401, path
            protects(answer)
        protects(await owner.client.request("PROPFIND", path))


async def test_pages_and_all_that_belongs_to_them_do_too(world: World) -> None:
    stranger = await world.stranger()
    folder = static_dir()
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    for path in ("/", "/sign-in", "/spaces/1", "/api/docs", *(f"/static/{name}" for name in files)):
        answer = await stranger.get(path)
        assert answer.status_code == 200, path
        protects(answer, page=True)
        protects(
            await stranger.get(path, headers={"if-none-match": answer.headers.get("etag", "")}), page=True
        )


async def test_refusals_do_too(world: World, owner: Person) -> None:
    for method, path, status in (
        ("GET", "/api/nowhere", 404),
        ("GET", "/static/nowhere.js", 404),
        ("POST", "/", 405),
        ("OPTIONS", "/api/spaces", 405),
        ("DELETE", "/api/spaces", 405),
        ("POST", "/api/spaces", 415),
    ):
        answer = await owner.client.request(method, path)
        problem(answer, status)
        protects(answer)


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "CONNECT", "PROPFIND", "DEBUG"])
async def test_only_known_methods_are_served(world: World, method: str) -> None:
    for path in ("/", "/api/spaces", "/api/health", "/static/app.js", "/nowhere/at/all"):
        answer = await (await world.stranger()).client.request(method, path, headers={"x-secret": "echo"})
        problem(answer, 405, "METHOD_NOT_ALLOWED")
        assert answer.headers["allow"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
        assert "echo" not in answer.text


@pytest.mark.parametrize(
    "head",
    [
        b"TRACE /api/health HTTP/1.1",
        b"TRACE * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT example.org:443 HTTP/1.1",
        b"GET example.org:443 HTTP/1.1",
        b"CONNECT /api/health HTTP/1.1",
    ],
)
async def test_a_real_server_refuses_them_as_well(plain: Server, head: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
    writer.write(head + b"\r\nHost: localhost\r\nX-Secret: echo\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), TIMEOUT_S)
    writer.close()
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 405"), answer
    assert b"echo" not in answer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An instance reached by http."""
    with Server(tmp_path_factory.mktemp("plain")) as server:
        yield server.start()


async def test_without_https_nobody_is_bound_to_it(plain: Server) -> None:
    async with httpx2.AsyncClient(base_url=plain.url) as client:
        for path in ("/", "/api/health", "/nowhere"):
            assert "strict-transport-security" not in (await client.get(path)).headers
        body = {"email": "plain@example.org", "password": PASSWORD, "name": "Plain"}
        answer = await client.post("/api/auth/sign-up", json=body)
        assert answer.status_code == 201
        assert all("Secure" not in cookie for cookie in answer.headers.get_list("set-cookie"))


# --- nothing leads away ---


async def test_no_address_leads_anywhere_else(world: World) -> None:
    stranger = await world.stranger()
    for path in (
        "//evil.example",
        "//evil.example/..",
        "/%2f%2fevil.example",
        "/%5cevil.example",
        "/\\evil.example",
        "/sign-in?next=//evil.example",
        "/sign-in?next=https://evil.example",
        "/static//evil.example",
        "/%0d%0aLocation:%20https://evil.example",
        "/api/auth/session?next=https://evil.example",
    ):
        answer = await stranger.client.request("GET", httpx2.URL(f"http://127.0.0.1:3000{path}"))
        assert answer.status_code in (200, 401, 404, 422), path
        assert "location" not in answer.headers
        assert "refresh" not in answer.headers


# --- cookies ---


async def test_cookies_are_for_us_alone(world: World, owner: Person) -> None:
    answer = await (await world.stranger()).post(
        "/api/auth/sign-in", {"email": owner.email, "password": PASSWORD}
    )
    assert answer.status_code == 200
    cookies = SimpleCookie[str]()
    for line in answer.headers.get_list("set-cookie"):
        cookies.load(line)
    assert cookies.keys() == {"__Host-gs_session", "__Host-gs_device"}
    for cookie in cookies.values():
        assert cookie["httponly"]
        assert cookie["secure"]
        assert cookie["samesite"] == "Lax"
        assert cookie["path"] == "/"
        assert not cookie["domain"]
        assert int(cookie["max-age"]) > 0
    assert owner.email not in str(cookies)


async def test_a_planted_session_is_never_adopted(world: World, owner: Person) -> None:
    mallory = await over_https(world, "Mallory")
    planted = mallory.client.cookies[SESSION]
    for value in (planted, "made-up", planted[:-2] + "xx", ""):
        victim = await world.stranger()
        header = {"cookie": f"{SESSION}={value}"}
        body = {"email": owner.email, "password": PASSWORD}
        signed_in = await victim.post("/api/auth/sign-in", body, headers=header)
        assert signed_in.status_code == 200
        new = signed_in.cookies[SESSION]
        assert new not in ("", value)
        assert new.split(".")[0] != value.split(".")[0]
        seen = (await victim.get("/api/auth/session", headers={"cookie": f"{SESSION}={new}"})).json()
        assert seen["user"]["id"] == owner.id
    # Who planted theirs has nothing of it: the browser's session before ends with a new one.
    problem(await mallory.get("/api/auth/session"), 401)


# --- other sites ---


def friendly(**others: str) -> dict[str, str]:
    return {"origin": FRIEND, "sec-fetch-site": "cross-site"} | {
        k.replace("_", "-"): v for k, v in others.items()
    }


async def test_a_listed_site_may_ask_and_read(world: World) -> None:
    stranger = await world.stranger()
    asked = await stranger.client.request(
        "OPTIONS",
        "/api/spaces",
        headers=friendly(
            access_control_request_method="POST", access_control_request_headers="authorization,content-type"
        ),
    )
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == FRIEND
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert {"authorization", "content-type", "idempotency-key", "if-match"} <= set(
        asked.headers["access-control-allow-headers"].split(", ")
    )
    protects(asked)
    for path, status in (("/api/health", 200), ("/api/spaces", 401), ("/api/nowhere", 404)):
        answer = await stranger.get(path, headers=friendly())
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == FRIEND
        assert "origin" in answer.headers["vary"]
        exposed = answer.headers["access-control-expose-headers"]
        for name in ("GS-Bookmark", "GS-Feed-Seq", "RateLimit", "Retry-After", "X-Request-ID"):
            assert name in exposed
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", FRIEND + ".evil.example", "http://friend.example", "null", ""]
)
async def test_any_other_site_may_not(world: World, origin: str) -> None:
    stranger = await world.stranger()
    headers = {"origin": origin, "access-control-request-method": "GET"}
    asked = await stranger.client.request("OPTIONS", "/api/spaces", headers=headers)
    problem(asked, 405)
    for answer in (asked, await stranger.get("/api/health", headers={"origin": origin})):
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "origin" in answer.headers["vary"], "a cache in between must not give it what another site got"


async def test_pages_are_nobody_elses(world: World) -> None:
    for path in ("/", "/static/app.js", "/sign-in"):
        answer = await (await world.stranger()).get(path, headers=friendly())
        assert not any(name.startswith("access-control") for name in answer.headers)


async def test_without_a_list_no_site_may(plain: Server) -> None:
    async with httpx2.AsyncClient(base_url=plain.url) as client:
        headers = friendly(access_control_request_method="GET")
        assert (await client.request("OPTIONS", "/api/spaces", headers=headers)).status_code == 405
        answer = await client.get("/api/health", headers=friendly())
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "origin" not in answer.headers.get("vary", "")


async def test_cookies_are_no_use_to_a_listed_site(world: World, owner: Person) -> None:
    for headers in (friendly(), {"origin": FRIEND}):
        answer = await owner.post("/api/spaces", {"name": "Theirs"}, headers=headers)
        problem(answer, 403, "CROSS_ORIGIN")
