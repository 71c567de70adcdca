"""The second factor: setting an authenticator up, its codes and the codes on paper, on both primaries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx2
import pyotp
import pytest

from groupspaces.clock import ManualClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.errors import Conflict, Invalid, Unauthenticated
from groupspaces.features.accounts import recovery_codes, second_factor
from groupspaces.features.accounts.second_factor import SecondFactor
from groupspaces.keys import KeyRing
from groupspaces.web.origin import Origin
from tests.features.world import PASSWORD, Person, World, problem, running
from tests.support.sqld import Sqld

SECRET = "s" * 40
STEP_MS = 30_000
HERE = Origin(None, "192.0.2.1", "here")


@pytest.fixture(params=["alone", pytest.param("replicated", marks=pytest.mark.sqld)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """An application on a file of its own, and one on a libSQL primary."""
    given = {"auth.secret": SECRET}
    if request.param == "replicated":
        given |= {"primary.url": request.getfixturevalue("sqld").url, "primary.migrate": "true"}
    async with running(tmp_path / "data", given) as world:
        yield world


class Phone:
    """Somebody's authenticator, and the second factor as one instance with a clock of its own sees it."""

    def __init__(self, world: World, person: Person, secrets: Sequence[str] = (SECRET,)) -> None:
        self.world, self.id = world, person.id
        self.clock = ManualClock()
        self.factor = SecondFactor(KeyRing(secrets[0], secrets[1:]), self.clock)
        self.secret = ""

    def code(self, steps: int = 0) -> str:
        """Return the code that it shows so many steps from now."""
        return pyotp.TOTP(self.secret).generate_otp(self.clock.now_ms() // STEP_MS + steps)

    async def begin(self) -> None:
        enrolment = await self.factor.begin(self.world.db.write, self.id, "ann@example.org", "Site")
        self.secret = enrolment.secret

    async def enable(self) -> list[str]:
        await self.begin()
        codes = await self.factor.enable(self.world.db, self.world.db.write, self.id, self.code(), HERE)
        await self.world.db.catch_up()
        return codes

    async def check(self, code: str | None) -> Batch:
        """Return the batch of a sign-in by this code."""
        statements = await self.factor.check(self.world.db, self.id, code, origin=HERE)
        return Batch([*statements, record("test.signed_in", actor_id=None, audience="nobody")])

    async def signs_in(self, code: str | None) -> None:
        await self.world.db.write(await self.check(code))

    async def refuses(self, code: str | None, expected: str = "TOTP_WRONG") -> None:
        with pytest.raises(Unauthenticated) as refused:
            await self.signs_in(code)
        assert refused.value.code == expected


@pytest.fixture
async def phone(world: World) -> Phone:
    return Phone(world, await world.person("Ann"))


async def held(world: World) -> None:
    """Keep the primary busy, so that what is written meanwhile goes together."""
    await world.db.write(Batch([record("test.held", actor_id=None, audience="nobody")]))


# --- setting up ---


async def test_an_authenticator_is_set_up_and_switched_off(world: World) -> None:
    ann = await world.person("Ann")
    off = {"enabled": False, "enabled_at": None, "recovery_codes_left": 0}
    assert (await ann.get("/api/auth/totp")).json() == off
    begun = await ann.post("/api/auth/totp")
    assert begun.status_code == 201
    enrolment = begun.json()
    assert (await ann.get("/api/auth/totp")).json() == off
    totp = pyotp.parse_uri(enrolment["uri"])
    assert (totp.secret, totp.name, totp.issuer) == (
        enrolment["secret"],
        ann.email,
        "Group Spaces (localhost)",
    )
    done = await ann.put("/api/auth/totp", {"code": f" {totp.now()[:3]} {totp.now()[3:]} "})
    assert done.status_code == 200, done.text
    assert len(set(done.json()["recovery_codes"])) == 10
    on = (await ann.get("/api/auth/totp")).json()
    assert (on["enabled"], on["recovery_codes_left"]) == (True, 10)
    problem(await ann.post("/api/auth/totp"), 409, "TOTP_ON")
    problem(await ann.put("/api/auth/totp", {"code": totp.now()}), 409, "TOTP_ON")
    anew = (await ann.post("/api/auth/recovery-codes")).json()["recovery_codes"]
    assert not set(anew) & set(done.json()["recovery_codes"])
    assert (await ann.delete("/api/auth/totp")).status_code == 204
    assert (await ann.delete("/api/auth/totp")).status_code == 204
    assert (await ann.get("/api/auth/totp")).json() == off
    problem(await ann.post("/api/auth/recovery-codes"), 409, "TOTP_OFF")
    actions = await world.db.read_primary(
        "SELECT action, subject, actor_id FROM audit WHERE action LIKE 'totp.%' OR action LIKE 'recovery%' ORDER BY id"
    )
    assert actions == [
        (action, f"user:{ann.id}", ann.id)
        for action in ("totp.enabled", "recovery_codes.renewed", "totp.disabled")
    ]


async def test_a_wrong_first_code_switches_nothing_on(world: World) -> None:
    ann = await world.person("Ann")
    problem(await ann.put("/api/auth/totp", {"code": "000000"}), 422, "TOTP_WRONG")
    secret = (await ann.post("/api/auth/totp")).json()["secret"]
    far = pyotp.TOTP(secret).at(0)
    for code in (far, "", "12345", "1234567", "\u0661\u0662\u0663\u0664\u0665\u0666"):
        problem(await ann.put("/api/auth/totp", {"code": code}), 422, "TOTP_WRONG")
    assert await world.db.read_primary("SELECT confirmed_at_ms FROM totp") == [(None,)]
    assert await world.db.read_primary("SELECT credentials_version FROM user") == [(1,)]


async def test_switching_on_and_off_moves_the_credentials_on(phone: Phone, world: World) -> None:
    async def version() -> object:
        return (await world.db.read_primary("SELECT credentials_version FROM user"))[0][0]

    await phone.begin()
    assert await version() == 1
    await phone.factor.disable(world.db.write, phone.id, HERE)  # nothing was on
    assert await version() == 1
    await phone.enable()
    assert await version() == 2
    await phone.factor.disable(world.db.write, phone.id, HERE)
    assert await version() == 3


async def test_only_the_code_shown_last_sets_up(phone: Phone, world: World) -> None:
    await phone.begin()
    earlier = phone.code()
    await phone.begin()
    with pytest.raises(Invalid):
        await phone.factor.enable(world.db, world.db.write, phone.id, earlier, HERE)
    await phone.factor.enable(world.db, world.db.write, phone.id, phone.code(), HERE)
    await world.db.catch_up()
    with pytest.raises(Conflict):
        await phone.begin()


async def test_of_two_who_set_up_at_once_one_does(phone: Phone, world: World) -> None:
    await phone.begin()
    await world.db.catch_up()
    enable = phone.factor.enable
    outcomes = await asyncio.gather(
        held(world),
        *(enable(world.db, world.db.write, phone.id, phone.code(), HERE) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes[1:]) == ["Invalid", "list"]
    assert await world.db.read_primary("SELECT count(*) FROM recovery_code") == [(10,)]


async def test_the_database_keeps_no_secret_and_no_recovery_code(phone: Phone, world: World) -> None:
    codes = await phone.enable()
    stored = repr(await world.db.read_primary("SELECT * FROM totp"))
    stored += repr(await world.db.read_primary("SELECT * FROM recovery_code"))
    stored += repr(await world.db.read_primary("SELECT * FROM audit"))
    stored += repr(await world.db.read_primary("SELECT * FROM change"))
    assert phone.secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


async def test_the_qr_code_scales_and_needs_no_style(world: World) -> None:
    ann = await world.person("Ann")
    svg = (await ann.post("/api/auth/totp")).json()["qr_svg"]
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox")
    assert (root.get("width"), root.get("style"), root.get("role")) == (None, None, "img")
    assert root.find("{*}title") is not None
    assert {path.get("fill") or path.get("stroke") for path in root.findall(".//{*}path")} == {"#fff", "#000"}
    assert "style" not in svg


# --- the codes of an authenticator ---


async def test_people_without_a_second_factor_are_asked_for_none(phone: Phone) -> None:
    await phone.begin()
    await phone.signs_in(None)
    await phone.signs_in("123456")


async def test_a_code_is_asked_for_and_works_once(phone: Phone) -> None:
    await phone.enable()
    await phone.refuses(None, "TOTP_REQUIRED")
    await phone.refuses(" ", "TOTP_REQUIRED")
    await phone.refuses(phone.code())  # it has set the authenticator up
    phone.clock.advance(STEP_MS)
    await phone.signs_in(phone.code())
    await phone.world.db.catch_up()
    await phone.refuses(phone.code())
    phone.clock.advance(STEP_MS)
    await phone.refuses(phone.code(-1))
    await phone.signs_in(phone.code())


@pytest.mark.parametrize(
    ("steps", "opens"), [(-3, False), (-2, False), (-1, True), (1, True), (2, False), (3, False)]
)
async def test_a_clock_may_be_off_by_one_step(phone: Phone, steps: int, opens: bool) -> None:
    await phone.enable()
    phone.clock.advance(10 * STEP_MS)
    if opens:
        await phone.signs_in(phone.code(steps))
    else:
        await phone.refuses(phone.code(steps))


async def test_of_two_with_the_same_code_one_gets_in(phone: Phone, world: World) -> None:
    await phone.enable()
    phone.clock.advance(STEP_MS)
    first, second = await phone.check(phone.code()), await phone.check(phone.code())
    outcomes = await asyncio.gather(
        held(world), world.db.write(first), world.db.write(second), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [getattr(error, "code", error) for error in refused] == ["TOTP_WRONG"]
    assert await signed_in(world) == 1


async def test_a_code_decided_before_the_authenticator_went_opens_nothing(phone: Phone, world: World) -> None:
    await phone.enable()
    phone.clock.advance(STEP_MS)
    decided = await phone.check(phone.code())
    await phone.factor.disable(world.db.write, phone.id, HERE)
    with pytest.raises(Unauthenticated):
        await world.db.write(decided)


async def test_a_replaced_secret_still_opens_and_is_encrypted_anew(phone: Phone, world: World) -> None:
    await phone.enable()
    newer = Phone(world, Person(None, id=phone.id), ("n" * 40, SECRET))  # type: ignore[arg-type]
    newer.secret = phone.secret
    newer.clock.advance(STEP_MS)
    await newer.signs_in(newer.code())
    await world.db.catch_up()
    newest = Phone(world, Person(None, id=phone.id), ("n" * 40,))  # type: ignore[arg-type]
    newest.secret = phone.secret
    newest.clock.advance(2 * STEP_MS)
    await newest.signs_in(newest.code())
    # With the secret it was encrypted with gone, codes on paper still help.
    await phone.refuses(phone.code(2))


async def test_a_secret_encrypted_anew_elsewhere_stays_so(phone: Phone, world: World) -> None:
    await phone.enable()
    phone.clock.advance(STEP_MS)
    decided = await phone.check(phone.code())  # by an instance that has not heard of it
    await world.change("UPDATE totp SET secret = x'beef'")
    await world.db.write(decided)
    rows = await world.db.read_primary("SELECT secret, last_step FROM totp")
    assert rows == [(b"\xbe\xef", phone.clock.now_ms() // STEP_MS)]


async def test_a_secret_copied_to_another_person_opens_nothing(phone: Phone, world: World) -> None:
    await phone.enable()
    ben = Phone(world, await world.person("Ben"))
    ben.secret = phone.secret
    await world.db.write(
        Batch(
            [
                Statement(
                    "INSERT INTO totp (user_id, secret, created_at_ms, confirmed_at_ms)"
                    " SELECT ?, secret, 0, 1 FROM totp",
                    (ben.id,),
                ),
                record("test.changed", actor_id=None, audience="nobody"),
            ]
        )
    )
    await world.db.catch_up()
    ben.clock.advance(STEP_MS)
    await ben.refuses(ben.code())


# --- codes on paper ---


async def test_a_recovery_code_opens_once_however_it_is_typed(phone: Phone, world: World) -> None:
    codes = await phone.enable()
    await phone.signs_in(codes[0])
    await phone.signs_in(codes[1].upper().replace("-", " "))
    await phone.signs_in(f"  {codes[2].replace('-', '')}\t")
    await world.db.catch_up()
    for used in codes[:3]:
        await phone.refuses(used)
    assert (await second_factor.status(world.db.read, phone.id)).recovery_codes_left == 7
    audited = await world.db.read_primary(
        "SELECT actor_id, address FROM audit WHERE action = 'recovery_code.used'"
    )
    assert audited == [(phone.id, "192.0.2.1")] * 3


async def test_of_two_with_one_recovery_code_one_gets_in(phone: Phone, world: World) -> None:
    codes = await phone.enable()
    same, again, other = [await phone.check(code) for code in (codes[0], codes[0], codes[1])]
    outcomes = await asyncio.gather(
        held(world), *(world.db.write(batch) for batch in (same, again, other)), return_exceptions=True
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert [getattr(error, "code", error) for error in refused] == ["TOTP_WRONG"]
    assert await signed_in(world) == 2
    assert await world.db.read_primary("SELECT count(*) FROM recovery_code WHERE used_at_ms IS NULL") == [
        (8,)
    ]


async def test_new_recovery_codes_end_the_old_ones(phone: Phone, world: World) -> None:
    old = await phone.enable()
    decided = await phone.check(old[0])
    new = await phone.factor.renew_codes(world.db.write, phone.id, HERE)
    with pytest.raises(Unauthenticated):
        await world.db.write(decided)
    await phone.refuses(old[1])
    await phone.signs_in(new[0])


@pytest.mark.parametrize(
    "code", ["abcd-efgh-ijkm-npqr-stuv-wxyz", "a" * 25, "o" * 24, "12345678", "é" * 24, "x" * 10_000]
)
async def test_a_made_up_code_opens_nothing(phone: Phone, code: str) -> None:
    await phone.enable()
    await phone.refuses(code)


def test_recovery_codes_have_120_bits_and_no_look_alikes() -> None:
    letters: Any = set("".join(recovery_codes.new_codes() + recovery_codes.new_codes()).replace("-", ""))
    assert not letters & set("lo01")
    code = recovery_codes.new_codes()[0]
    assert [len(group) for group in code.split("-")] == [4] * 6
    assert recovery_codes.code_hash("-".join(["iiii"] * 6)) == recovery_codes.code_hash(
        "1LI1 iIlL 1111 llll IIII Lili"
    )


async def signed_in(world: World) -> object:
    rows = await world.db.read_primary("SELECT count(*) FROM change WHERE kind = 'test.signed_in'")
    return rows[0][0]


# --- signing in ---


async def signing_in(world: World, person: Person, totp: str | None = None) -> httpx2.Response:
    body = {"email": person.email, "password": PASSWORD} | ({} if totp is None else {"totp": totp})
    return await (await world.stranger()).post("/api/auth/sign-in", body)


async def set_up(person: Person) -> tuple[pyotp.TOTP, list[str]]:
    totp = pyotp.TOTP((await person.post("/api/auth/totp")).json()["secret"])
    done = await person.put("/api/auth/totp", {"code": totp.now()})
    assert done.status_code == 200, done.text
    return totp, done.json()["recovery_codes"]


def next_code(totp: pyotp.TOTP) -> str:
    """Return a code after the one that has just set the authenticator up: a clock may be off by a step."""
    return totp.generate_otp(int(time.time()) // 30 + 1)


async def test_the_password_is_asked_for_first_and_then_the_code(world: World) -> None:
    ann = await world.person("Ann")
    totp, codes = await set_up(ann)
    await world.db.catch_up()
    wrong = {"email": ann.email, "password": "wrong", "totp": next_code(totp)}
    problem(await (await world.stranger()).post("/api/auth/sign-in", wrong), 401, "BAD_CREDENTIALS")
    problem(await signing_in(world, ann), 401, "TOTP_REQUIRED")
    problem(await signing_in(world, ann, "000"), 401, "TOTP_WRONG")
    code = next_code(totp)
    answers = await asyncio.gather(*(signing_in(world, ann, code) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 401} == {"TOTP_WRONG"}
    assert (await signing_in(world, ann, codes[0])).status_code == 200
    problem(await signing_in(world, ann, codes[0]), 401, "TOTP_WRONG")
    assert (await ann.get("/api/auth/session")).json()["user"]["two_factor"] is True


@pytest.mark.sqld
async def test_an_instance_that_is_behind_asks_for_what_counts_now(tmp_path: Path, sqld: Sqld) -> None:
    given = {
        "primary.url": sqld.url,
        "primary.migrate": "true",
        "auth.secret": SECRET,
        "replica.doorbell": "false",
        "replica.interval_s": "3600",
        "replica.idle_interval_s": "3600",
    }
    async with running(tmp_path / "a", given) as here, running(tmp_path / "b", given) as there:
        ann = await here.person("Ann")
        totp, _ = await set_up(ann)
        # The other has not even heard of Ann; then it has, and not of what she changes.
        problem(await signing_in(there, ann), 401, "TOTP_REQUIRED")
        codes = (await ann.post("/api/auth/recovery-codes")).json()["recovery_codes"]
        assert (await signing_in(there, ann, codes[0])).status_code == 200
        problem(await signing_in(here, ann, codes[0]), 401, "TOTP_WRONG")
        code = next_code(totp)
        assert (await signing_in(here, ann, code)).status_code == 200
        problem(await signing_in(there, ann, code), 401, "TOTP_WRONG")
        assert (await ann.delete("/api/auth/totp")).status_code == 204
        assert (await signing_in(there, ann)).status_code == 200
        anew, codes = await set_up(ann)
        problem(await signing_in(there, ann), 401, "TOTP_REQUIRED")
        assert (await signing_in(there, ann, next_code(anew))).status_code == 200
        # Set-up is begun here and finished there.
        assert (await ann.delete("/api/auth/totp")).status_code == 204
        secret = pyotp.TOTP((await ann.post("/api/auth/totp")).json()["secret"])
        elsewhere = await there.stranger()
        elsewhere.client.cookies.update(ann.client.cookies)
        assert (await elsewhere.put("/api/auth/totp", {"code": secret.now()})).status_code == 200
