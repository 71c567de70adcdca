"""Sessions that nobody uses end, those in use do not, and neither costs a write for each request. On both primaries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.clock import ManualClock, SystemClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.retention import DAY_MS
from groupspaces.errors import Unavailable
from groupspaces.features.accounts.credentials import StoredCredentials
from groupspaces.features.accounts.last_seen import LastSeen, Used
from groupspaces.settings import Auth
from groupspaces.web.cookies import hash_token
from groupspaces.web.principal import Grant, Principal
from tests.features.world import PASSWORD, Person, World, problem, running

SECRET = "s" * 40
IDLE_DAYS = 10
PART_MS = IDLE_DAYS * DAY_MS // 50  # what a stored time may be too old by
SETTINGS = Auth(idle_days=IDLE_DAYS, session_days=30)


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    given = {"auth.secret": SECRET}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    async with running(tmp_path / "data", given) as world:
        yield world


class Days:
    """A session whose days pass faster: its row ages with the clock of those who look at it."""

    def __init__(self, world: World, person: Person) -> None:
        self.world = world
        token = person.client.cookies["gs_session"].split(".")[0]
        self.token_hash = hash_token(token)
        self.clock = ManualClock(SystemClock().now_ms())
        self.credentials = StoredCredentials(world.db, self.clock, SETTINGS)

    async def principal(self) -> Principal | None:
        return await self.credentials.session(self.token_hash)


async def begin(world: World) -> tuple[Days, LastSeen]:
    person = await world.person("Ann")
    await world.db.catch_up()
    days = Days(world, person)
    return days, LastSeen(world.db, days.clock, SETTINGS)


async def stored(world: World, column: str = "seen_at_ms", table: str = "session") -> list[Any]:
    """Read the primary: what is written here has no row in the feed."""
    return [value for (value,) in await world.db.read_primary(f"SELECT {column} FROM {table} ORDER BY id")]


async def test_a_session_ends_when_nobody_uses_it(world: World) -> None:
    days, _ = await begin(world)
    days.clock.advance(IDLE_DAYS * DAY_MS - 60_000)
    assert await days.principal() is not None
    days.clock.advance(120_000)
    assert await days.principal() is None


async def test_a_session_ends_for_good_however_much_it_is_used(world: World) -> None:
    days, _ = await begin(world)
    days.clock.advance(30 * DAY_MS - 60_000)
    await _age(world, days, seen_ago_ms=0)
    principal = await days.principal()
    assert principal is not None
    assert principal.expires_at_ms <= days.clock.now_ms() + 60_000
    days.clock.advance(120_000)
    await _age(world, days, seen_ago_ms=0)
    assert await days.principal() is None


async def test_what_is_used_is_written_when_the_stored_time_has_grown_old(world: World) -> None:
    days, last_seen = await begin(world)
    principal = await days.principal()
    assert principal is not None
    [before] = await stored(world)
    last_seen.note(principal)
    assert await last_seen.store() == "0 sessions, 0 tokens"
    assert await stored(world) == [before]
    seq = world.db.status().seq
    await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", PART_MS + 60_000)
    await world.db.catch_up()
    last_seen.note(principal)
    days.clock.advance(5_000)
    assert await last_seen.store() == "1 sessions, 0 tokens"
    [after] = await stored(world)
    assert before - 30_000 < after <= SystemClock().now_ms() - 5_000
    rows = await world.db.read_primary("SELECT kind FROM change WHERE seq > ?", (seq,))
    assert [kind for (kind,) in rows] == ["test.changed"]


async def test_no_round_trip_tells_again_what_our_own_file_has_not_got_yet(world: World) -> None:
    days, last_seen = await begin(world)
    principal = await days.principal()
    assert principal is not None
    await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", PART_MS + 60_000)
    await world.db.catch_up()
    last_seen.note(principal)
    assert await last_seen.store() == "1 sessions, 0 tokens"
    last_seen.note(principal)
    assert await last_seen.store() == "0 sessions, 0 tokens"


async def test_a_session_in_use_outlives_its_idle_days_where_nothing_else_happens(world: World) -> None:
    """Nothing is in the feed that would bring the stored times to the replica."""
    days, last_seen = await begin(world)
    for _ in range(3):
        await _age(world, days, seen_ago_ms=IDLE_DAYS * DAY_MS * 6 // 10)
        principal = await days.principal()
        assert principal is not None
        last_seen.note(principal)
        assert await last_seen.store() == "1 sessions, 0 tokens"
        local = await world.rows("SELECT seen_at_ms FROM session")
        assert local[0][0] > SystemClock().now_ms() - 60_000  # by the primary's clock
        days.clock.advance(PART_MS + 1)


async def test_tokens_are_written_by_the_hour(world: World) -> None:
    days, last_seen = await begin(world)
    [[user_id]] = await world.rows("SELECT id FROM user")
    await world.change(
        "INSERT INTO api_token (user_id, token_hash, name, hint, scopes, created_at_ms) VALUES (?, x'00', 'Robot', 'abcd', '[]', 0)",
        user_id,
    )
    await world.db.catch_up()
    token = Principal(user_id, 1, "Ann", "ann", False, True, 2**62, 0, Grant(frozenset(), None))
    last_seen.note(token)
    assert await last_seen.store() == "0 sessions, 1 tokens"
    [first] = await stored(world, "used_at_ms", "api_token")
    assert SystemClock().now_ms() - 60_000 < first <= SystemClock().now_ms()
    last_seen.note(token)
    assert await last_seen.store() == "0 sessions, 0 tokens"
    # An hour later in a process that remembers nothing.
    await world.change("UPDATE api_token SET used_at_ms = used_at_ms - 3700000")
    await world.db.catch_up()
    days.clock.advance(3_600_001)
    last_seen.note(token)
    assert await last_seen.store() == "0 sessions, 1 tokens"


async def test_what_other_workers_saw_is_written_by_the_one_that_leads(world: World) -> None:
    days, leader = await begin(world)
    other = LastSeen(world.db, days.clock, SETTINGS)
    principal = await days.principal()
    assert principal is not None
    await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", PART_MS + 60_000)
    await world.db.catch_up()
    other.note(principal)
    days.clock.advance(2_000)
    told = other.taken()
    assert told == [Used("session", principal.credential_id, 2_000)]
    assert other.taken() == []
    leader.add([["session", principal.credential_id, 2_000]])
    assert await leader.store() == "1 sessions, 0 tokens"


async def test_uses_are_kept_while_the_primary_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    days, last_seen = await begin(world)
    principal = await days.principal()
    assert principal is not None
    await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", PART_MS + 60_000)
    await world.db.catch_up()

    async def away(batch: Batch) -> None:
        raise Unavailable("away")

    last_seen.note(principal)
    with monkeypatch.context() as patched:
        patched.setattr(world.db, "write", away)
        with pytest.raises(Unavailable):
            await last_seen.store()
        await last_seen.close()
    assert await last_seen.store() == "1 sessions, 0 tokens"


async def test_a_session_that_ended_is_not_brought_back(world: World) -> None:
    days, last_seen = await begin(world)
    principal = await days.principal()
    assert principal is not None
    await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", PART_MS + 60_000)
    await world.db.catch_up()
    last_seen.note(principal)
    ending = Batch([Statement("DELETE FROM session")])
    await asyncio.gather(world.db.write(ending), last_seen.store())
    assert await stored(world) == []


async def test_requests_are_noted_and_a_stop_writes_them(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as world:
        ann = await world.person("Ann")
        await world.change("UPDATE session SET seen_at_ms = seen_at_ms - ?", 13 * DAY_MS)
        assert (await ann.get("/api/users/me")).status_code == 200
    async with running(tmp_path / "data") as world:
        [seen_at_ms] = await stored(world)
        assert seen_at_ms > SystemClock().now_ms() - 60_000


async def _age(world: World, days: Days, *, seen_ago_ms: int) -> None:
    """Let the session have been used so long ago by the clock of those who look."""
    await world.change("UPDATE session SET seen_at_ms = ?", days.clock.now_ms() - seen_ago_ms)
    await world.db.catch_up()


async def test_with_one_device_too_many_the_first_is_signed_out(world: World) -> None:
    """Each is a row on every instance: 100 are kept."""
    ann, ben = await world.person("Ann"), await world.person("Ben")
    many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
    await world.change(
        f"""{many} INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms, seen_at_ms)
        SELECT randomblob(32), ?, '', 0, 9e15, 0 FROM n""",
        ann.id,
    )
    assert (await ann.get("/api/users/me")).status_code == 200
    elsewhere = await world.stranger()
    body = {"email": ann.email, "password": PASSWORD}
    assert (await elsewhere.post("/api/auth/sign-in", body)).status_code == 200
    await world.db.sync(force=True)
    problem(await ann.get("/api/users/me"), 401)
    assert (await elsewhere.get("/api/users/me")).status_code == 200
    assert (await ben.get("/api/users/me")).status_code == 200
    assert await world.rows("SELECT count(*) FROM session WHERE user_id = ?", ann.id) == [(100,)]
