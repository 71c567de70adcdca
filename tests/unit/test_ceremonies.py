"""The ceremonies of passkeys: which answers are genuine, and every way in which one is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from groupspaces.clock import ManualClock
from groupspaces.errors import Invalid, Unauthenticated
from groupspaces.features.accounts.ceremonies import LASTS_MS, Begun, Ceremonies, Registered
from groupspaces.keys import KeyRing
from tests.support.authenticator import Authenticator

ORIGIN = "https://rooms.example.org"
ANN, BEN = 5, 6
OLD, NEW = "o" * 40, "n" * 40


class Stage:
    """One site with a clock to move, and Ann's device."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.site = Ceremonies(ORIGIN, KeyRing(NEW), self.clock)
        self.device = Authenticator(ORIGIN)

    def begin(self) -> Begun:
        return self.site.begin_registration(ANN, "ann@example.org", "Ann", [b"known"])

    async def register(self, device: Authenticator | None = None) -> Registered:
        begun = self.begin()
        return await self.site.registered(begun.ceremony, (device or self.device).create(begun.options), ANN)

    async def sign_in(
        self, registered: Registered, *, change: Callable[[dict[str, Any]], None] | None = None
    ) -> int:
        begun = self.site.begin_sign_in()
        answer = self.device.get(begun.options)
        if change is not None:
            change(answer)
        assertion = self.site.assertion(begun.ceremony, answer)
        assert assertion.credential_id == registered.credential_id
        return await self.site.verified(assertion, registered.public_key, registered.sign_count)


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_a_passkey_is_made_and_opens(stage: Stage) -> None:
    registered = await stage.register()
    assert registered.credential_id == stage.device.credential_id
    assert await stage.sign_in(registered) == 1
    assert await stage.sign_in(registered) == 2


def test_what_the_browser_is_asked(stage: Stage) -> None:
    options = stage.begin().options
    assert options["rp"]["id"] == "rooms.example.org"
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["excludeCredentials"] == [{"type": "public-key", "id": "a25vd24"}]
    assert stage.begin().options["challenge"] != options["challenge"]
    asked = stage.site.begin_sign_in().options
    assert (asked["rpId"], asked["userVerification"]) == ("rooms.example.org", "required")


async def test_a_ceremony_lasts_five_minutes(stage: Stage) -> None:
    begun = stage.begin()
    answer = stage.device.create(begun.options)
    stage.clock.advance(LASTS_MS - 1)
    await stage.site.registered(begun.ceremony, answer, ANN)
    stage.clock.advance(1)
    with pytest.raises(Invalid) as refused:
        await stage.site.registered(begun.ceremony, answer, ANN)
    assert refused.value.code == "PASSKEY_INVALID"
    asked = stage.site.begin_sign_in()
    stage.clock.advance(LASTS_MS)
    with pytest.raises(Unauthenticated):
        stage.site.assertion(asked.ceremony, stage.device.get(asked.options))


async def test_a_registration_is_for_the_person_who_began_it(stage: Stage) -> None:
    begun = stage.begin()
    with pytest.raises(Invalid):
        await stage.site.registered(begun.ceremony, stage.device.create(begun.options), BEN)


@pytest.mark.parametrize(
    "tampered",
    [
        lambda text: "",
        lambda text: text[:-4],
        lambda text: "A" + text[1:],
        lambda text: text.rpartition(".")[0],
        lambda text: text.replace(".", "..", 1),
        lambda text: "\u00e9" + text,
        lambda text: Ceremonies(ORIGIN, KeyRing("x" * 40), ManualClock()).begin_sign_in().ceremony,
    ],
)
async def test_a_tampered_ceremony_is_refused(stage: Stage, tampered: Callable[[str], str]) -> None:
    await stage.register()
    begun, asked = stage.begin(), stage.site.begin_sign_in()
    with pytest.raises(Invalid):
        await stage.site.registered(tampered(begun.ceremony), stage.device.create(begun.options), ANN)
    with pytest.raises(Unauthenticated):
        stage.site.assertion(tampered(asked.ceremony), stage.device.get(asked.options))


async def test_a_ceremony_of_one_purpose_is_none_of_the_other(stage: Stage) -> None:
    await stage.register()
    begun, asked = stage.begin(), stage.site.begin_sign_in()
    with pytest.raises(Invalid):
        await stage.site.registered(asked.ceremony, stage.device.create(begun.options), ANN)
    with pytest.raises(Unauthenticated):
        stage.site.assertion(begun.ceremony, stage.device.get(asked.options))


async def test_the_answer_to_another_challenge_is_refused(stage: Stage) -> None:
    registered = await stage.register()
    first, second = stage.site.begin_sign_in(), stage.site.begin_sign_in()
    assertion = stage.site.assertion(second.ceremony, stage.device.get(first.options))
    with pytest.raises(Unauthenticated):
        await stage.site.verified(assertion, registered.public_key, 0)


@pytest.mark.parametrize(
    "origin",
    [
        "https://rooms.example.com",
        "http://rooms.example.org",
        "https://rooms.example.org:8443",
        "https://evil.rooms.example.org",
        "null",
    ],
)
async def test_a_foreign_page_is_refused(stage: Stage, origin: str) -> None:
    registered = await stage.register()
    stage.device.origin = origin
    with pytest.raises(Invalid):
        await stage.register()
    with pytest.raises(Unauthenticated):
        await stage.sign_in(registered)


async def test_a_key_of_another_site_is_refused(stage: Stage) -> None:
    registered = await stage.register()
    begun, asked = stage.begin(), stage.site.begin_sign_in()
    begun.options["rp"]["id"] = asked.options["rpId"] = "example.org"
    with pytest.raises(Invalid):
        await stage.site.registered(begun.ceremony, stage.device.create(begun.options), ANN)
    assertion = stage.site.assertion(asked.ceremony, stage.device.get(asked.options))
    with pytest.raises(Unauthenticated):
        await stage.site.verified(assertion, registered.public_key, 0)


async def test_whoever_has_not_unlocked_the_device_is_refused(stage: Stage) -> None:
    registered = await stage.register()
    stage.device.verifies = False
    with pytest.raises(Invalid):
        await stage.register()
    with pytest.raises(Unauthenticated):
        await stage.sign_in(registered)


async def test_another_key_and_a_counter_that_stands_are_refused(stage: Stage) -> None:
    registered = await stage.register()
    other = await stage.register(Authenticator(ORIGIN))
    begun = stage.site.begin_sign_in()
    assertion = stage.site.assertion(begun.ceremony, stage.device.get(begun.options))
    with pytest.raises(Unauthenticated):
        await stage.site.verified(assertion, other.public_key, 0)
    with pytest.raises(Unauthenticated):
        await stage.site.verified(assertion, registered.public_key, 1)
    assert await stage.site.verified(assertion, registered.public_key, 0) == 1


async def test_a_key_that_synchronises_counts_nothing(stage: Stage) -> None:
    stage.device.counts = False
    registered = await stage.register()
    assert [await stage.sign_in(registered) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("field", ["clientDataJSON", "authenticatorData", "signature"])
@pytest.mark.parametrize("value", [None, "", "AAAA", "=", "\u00e9", 5, {}, "A" * 70_000])
async def test_a_damaged_answer_is_refused(stage: Stage, field: str, value: object) -> None:
    def damage(answer: dict[str, Any]) -> None:
        answer["response"][field] = value

    registered = await stage.register()
    with pytest.raises(Unauthenticated):
        await stage.sign_in(registered, change=damage)


@pytest.mark.parametrize(
    "credential", [{}, {"id": "AAAA"}, {"id": "AAAA", "type": "public-key", "response": {}}, {"response": []}]
)
async def test_what_is_no_credential_is_refused(stage: Stage, credential: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await stage.site.registered(stage.begin().ceremony, copy.deepcopy(credential), ANN)


async def test_a_key_that_cannot_be_used_is_not_kept(stage: Stage) -> None:
    for attestation in ("oGZub25l", "gA", "AAAA"):
        begun = stage.begin()
        answer = stage.device.create(begun.options)
        answer["response"]["attestationObject"] = attestation
        with pytest.raises(Invalid):
            await stage.site.registered(begun.ceremony, answer, ANN)


async def test_a_ceremony_outlives_the_secret_it_was_begun_with(stage: Stage) -> None:
    old = Ceremonies(ORIGIN, KeyRing(OLD), stage.clock)
    both = Ceremonies(ORIGIN, KeyRing(NEW, [OLD]), stage.clock)
    begun = old.begin_registration(ANN, "ann@example.org", "Ann", [])
    answer = stage.device.create(begun.options)
    assert (await both.registered(begun.ceremony, answer, ANN)).credential_id == stage.device.credential_id
    with pytest.raises(Invalid):
        await stage.site.registered(begun.ceremony, answer, ANN)


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://rooms.example.org:443", "https://rooms.example.org"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
    ],
)
async def test_browsers_leave_the_usual_port_out(public_url: str, origin: str) -> None:
    site = Ceremonies(public_url, KeyRing(NEW), ManualClock())
    begun = site.begin_registration(ANN, "ann@example.org", "Ann", [])
    assert await site.registered(begun.ceremony, Authenticator(origin).create(begun.options), ANN)
