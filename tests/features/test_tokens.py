"""API tokens: made, used, refused and ended, on both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from groupspaces.app import openapi_document, operations
from groupspaces.db.batch import Batch
from groupspaces.db.changes import record
from groupspaces.errors import AppError
from groupspaces.features.accounts import tokens
from groupspaces.features.accounts.last_seen import LastSeen
from groupspaces.features.accounts.tokens import MAX_TOKENS, Draft
from groupspaces.times import rfc3339
from groupspaces.web.cookies import SESSION_COOKIE, hash_token
from groupspaces.web.origin import Origin
from groupspaces.web.tokens import is_well_formed, new_api_token
from tests.features.world import Person, World, problem, running

HERE = Origin(None, "192.0.2.1", "here")
HOUR_MS = 3_600_000


# What no primary has a part in.
ALONE = pytest.mark.parametrize("world", ["alone"], indirect=True)


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    given = {"auth.secret": "s" * 40}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    async with running(tmp_path / "data", given) as world:
        yield world


@dataclass
class Program:
    """Something that calls with a token instead of a browser."""

    client: httpx2.AsyncClient
    id: int
    token: str

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        named = {"authorization": f"Bearer {self.token}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return await self.client.request(method, path, json=json, headers=named)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        return await self.call("POST", path, json, **headers)


async def make(person: Person, *scopes: str, **fields: Any) -> httpx2.Response:
    return await person.post("/api/tokens", {"name": "Robot", "scopes": list(scopes), **fields})


async def program(world: World, person: Person, *scopes: str) -> Program:
    """Make a token and something that uses it."""
    answer = await make(person, *scopes)
    assert answer.status_code == 201, answer.text
    token = answer.json()
    return Program((await world.stranger()).client, token["id"], token["token"])


def nobody(answer: httpx2.Response) -> None:
    """Assert that a call came from nobody who is known here."""
    problem(answer, 401, "NOT_SIGNED_IN")
    assert answer.headers["www-authenticate"] == "Bearer"


async def change(world: World, sql: str, *params: Any) -> None:
    """Change the primary as another instance would, and let this one hear of it."""
    await world.change(sql, *params)
    await world.db.catch_up()


async def tell(world: World, kind: str, subject_id: int) -> None:
    """Record what ends something, as whoever does it does."""
    await world.db.write(Batch([record(kind, actor_id=None, audience="nobody", subject_id=subject_id)]))
    await world.db.catch_up()


# --- making ---


async def test_a_token_is_shown_once_and_kept_as_a_hash(world: World) -> None:
    ann = await world.person()
    made = (await make(ann, "write", "read", "read", expires_at="2999-01-01T00:00:00Z")).json()
    secret = made.pop("token")
    assert is_well_formed(secret)
    assert made["hint"] == secret[-4:]
    assert made["scopes"] == ["read", "write"]
    assert made["expires_at"] == "2999-01-01T00:00:00.000Z"
    assert made["used_at"] is None
    assert (await ann.get("/api/tokens")).json() == {"items": [made], "next": None}
    assert await world.rows("SELECT id, token_hash FROM api_token") == [(made["id"], hash_token(secret))]
    told = await world.rows("SELECT data FROM change UNION ALL SELECT data || subject FROM audit")
    assert secret not in str(told)
    assert secret[-4:] not in str(told)


@ALONE
async def test_tokens_are_listed_newest_first_in_pages(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    ids = [(await make(ann, "read")).json()["id"] for _ in range(3)]
    await make(ben, "read")
    first = (await ann.get("/api/tokens?limit=2")).json()
    assert [item["id"] for item in first["items"]] == ids[:0:-1]
    second = (await ann.get(f"/api/tokens?limit=2&cursor={first['next']}")).json()
    assert [item["id"] for item in second["items"]] == ids[:1]
    assert second["next"] is None


@ALONE
@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["space:1"]}),
        ("scopes", {"scopes": ["read", "space:99"]}),
        ("scopes", {"scopes": ["ops", "space:1"]}),
        ("scopes", {"scopes": ["READ"]}),
        ("scopes", {"scopes": ["read", "space:0"]}),
        ("scopes", {"scopes": ["read", "space:-1"]}),
        ("scopes", {"scopes": ["read", "space:99999999999999999999"]}),
        ("scopes", {"scopes": ["read", "space:1\n"]}),
        ("scopes", {"scopes": "read"}),
        ("scopes", {"scopes": ["read"] * 51}),
        ("expires_at", {"expires_at": "2001-01-01T00:00:00Z"}),
        ("expires_at", {"expires_at": "2999-01-01T00:00:00"}),
        ("expires_at", {"expires_at": "tomorrow"}),
        ("name", {"name": " "}),
        ("name", {"name": "x" * 81}),
        ("name", {"name": "two\nlines"}),
        ("id", {"id": 5}),
    ],
)
async def test_what_makes_no_sense_is_refused(world: World, field: str, fields: dict[str, Any]) -> None:
    ann = await world.person()
    await ann.space()
    answer = await ann.post("/api/tokens", {"name": "Robot", "scopes": ["read"], **fields})
    assert problem(answer, 422)["errors"][0]["field"].startswith(field)
    assert await world.rows("SELECT 1 FROM api_token") == []


async def test_there_are_fifty_for_a_person_and_no_more(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    for _ in range(MAX_TOKENS - 2):
        await tokens.create(world.db.write, ann.id, Draft("Robot", ("read",), None), HERE)
    # Of those who come at the same moment some are too late.
    answers = await asyncio.gather(*(make(ann, "read") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    problem(max(answers, key=lambda answer: answer.status_code), 409, "TOO_MANY_TOKENS")
    assert (await make(ben, "read")).status_code == 201
    items = (await ann.get("/api/tokens")).json()["items"]
    assert len(items) == MAX_TOKENS
    assert (await ann.delete(f"/api/tokens/{items[7]['id']}")).status_code == 204
    assert (await make(ann, "read")).status_code == 201


async def test_all_is_decided_where_it_is_stored_with_good_and_refused_ones_in_one_pipeline(
    world: World,
) -> None:
    operator, ann = await world.person("Operator"), await world.person("Ann")
    space, others = await ann.space(), await operator.space()
    in_space = f"space:{space['id']}"

    async def attempt(user_id: int, *scopes: str, expires_at_ms: int | None = None) -> str:
        draft = Draft("Robot", tokens.ordered(scopes), expires_at_ms)
        try:
            made = await tokens.create(world.db.write, user_id, draft, HERE)
        except AppError as refused:
            return refused.code
        return " ".join(made.scopes)

    assert await asyncio.gather(
        attempt(ann.id, "read"),
        attempt(ann.id, "ops"),
        attempt(operator.id, "ops"),
        attempt(ann.id, "read", in_space),
        attempt(operator.id, "read", in_space),
        attempt(ann.id, "read", in_space, f"space:{others['id']}"),
        attempt(ann.id, "write", expires_at_ms=1),
        attempt(2**40, "read"),
        attempt(ann.id, "write", "read"),
    ) == [
        "read",
        "OPERATOR_ONLY",
        "ops",
        f"read {in_space}",
        "INVALID",
        "INVALID",
        "INVALID",
        "NOT_FOUND",
        "read write",
    ]
    await change(world, "UPDATE space SET deleted_at_ms = 1 WHERE id = ?", space["id"])
    await change(world, "UPDATE user SET suspended_at_ms = 1 WHERE id = ?", operator.id)
    assert await asyncio.gather(
        attempt(ann.id, "read", in_space), attempt(operator.id, "read"), attempt(ann.id, "read")
    ) == ["INVALID", "NOT_FOUND", "read"]
    await world.db.catch_up()
    made = await world.rows("SELECT count(*) FROM api_token")
    assert made == await world.rows("SELECT count(*) FROM audit WHERE action = 'token.created'") == [(5,)]


async def test_a_repeated_request_makes_no_second_token_and_shows_none(world: World) -> None:
    ann = await world.person()
    body = {"name": "Robot", "scopes": ["read"]}
    made = (await ann.post("/api/tokens", body, headers={"idempotency-key": "once"})).json()
    again = problem(
        await ann.post("/api/tokens", body, headers={"idempotency-key": "once"}), 409, "TOKEN_SHOWN_ALREADY"
    )
    assert again["current"] == {name: value for name, value in made.items() if name != "token"}
    assert len((await ann.get("/api/tokens")).json()["items"]) == 1


# --- what they let through ---


async def test_a_token_reads_and_writes_as_its_holder(world: World) -> None:
    ann = await world.person("Ann")
    space = await ann.space()
    reader, writer = await program(world, ann, "read"), await program(world, ann, "write")
    path = f"/api/spaces/{space['id']}/messages"
    said = await writer.post(path, {"content": "beep"})
    assert said.status_code == 201
    assert said.json()["author"]["id"] == ann.id
    for one in (reader, writer):
        assert [message["content"] for message in (await one.get(path)).json()["items"]] == ["beep"]
    problem(await reader.post(path, {"content": "beep"}), 403, "TOKEN_SCOPE")


async def test_a_token_counts_and_a_cookie_beside_it_does_not(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    robot = await program(world, ben, "read")
    robot.client = ann.client
    assert (await robot.get("/api/users/me")).json()["id"] == ben.id
    robot.token = "no token"
    nobody(await robot.get("/api/users/me"))
    robot.token = "x" * 10_000
    nobody(await robot.get("/api/users/me"))
    empty = await ann.get("/api/users/me", headers={"authorization": "Bearer"})
    nobody(empty)
    # Another scheme is none of ours: a proxy may ask for one.
    assert (await ann.get("/api/users/me", headers={"authorization": "Basic YTpi"})).status_code == 200


async def test_a_token_works_as_no_cookie_and_a_cookie_as_no_token(world: World) -> None:
    ann = await world.person()
    robot = await program(world, ann, "write")
    cookie = ann.client.cookies[SESSION_COOKIE]
    assert (await robot.get("/api/users/me")).status_code == 200
    assert (await ann.get("/api/users/me")).status_code == 200
    browser = await world.stranger()
    nobody(await browser.get("/api/users/me", headers={"cookie": f"{SESSION_COOKIE}={robot.token}"}))
    nobody(await browser.get("/api/users/me", headers={"authorization": f"Bearer {cookie}"}))


@ALONE
async def test_no_page_of_another_site_brings_a_token_by_itself(world: World) -> None:
    ann = await world.person()
    robot = await program(world, ann, "write")
    elsewhere = {"origin": "https://elsewhere.example", "sec_fetch_site": "cross-site"}
    assert (await robot.call("PATCH", "/api/users/me", {"bio": "x"}, **elsewhere)).status_code == 200
    # A header that is no token does not open the cookie's door either.
    robot.client, robot.token = ann.client, "no token"
    nobody(await robot.call("PATCH", "/api/users/me", {"bio": "y"}, **elsewhere))
    assert (await ann.get("/api/users/me")).json()["bio"] == "x"


async def test_a_token_of_a_space_knows_no_other(world: World) -> None:
    ann = await world.person()
    mine, other = await ann.space(), await ann.space()
    message = await ann.say(other["id"], "hello")
    robot = await program(world, ann, "write", f"space:{mine['id']}")
    assert (await robot.get(f"/api/spaces/{mine['id']}")).status_code == 200
    assert (await robot.post(f"/api/spaces/{mine['id']}/messages", {"content": "beep"})).status_code == 201
    problem(await robot.get(f"/api/spaces/{other['id']}"), 404, "NOT_FOUND")
    problem(await robot.get(f"/api/messages/{message['id']}"), 404, "NOT_FOUND")
    for path in ("/api/spaces", "/api/users/me", "/api/events"):
        problem(await robot.get(path), 403, "TOKEN_SCOPE")
    # Whoever leaves the space leaves their token there with nothing.
    ben = await world.person("Ben")
    await ben.joins(ann, mine["id"], "owner")
    assert (await ann.delete(f"/api/spaces/{mine['id']}/members/{ann.id}")).status_code == 204
    problem(await robot.get(f"/api/spaces/{mine['id']}"), 404, "NOT_FOUND")


async def test_a_token_changes_nothing_about_how_somebody_gets_in(world: World) -> None:
    operator = await world.person("Operator")
    robot = await program(world, operator, "read", "write", "ops")
    for operation in operations():
        if operation.access.for_tokens == "never":
            path = operation.path.format(**dict.fromkeys(operation.parameter_names, "1"))
            problem(await robot.call(operation.method, path), 403, "SESSION_REQUIRED")
    assert (await robot.get("/api/ops/jobs")).status_code == 200


async def test_operators_tokens_last_as_long_as_the_office(world: World) -> None:
    operator = await world.person("Operator")
    robot = await program(world, operator, "ops")
    assert (await robot.get("/api/ops/jobs")).status_code == 200
    problem(await robot.get("/api/spaces"), 403, "TOKEN_SCOPE")
    await change(world, "UPDATE user SET is_operator = 0 WHERE id = ?", operator.id)
    await tell(world, "user.operator_withdrawn", operator.id)
    problem(await robot.get("/api/ops/jobs"), 403, "OPERATOR_ONLY")


async def test_a_key_is_the_persons_whatever_they_call_with(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    robot, other, bens = (
        await program(world, ann, "write"),
        await program(world, ann, "write"),
        await program(world, ben, "write"),
    )
    body, key = {"name": "Once"}, "the-same"
    made = (await robot.post("/api/spaces", body, idempotency_key=key)).json()
    assert (await other.post("/api/spaces", body, idempotency_key=key)).json()["id"] == made["id"]
    by_hand = await ann.post("/api/spaces", body, headers={"idempotency-key": key})
    assert by_hand.json()["id"] == made["id"]
    assert (await bens.post("/api/spaces", body, idempotency_key=key)).json()["id"] != made["id"]
    problem(await other.post("/api/spaces", {"name": "Else"}, idempotency_key=key), 409)


# --- what ends them ---


@ALONE
@pytest.mark.parametrize(
    "made_up",
    [
        "gs_",
        "gs_short",
        "not even like one",
        "gs_" + "0" * 46,
        "gs_" + "é" * 46,
        pytest.param("GS_" + new_api_token()[3:], id="capitals"),
        pytest.param(new_api_token() + "0", id="too long"),
        pytest.param(new_api_token()[:-1], id="too short"),
        "\x00",
    ],
)
async def test_what_looks_like_no_token_is_nobody(world: World, made_up: str) -> None:
    robot = Program((await world.stranger()).client, 0, made_up)
    answer = await robot.client.get(
        "/api/users/me", headers=[(b"authorization", f"Bearer {made_up}".encode("latin-1"))]
    )
    nobody(answer)


async def test_a_token_that_nobody_made_is_nobody(world: World) -> None:
    nobody(await Program((await world.stranger()).client, 0, new_api_token()).get("/api/users/me"))


@ALONE
async def test_a_token_with_one_letter_changed_is_nobody(world: World) -> None:
    ann = await world.person()
    robot = await program(world, ann, "read")
    good = robot.token
    for index in range(0, len(good), 7):
        robot.token = good[:index] + ("a" if good[index] != "a" else "b") + good[index + 1 :]
        nobody(await robot.get("/api/users/me"))


@pytest.mark.parametrize("is_known_here", [True, False], ids=["used before", "never used"])
@pytest.mark.parametrize("end", ["deleted", "expired", "suspended"])
async def test_a_token_that_ended_is_nobody(world: World, end: str, is_known_here: bool) -> None:
    ann = await world.person()
    robot = await program(world, ann, "write")
    if is_known_here:
        assert (await robot.get("/api/users/me")).status_code == 200
    match end:
        case "deleted":
            assert (await ann.delete(f"/api/tokens/{robot.id}")).status_code == 204
        case "expired":
            await change(world, "UPDATE api_token SET expires_at_ms = 1 WHERE id = ?", robot.id)
            await tell(world, "token.changed", robot.id)
        case "suspended":
            await change(world, "UPDATE user SET suspended_at_ms = 1 WHERE id = ?", ann.id)
            await tell(world, "user.suspended", ann.id)
    nobody(await robot.get("/api/users/me"))
    nobody(await robot.post("/api/spaces", {"name": "Late"}))
    assert await world.rows("SELECT 1 FROM space") == []


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM api_token WHERE user_id = ?",
        "UPDATE api_token SET expires_at_ms = 1 WHERE user_id = ?",
        "UPDATE user SET suspended_at_ms = 1 WHERE id = ?",
    ],
    ids=["deleted", "expired", "suspended"],
)
async def test_the_primary_knows_of_an_end_that_was_not_heard_of_here(world: World, sql: str) -> None:
    """What is remembered here lets reads through until the feed says otherwise; writes ask where they are stored."""
    ann = await world.person()
    robot = await program(world, ann, "write")
    assert (await robot.get("/api/users/me")).status_code == 200
    await world.change(sql, ann.id)  # told by no row of the feed that a principal depends on
    nobody(await robot.post("/api/spaces", {"name": "Late"}))
    assert await world.rows("SELECT 1 FROM space") == []


async def test_a_token_is_ended_by_its_owner_only(world: World) -> None:
    ann, ben = await world.person("Ann"), await world.person("Ben")
    robot = await program(world, ann, "read")
    answers = await asyncio.gather(
        ben.delete(f"/api/tokens/{robot.id}"),
        ann.delete("/api/tokens/12345"),
        ann.delete(f"/api/tokens/{robot.id}"),
        ann.delete(f"/api/tokens/{robot.id}"),
    )
    assert sorted(answer.status_code for answer in answers) == [204, 404, 404, 404]
    problem(answers[0], 404, "NOT_FOUND")
    await world.db.catch_up()
    assert await world.rows("SELECT action, actor_id, subject FROM audit WHERE action LIKE 'token.%'") == [
        ("token.created", ann.id, f"token:{robot.id}"),
        ("token.revoked", ann.id, f"token:{robot.id}"),
    ]
    assert await world.rows("SELECT kind, subject_id, audience FROM change WHERE kind = 'token.ended'") == [
        ("token.ended", robot.id, f"user:{ann.id}")
    ]


async def test_it_is_told_when_a_token_was_used_last(world: World) -> None:
    ann = await world.person()
    robot = await program(world, ann, "read")
    now_ms = int((await world.rows("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)"))[0][0])
    assert (await robot.get("/api/users/me")).status_code == 200
    last_seen = world.app._last_seen
    assert isinstance(last_seen, LastSeen)
    await last_seen.store()
    await world.db.sync(force=True)
    used_at = (await ann.get("/api/tokens")).json()["items"][0]["used_at"]
    assert rfc3339(now_ms - HOUR_MS) < used_at < rfc3339(now_ms + HOUR_MS)


# --- what is said of them ---


def test_the_document_says_what_each_call_takes() -> None:
    document = openapi_document()
    assert document["components"]["securitySchemes"].keys() == {"session", "token"}
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for operation in operations():
        described = document["paths"][operation.path][operation.method.lower()]
        if not operation.needs_session:
            assert described["security"] == []
        elif operation.access.for_tokens == "never":
            assert described["security"] == [{"session": []}]
        else:
            assert described["security"] == [{"session": []}, {"token": [operation.token_scope]}]


@ALONE
async def test_every_401_says_what_to_bring(world: World) -> None:
    stranger = await world.stranger()
    nobody(await stranger.get("/api/spaces"))
    answer = await stranger.post(
        "/api/auth/sign-in", {"email": "nobody@example.org", "password": "wrong one"}
    )
    problem(answer, 401, "BAD_CREDENTIALS")
    assert answer.headers["www-authenticate"] == "Bearer"
