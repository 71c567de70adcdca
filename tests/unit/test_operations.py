"""One call through the whole web layer: the order of refusals, decoding, idempotency, bookmarks, sessions, limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx2
import msgspec
import pytest

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOW_MS, audience_user, record_last
from groupspaces.errors import Conflict, Forbidden, NotFound
from groupspaces.web.context import Context
from groupspaces.web.operations import PUBLIC, SIGNED_IN, ForTokens, operation
from tests.support.site import Site, open_site

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=20)]


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    tags: list[str] = []


class NewSpace(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    size: int = 0
    inner: Inner | None = None


class Open(msgspec.Struct):
    name: str


class OpenInside(msgspec.Struct, forbid_unknown_fields=True):
    inside: list[Open]


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    email: str


class Space(msgspec.Struct):
    id: int
    name: str


class Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    before: int | None = None


class OnlyEven:
    name = "even spaces"
    for_tokens: ForTokens = "method"
    is_of_a_space = True

    async def check(self, ctx: Context) -> None:
        if ctx.params["space_id"] == 13:
            raise Forbidden("13 is nobody's.")
        if ctx.params["space_id"] % 2:
            raise NotFound("There is no such space.")


async def _space(ctx: Context, space_id: int) -> Space:
    row: Any = await ctx.read_one("SELECT id, name FROM space WHERE id = ?", (space_id,))
    if row is None:
        raise NotFound("There is no such space.")
    return Space(*row)


async def _again(ctx: Context, subject_id: int) -> Space:
    return await _space(ctx, subject_id)


@operation(
    "POST",
    "/api/spaces",
    access=SIGNED_IN,
    summary="Create",
    tag="spaces",
    body=NewSpace,
    returns=Space,
    status=201,
    replay=_again,
)
async def create(ctx: Context, body: NewSpace) -> Space:
    insert = Statement(
        "INSERT INTO space (name, slug, description, visibility, created_by, created_at_ms) "
        f"VALUES (?, ?, '', 'private', ?, {NOW_MS}) RETURNING id",
        (body.name, body.name, ctx.user_id),
    )
    created = record_last("space.created", actor_id=ctx.user_id, audience=audience_user(ctx.user_id))
    taken = {"space.slug": Conflict("Taken.", code="SLUG_TAKEN")}
    written = await ctx.write(Batch([insert, created], taken))
    return Space(int(str(written.rows[0][0][0])), body.name)


@operation("GET", "/api/spaces", access=SIGNED_IN, summary="List", tag="spaces", query=Page, returns=Page)
async def listed(ctx: Context, query: Page) -> Page:
    return query


@operation("GET", "/api/spaces/discover", access=SIGNED_IN, summary="Find", tag="spaces", returns=Space)
async def discover(ctx: Context) -> bytes:
    return b'{"id":0,"name":"discovered"}'


@operation("GET", "/api/spaces/{space_id}", access=SIGNED_IN, summary="One", tag="spaces", returns=Space)
async def one(ctx: Context) -> Space:
    return await _space(ctx, ctx.params["space_id"])


@operation("PUT", "/api/spaces/{space_id}", access=OnlyEven(), summary="Put", tag="spaces", body=NewSpace)
async def put(ctx: Context, body: NewSpace) -> None:
    return None


@operation("DELETE", "/api/spaces/{space_id}", access=SIGNED_IN, summary="Delete", tag="spaces")
async def delete(ctx: Context) -> None:
    return None


@operation("GET", "/api/invites/{code}", access=PUBLIC, summary="Look", tag="spaces", returns=dict[str, str])
async def invite(ctx: Context) -> dict[str, str]:
    return {"code": ctx.params["code"]}


@operation(
    "POST",
    "/api/auth/sign-in",
    access=PUBLIC,
    summary="Sign in",
    tag="auth",
    body=SignIn,
    returns=dict[str, str],
    rate="auth",
)
async def sign_in(ctx: Context, body: SignIn) -> dict[str, str]:
    return {"address": ctx.client_address}


@operation("GET", "/api/large", access=PUBLIC, summary="Large", tag="spaces", returns=str)
async def large(ctx: Context) -> str:
    return "a" * 5000


@operation("GET", "/api/slow", access=PUBLIC, summary="Never", tag="spaces", returns=str)
async def slow(ctx: Context) -> str:
    await asyncio.Event().wait()
    return ""


OPERATIONS = (create, listed, discover, one, put, delete, invite, sign_in, large, slow)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path) as site:
        yield site.mount(OPERATIONS)


@pytest.fixture
async def ada(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with site.client(await site.sign_in("ada")) as client:
        yield client


@pytest.fixture
async def stranger(site: Site) -> AsyncIterator[httpx2.AsyncClient]:
    async with site.client() as client:
        yield client


def code(response: httpx2.Response) -> tuple[int, str]:
    """Return status and code of a problem, having checked its form."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["x-request-id"]
    assert {"type", "title", "detail"} <= problem.keys()
    return response.status_code, problem["code"]


def fields(response: httpx2.Response) -> list[str]:
    return [error["field"] for error in response.json()["errors"]]


async def send(client: httpx2.AsyncClient, body: bytes, **headers: str) -> httpx2.Response:
    all_headers: Mapping[str, str] = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return await client.post("/api/spaces", content=body, headers=all_headers)


# --- declaring ---


def test_an_operation_needs_an_access() -> None:
    with pytest.raises(TypeError, match="access"):
        operation("GET", "/api/x", summary="x", tag="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("body", [Open, OpenInside])
def test_a_body_that_takes_unknown_fields_is_refused(body: type) -> None:
    with pytest.raises(TypeError, match="Open must be declared with forbid_unknown_fields"):
        operation("POST", "/api/x", access=PUBLIC, summary="x", tag="x", body=body)


def test_a_query_that_could_be_changed_is_refused() -> None:
    with pytest.raises(TypeError, match="frozen"):
        operation("GET", "/api/x", access=PUBLIC, summary="x", tag="x", query=SignIn)


def test_only_a_post_can_be_replayed() -> None:
    with pytest.raises(TypeError, match="only a POST"):
        operation("PUT", "/api/x", access=PUBLIC, summary="x", tag="x", replay=_again)


# --- routing ---


async def test_a_fixed_segment_wins_over_a_parameter(ada: httpx2.AsyncClient) -> None:
    assert (await ada.get("/api/spaces/discover")).json()["name"] == "discovered"


async def test_an_id_that_cannot_exist_is_not_there(ada: httpx2.AsyncClient) -> None:
    for text in ("0", "-1", "abc", "01", "9223372036854775808", "1" * 30, "1.0", "%00", "1 "):
        assert code(await ada.get(f"/api/spaces/{text}")) == (404, "NOT_FOUND"), text
    assert code(await ada.get("/api/spaces/9223372036854775807")) == (404, "NOT_FOUND")


async def test_a_text_parameter_is_short_and_printable(stranger: httpx2.AsyncClient) -> None:
    assert (await stranger.get("/api/invites/gut-%C3%A9")).json() == {"code": "gut-é"}
    for text in ("a" * 65, "%01", "a%0Ab", "%FF"):
        assert code(await stranger.get(f"/api/invites/{text}"))[0] == 404, text


async def test_an_unknown_address_is_404_and_a_known_one_says_its_methods(ada: httpx2.AsyncClient) -> None:
    assert code(await ada.get("/api/nothing")) == (404, "NOT_FOUND")
    assert code(await ada.get("/api/spaces/1/")) == (404, "NOT_FOUND")
    refused = await ada.patch("/api/spaces/1")
    assert code(refused) == (405, "METHOD_NOT_ALLOWED")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, PUT"


async def test_head_answers_like_get_without_a_body(ada: httpx2.AsyncClient) -> None:
    answer = await ada.head("/api/spaces/discover")
    assert answer.status_code == 200
    assert answer.headers["content-length"] == "28"
    assert answer.content == b""


# --- who may, and in which order ---


async def test_each_refusal_comes_before_the_next(
    ada: httpx2.AsyncClient, stranger: httpx2.AsyncClient
) -> None:
    """401, then 404 or 403, then 415, 413, 400, 422: a call that deserves all of them gets the first."""
    json_type = {"content-type": "application/json"}
    huge = b"x" * 1_048_577
    assert code(await stranger.put("/api/spaces/abc", content=huge))[0] == 401
    assert code(await ada.put("/api/spaces/abc", content=huge))[0] == 404
    assert code(await ada.put("/api/spaces/7", content=huge))[0] == 404
    assert code(await ada.put("/api/spaces/13", content=huge))[0] == 403
    assert code(await ada.put("/api/spaces/2", content=huge))[0] == 415
    assert code(await ada.put("/api/spaces/2", content=huge, headers=json_type))[0] == 413
    assert code(await ada.put("/api/spaces/2", content=b"{", headers=json_type))[0] == 400
    assert code(await ada.put("/api/spaces/2", content=b"{}", headers=json_type))[0] == 422
    assert (await ada.put("/api/spaces/2", json={"name": "fine"})).status_code == 204


async def test_a_forged_cookie_signs_nobody_in(site: Site) -> None:
    genuine = (await site.sign_in("eve"))["cookie"]
    token, _, rest = genuine.rpartition(".")
    for cookie in (f"{token}.{'A' * len(rest)}", "gs_session=x", "gs_session=", f"other={genuine[11:]}"):
        async with site.client({"cookie": cookie}) as client:
            assert code(await client.get("/api/spaces"))[0] == 401, cookie
    async with site.client({"cookie": f"theme=dark; {genuine}; a=b"}) as client:
        assert (await client.get("/api/spaces")).status_code == 200


async def test_a_session_that_ended_is_over_at_once(site: Site, ada: httpx2.AsyncClient) -> None:
    assert (await ada.get("/api/spaces")).status_code == 200
    await site.end_session("ada")
    assert code(await ada.get("/api/spaces"))[0] == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"origin": "http://testserver"}, 201),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"sec-fetch-site": "none"}, 201),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://testserver.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://testserver"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
async def test_a_write_sent_by_another_sites_page_is_refused(
    ada: httpx2.AsyncClient, headers: Mapping[str, str], status: int
) -> None:
    answer = await ada.post("/api/spaces", json={"name": "s"}, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert code(answer) == (403, "CROSS_ORIGIN")
        assert (await ada.get("/api/spaces", headers=headers)).status_code == 200


# --- decoding ---


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b'{"name":"a"} x', 400, None),
        (b'{"name":"a\x00"}', 400, None),
        (b'{"name":"\xff"}', 400, None),
        (b'{"name":"\\ud800"}', 400, None),
        (b'{"name":"a","name":"b"}', 400, None),
        (b'{"name":"a","n\\u0061me":"b"}', 400, None),
        (b'{"name":"a","inner":{"tags":["x"],"tags":[]}}', 400, None),
        (b"[" * 100_000, 422, ""),
        (b'{"name":"a","inner":' + b'{"x":' * 5000 + b"1" + b"}" * 5001, 422, "inner.x"),
        (b"[]", 422, ""),
        (b"{}", 422, "name"),
        (b'{"name":1}', 422, "name"),
        (b'{"name":""}', 422, "name"),
        (b'{"name":"a","extra":1}', 422, "extra"),
        (b'{"name":"a","inner":{"more":1}}', 422, "inner.more"),
        (b'{"name":"a","inner":{"tags":["ok",5]}}', 422, "inner.tags[1]"),
        (b'{"name":"\\u0000"}', 422, "name"),
        (b'{"name":"a\\u0085"}', 422, "name"),
        (b'{"name":"a\\rb"}', 422, "name"),
        (b'{"name":"a","inner":{"tags":["ok","\\u001b[0m"]}}', 422, "inner.tags[1]"),
        (b'{"name":"a","size":9223372036854775808}', 422, "size"),
        (b'{"name":"a","size":1.5}', 422, "size"),
        (json.dumps({"name": "a" * 21}).encode(), 422, "name"),
    ],
)
async def test_what_cannot_be_taken_is_refused_and_named(
    site: Site, ada: httpx2.AsyncClient, body: bytes, status: int, field: str | None
) -> None:
    answer = await send(ada, body)
    assert code(answer)[0] == status, answer.text
    if field is not None:
        assert fields(answer) == [field]
    assert await site.db.read("SELECT id FROM space") == []


async def test_tabs_line_feeds_and_every_script_are_welcome(ada: httpx2.AsyncClient) -> None:
    for name in ("a\tb\nc", "héllo 🌊", "שלום", "é"):
        assert (await send(ada, json.dumps({"name": name}).encode())).status_code == 201, name


async def test_messages_are_plain_words(ada: httpx2.AsyncClient) -> None:
    answer = await send(ada, b'{"name":5}')
    assert answer.json()["errors"] == [{"field": "name", "message": "must be text"}]
    answer = await send(ada, json.dumps({"name": "a" * 21}).encode())
    assert answer.json()["errors"] == [{"field": "name", "message": "must have at most 20 characters"}]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "", "application/json; charset=latin-1", "multipart/form-data"]
)
async def test_only_json_is_taken(ada: httpx2.AsyncClient, media_type: str) -> None:
    answer = await ada.post("/api/spaces", content=b'{"name":"a"}', headers={"content-type": media_type})
    assert code(answer)[0] == 415


async def test_a_chunked_body_is_measured_while_it_comes(ada: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 65_536

    answer = await ada.post("/api/spaces", content=chunks(), headers={"content-type": "application/json"})
    assert code(answer) == (413, "TOO_LARGE")


async def test_queries_are_decoded_and_checked(ada: httpx2.AsyncClient) -> None:
    assert (await ada.get("/api/spaces")).json() == {"limit": 50, "before": None}
    assert (await ada.get("/api/spaces?limit=7&before=12")).json() == {"limit": 7, "before": 12}
    for query, field in (
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("before=9223372036854775808", "before"),
        ("limti=5", "limti"),
    ):
        answer = await ada.get(f"/api/spaces?{query}")
        assert code(answer)[0] == 422, query
        assert fields(answer) == [field]
    assert code(await ada.get("/api/spaces?before=%FF"))[0] == 422


# --- answers ---


async def test_a_write_leaves_its_position_and_a_read_says_how_fresh_it_is(
    site: Site, ada: httpx2.AsyncClient
) -> None:
    written = await ada.post("/api/spaces", json={"name": "a"})
    assert int(written.headers["gs-bookmark"]) == site.db.status().seq
    read = await ada.get("/api/spaces/1", headers={"gs-bookmark": written.headers["gs-bookmark"]})
    assert read.headers["gs-feed-seq"] == written.headers["gs-bookmark"]
    assert read.headers["gs-as-of"].endswith("Z")
    assert "gs-bookmark" not in read.headers


async def test_a_bookmark_nobody_issued_is_refused(site: Site, ada: httpx2.AsyncClient) -> None:
    unknown = await ada.get("/api/spaces", headers={"gs-bookmark": str(site.db.status().seq + 1)})
    assert code(unknown) == (422, "UNKNOWN_BOOKMARK")
    for text in ("-1", "x", "9" * 40):
        assert code(await ada.get("/api/spaces", headers={"gs-bookmark": text}))[0] == 422, text


async def test_a_request_id_is_kept_when_it_is_one(stranger: httpx2.AsyncClient) -> None:
    kept = await stranger.get("/api/invites/x", headers={"x-request-id": "abc-1.2_Z"})
    assert kept.headers["x-request-id"] == "abc-1.2_Z"
    for bad in ("a b", "x" * 65, "<script>", ""):
        made = await stranger.get("/api/invites/x", headers={"x-request-id": bad})
        assert made.headers["x-request-id"] not in ("", bad)


async def test_large_answers_are_compressed_for_those_who_want_it(stranger: httpx2.AsyncClient) -> None:
    plain = await stranger.get("/api/large", headers={"accept-encoding": "identity"})
    packed = await stranger.get("/api/large", headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 200
    assert packed.json() == plain.json()


async def test_a_call_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    async with (
        open_site(tmp_path, {"server.request_timeout_s": "1"}) as site,
        site.mount(OPERATIONS).client() as client,
    ):
        assert code(await client.get("/api/slow")) == (503, "DEADLINE_EXCEEDED")
        assert (await client.get("/api/large")).status_code == 200


# --- idempotency ---


async def test_a_repeat_creates_nothing_and_gets_the_first_answer(
    site: Site, ada: httpx2.AsyncClient
) -> None:
    body = b'{"name":"once"}'
    first = await send(ada, body, idempotency_key="k1")
    again = await send(ada, body, idempotency_key="k1")
    assert (
        (first.status_code, first.json())
        == (again.status_code, again.json())
        == (201, {"id": 1, "name": "once"})
    )
    assert first.headers["gs-bookmark"] == again.headers["gs-bookmark"]
    assert await site.db.read("SELECT count(*) FROM space") == [(1,)]


async def test_many_at_once_with_one_key_create_one(site: Site, ada: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(send(ada, b'{"name":"race"}', idempotency_key="k") for _ in range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, '{"id":1,"name":"race"}')}
    assert await site.db.read("SELECT count(*) FROM space") == [(1,)]


async def test_a_key_used_for_something_else_is_a_conflict(site: Site, ada: httpx2.AsyncClient) -> None:
    await send(ada, b'{"name":"one"}', idempotency_key="k1")
    other = await send(ada, b'{"name":"two"}', idempotency_key="k1")
    assert code(other) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert await site.db.read("SELECT count(*) FROM space") == [(1,)]


async def test_keys_of_different_people_do_not_meet(site: Site, ada: httpx2.AsyncClient) -> None:
    assert (await send(ada, b'{"name":"hers"}', idempotency_key="k")).status_code == 201
    async with site.client(await site.sign_in("bob")) as bob:
        assert (await send(bob, b'{"name":"his"}', idempotency_key="k")).json()["id"] == 2


async def test_a_refused_write_leaves_its_key_unused(ada: httpx2.AsyncClient) -> None:
    await send(ada, b'{"name":"taken"}')
    refused = await send(ada, b'{"name":"taken"}', idempotency_key="k")
    assert code(refused) == (409, "SLUG_TAKEN")
    assert (await send(ada, b'{"name":"free"}', idempotency_key="k")).status_code == 201


async def test_a_key_older_than_a_day_counts_no_more(site: Site, ada: httpx2.AsyncClient) -> None:
    await send(ada, b'{"name":"one"}', idempotency_key="k")
    await site.db.write(Batch([Statement("UPDATE idempotency SET at_ms = at_ms - 86400001")]))
    assert (await send(ada, b'{"name":"two"}', idempotency_key="k")).json() == {"id": 2, "name": "two"}


@pytest.mark.parametrize("key", ["", "a" * 65, "a b", "é"])
async def test_a_key_is_short_and_printable(ada: httpx2.AsyncClient, key: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"idempotency-key", key.encode())]
    assert fields(await ada.post("/api/spaces", content=b'{"name":"a"}', headers=headers)) == [
        "Idempotency-Key"
    ]


# --- limits ---


async def test_reads_are_counted_and_refused_over_the_limit(tmp_path: Path) -> None:
    async with (
        open_site(tmp_path, {"limits.reads_per_min": "3"}) as site,
        site.mount(OPERATIONS).client(await site.sign_in()) as client,
    ):
        answers = [await client.get("/api/spaces") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"read";q=3;w=60'
        assert answers[0].headers["ratelimit"].startswith('"read";r=2;t=')
        assert 1 <= int(answers[3].headers["retry-after"]) <= 60
        assert answers[3].headers["ratelimit"].startswith('"read";r=0;t=')
        assert (await client.post("/api/spaces", json={"name": "a"})).status_code == 201


async def test_reads_are_counted_before_anything_is_waited_for(tmp_path: Path) -> None:
    async with (
        open_site(tmp_path, {"limits.reads_per_min": "2"}) as site,
        site.mount(OPERATIONS).client(await site.sign_in()) as client,
    ):
        answers = [await client.get("/api/spaces", headers={"gs-bookmark": str(2**62)}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [422, 422, 429]
        assert answers[1].headers["ratelimit"].startswith('"read";r=0;t=')


async def test_an_address_comes_from_trusted_proxies_only(tmp_path: Path) -> None:
    async def address(client: httpx2.AsyncClient, forwarded: str) -> str:
        answer = await client.post(
            "/api/auth/sign-in", json={"email": "a"}, headers={"x-forwarded-for": forwarded}
        )
        return str(answer.json()["address"])

    async with (
        open_site(tmp_path, {"server.trusted_proxies": "127.0.0.1, 10.0.0.0/8"}) as site,
        site.mount(OPERATIONS).client() as client,
    ):
        assert await address(client, "203.0.113.7") == "203.0.113.7"
        assert await address(client, "198.51.100.1, 203.0.113.7, 10.1.2.3") == "203.0.113.7"
        assert await address(client, "rubbish") == "127.0.0.1"
    async with (
        open_site(tmp_path / "b", {"server.trusted_proxies": "192.0.2.1"}) as site,
        site.mount(OPERATIONS).client() as client,
    ):
        assert await address(client, "203.0.113.7") == "127.0.0.1"
