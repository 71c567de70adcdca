"""Replacing the secret of a fleet that is in use: three restarts of each instance, and nobody is signed out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pyotp
import pytest
import pytest_asyncio

from tests.conftest import _STARTED
from tests.support.client import PASSWORD, Participant, expect
from tests.support.fleet import SECRET, Fleet
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

OLD, NEW = SECRET, "another secret that all instances share"
EXIT_SETTINGS = 3


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with Fleet(tmp_path / "fleet", replica__interval_s=0.2) as fleet:
        request.node.stash.setdefault(_STARTED, []).extend(fleet.processes)
        yield fleet.start()


@pytest_asyncio.fixture
async def ann(fleet: Fleet) -> AsyncIterator[Participant]:
    """The operator, signed in since before everything, with an authenticator."""
    async with Participant(fleet.a.url) as ann:
        yield await ann.sign_up("Ann")


async def restarted(server: Server, secret: str, *previous: str) -> None:
    server.settings["auth.secret"] = secret
    server.settings["auth.previous_secrets"] = ",".join(previous)
    await asyncio.to_thread(server.restart)


async def is_signed_in(person: Participant, *servers: Server) -> None:
    """Use one browser at several instances, as a balancer does: what one sets as a cookie goes to the other."""
    for server in servers:
        answer = await person.http.get(f"{server.url}/api/auth/session")
        assert answer.status_code == 200, answer.text
        person.http.cookies.update(answer.cookies)


async def sign_in(server: Server, email: str, *, totp: str | None = None) -> None:
    async with Participant(server.url) as person:
        body = {"email": email, "password": PASSWORD, **({"totp": totp} if totp else {})}
        expect(await person.post("/api/auth/sign-in", body), 200)


async def test_a_fleet_gets_a_new_secret_and_nobody_is_signed_out(fleet: Fleet, ann: Participant) -> None:
    a, b = fleet.a, fleet.b
    enrolled = expect(await ann.post("/api/auth/totp"), 201)
    authenticator = pyotp.TOTP(enrolled["secret"])
    codes = expect(await ann.put("/api/auth/totp", {"code": authenticator.now()}), 200)["recovery_codes"]
    async with Participant(b.url) as bob:
        await bob.sign_up("Bob")

        for server in (a, b):
            await restarted(server, OLD, NEW)
            await is_signed_in(ann, a, b)
        for server in (b, a):
            await restarted(server, NEW, OLD)
            # Between the two, each cookie goes to and fro, and what is signed by one is accepted by the other.
            await is_signed_in(ann, a, b, a)
            await is_signed_in(bob, b, a, b)
            await sign_in(a, bob.email)
            await sign_in(b, bob.email)

        status = expect(await ann.get("/api/ops/secret"), 200)
        assert status["totp"] == {"newest": 0, "previous": 1, "unreadable": 0}
        assert status["deployment"] == status["fingerprints"][0] != status["fingerprints"][1]
        assert status["may_drop_previous"] is False
        expect(await ann.post("/api/ops/secret/reseal"), 200)

        async def may_drop() -> bool:
            found = [
                expect(await ann.http.get(f"{server.url}/api/ops/secret"), 200)["may_drop_previous"]
                for server in (a, b)
            ]
            return all(found)

        await wait_until(may_drop, what="every instance to know that the old one may go")

        for server in (a, b):
            await restarted(server, NEW)
            await is_signed_in(ann, a, b)
            await is_signed_in(bob, a, b)
    await sign_in(a, ann.email, totp=codes[0])
    async with Participant(b.url) as again:
        body = {"email": ann.email, "password": PASSWORD, "totp": authenticator.at(0)}
        assert (await again.post("/api/auth/sign-in", body)).json()["code"] == "TOTP_WRONG"
    assert expect(await ann.get("/api/ops/audit/verify"), 200)["ok"] is True


async def test_who_missed_the_first_step_is_refused_in_the_second(fleet: Fleet, ann: Participant) -> None:
    await restarted(fleet.a, NEW, OLD)
    await is_signed_in(ann, fleet.a)
    await asyncio.to_thread(fleet.b.stop)
    await asyncio.to_thread(fleet.b.start, wait_ready=False)
    await wait_until(lambda: fleet.b.exit_code == EXIT_SETTINGS, what="the refusal")
    assert "AUTH_SECRET differs" in fleet.b.log_tail()
    assert NEW not in fleet.b.log_tail()
    await restarted(fleet.b, OLD, NEW)
    await is_signed_in(ann, fleet.a, fleet.b)


async def test_an_instance_that_slept_through_it_all_fetches_a_new_copy(
    fleet: Fleet, ann: Participant
) -> None:
    await is_signed_in(ann, fleet.a, fleet.b)
    await asyncio.to_thread(fleet.b.stop)
    for secrets in ((OLD, NEW), (NEW, OLD), (NEW,)):
        await restarted(fleet.a, *secrets)
        await is_signed_in(ann, fleet.a)
    await restarted(fleet.b, NEW)
    await is_signed_in(ann, fleet.b, fleet.a)


async def test_a_cookie_that_was_not_used_in_time_is_worth_nothing(fleet: Fleet, ann: Participant) -> None:
    for secrets in ((OLD, NEW), (NEW, OLD), (NEW,)):
        await restarted(fleet.a, *secrets)
    assert (await ann.get("/api/auth/session")).status_code == 401


async def test_the_primary_away_keeps_nobody_from_starting_with_the_new_secret(
    fleet: Fleet, ann: Participant
) -> None:
    """What has to be agreed with the primary is made up for when it returns."""
    await is_signed_in(ann, fleet.a, fleet.b)
    await asyncio.to_thread(fleet.b.stop)
    await asyncio.to_thread(fleet.primary.kill)
    await restarted(fleet.a, NEW, OLD)
    await is_signed_in(ann, fleet.a)
    await asyncio.to_thread(fleet.primary.start)

    async def moved() -> bool:
        rows = await asyncio.to_thread(
            fleet.primary.execute, "SELECT value FROM deployment WHERE name = 'secret_fingerprint'"
        )
        ours = expect(await ann.get("/api/ops/secret"), 200)["fingerprints"][0]
        return str(rows[0][0]).startswith(ours)

    await wait_until(moved, what="the fingerprint of the new secret at the primary")
