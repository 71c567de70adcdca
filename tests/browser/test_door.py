"""The door: every way in, what is said when one does not open, and the links that letters bring."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.async_api import BrowserContext, Page, Request, Route, expect

from groupspaces.ops.torture.ports import free_port
from tests.browser.house import NO_ANSWER, SIGNED_OUT, House, OpenProfile
from tests.browser.test_looks import NARROW, findings
from tests.conftest import StartServer
from tests.support.browser import PHONE, Person
from tests.support.client import PASSWORD, Participant
from tests.support.client import expect as answered
from tests.support.mailbox import Mailbox, link_in
from tests.support.oidc import OpenIdProvider
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

NEW_PASSWORD = "berkebun itu sabar"
REFUSED = r"Failed to load resource: the server responded with a status of (401|403|422)"
# The page of the test's provider wants a font from elsewhere, and has no icon.
AT_THE_PROVIDER = r"fonts\.googleapis|favicon\.ico"
STEP_S = 30


async def visitor(new_person: OpenProfile, url: str, path: str, **options: Any) -> Page:
    """Open a browser of somebody who is not signed in."""
    person = await new_person(url, **options)
    person.expect_errors(SIGNED_OUT)
    person.expect_errors(REFUSED)
    person.expect_errors(AT_THE_PROVIDER)
    await person.page.goto(path)
    return person.page


async def sign_in(page: Page, email: str, password: str) -> None:
    """Fill in the form and send it."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def expect_home(page: Page) -> None:
    """Expect to be in the house."""
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Welcome")


async def with_two_factor(member: Participant) -> tuple[pyotp.TOTP, list[str]]:
    """Switch two-factor on over HTTP; return the authenticator and the recovery codes."""
    secret = answered(await member.post("/api/auth/totp", {}), 201)["secret"]
    authenticator = pyotp.TOTP(secret)
    turned_on = answered(await member.put("/api/auth/totp", {"code": authenticator.now()}), 200)
    return authenticator, turned_on["recovery_codes"]


def next_code(authenticator: pyotp.TOTP) -> str:
    """Return the code of the step after this one: each works once, and clocks may be one step off."""
    return str(authenticator.at(int(time.time()) + STEP_S))


# --- signing in ---


async def test_a_wrong_password_says_so_and_leads_to_a_new_one(house: House, new_person: OpenProfile) -> None:
    ana = await house.member("Ana")
    page = await visitor(new_person, house.server.url, "/sign-in")
    await sign_in(page, ana.email, "not her password")
    alert = page.get_by_role("alert").filter(has_text="do not match")
    await expect(alert).to_be_visible()
    await expect(page.get_by_label("Password", exact=True)).to_be_focused()
    await alert.get_by_role("link", name="set a new password").click()
    await expect(page).to_have_url(re.compile("/forgot$"))
    await expect(page.get_by_role("heading", level=1)).to_be_focused()


async def test_what_a_provider_came_back_with_is_told_once(server: Server, new_person: OpenProfile) -> None:
    page = await visitor(new_person, server.url, "/sign-in?problem=OAUTH_LINK_FIRST&next=%2Fsettings")
    told = page.get_by_role("alert").filter(has_text="There is an account with your e-mail address")
    await expect(told).to_be_visible()
    await expect(page).to_have_url(re.compile(r"/sign-in\?next=%2Fsettings$"))
    await page.reload()
    await expect(page.get_by_label("E-mail")).to_be_visible()
    await expect(told).to_have_count(0)


async def test_the_second_factor_is_asked_for_and_a_grouped_code_may_be_pasted(
    house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    authenticator, _codes = await with_two_factor(ana)
    page = await visitor(new_person, house.server.url, "/sign-in?next=/settings/security")
    await sign_in(page, ana.email, PASSWORD)
    await expect(page.get_by_role("heading", level=1)).to_have_text("One more step")
    field = page.get_by_label("Code")
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("autocomplete", "one-time-code")
    assert await findings(page) == []

    await field.fill("12345")
    await field.press("Enter")
    await expect(field).to_have_accessible_description(re.compile("Enter the 6 digits"))
    await field.fill(f"{(int(next_code(authenticator)) + 1) % 1_000_000:06}")
    await field.press("Enter")
    await expect(field).to_have_accessible_description(re.compile("This code is not right"))
    await expect(field).to_be_focused()

    code = next_code(authenticator)
    await field.fill(f"{code[:3]} {code[3:]}")
    await field.press("Enter")
    await expect(page).to_have_url(re.compile("/settings/security$"))


async def test_a_recovery_code_opens_in_place_of_the_authenticator_once(
    house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    _authenticator, codes = await with_two_factor(ana)
    for attempt in ("used", "again"):
        page = await visitor(new_person, house.server.url, "/sign-in", viewport=PHONE)
        await sign_in(page, ana.email, PASSWORD)
        await page.get_by_role("button", name="Use a recovery code").click()
        field = page.get_by_label("Recovery code")
        await expect(field).to_be_focused()
        await field.fill(codes[0].upper())
        await field.press("Enter")
        if attempt == "used":
            await expect_home(page)
        else:
            await expect(field).to_have_accessible_description(re.compile("none of your unused"))


ONLY_BY_PROVIDER = {
    "limits.enabled": False,
    "auth.password_sign_in": False,
    "oauth.oidc_name": "Campus ID",
    "oauth.oidc_issuer": "https://id.campus.example",
    "oauth.oidc_client_id": "x",
    "oauth.oidc_client_secret": "y",
}


async def test_only_the_ways_that_are_open_are_shown(
    start_server: StartServer, new_person: OpenProfile
) -> None:
    server = start_server(ONLY_BY_PROVIDER)
    page = await visitor(new_person, f"http://localhost:{server.port}", "/sign-in")
    await expect(page.get_by_role("link", name="Continue with Campus ID")).to_be_visible()
    await expect(page.get_by_role("button", name="Use a passkey")).to_be_visible()
    for gone in (page.get_by_label("E-mail"), page.get_by_label("Password"), page.get_by_text("Forgot")):
        await expect(gone).to_have_count(0)

    await page.get_by_role("link", name="Make an account").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Make your account")
    await expect(page.get_by_role("link", name="Continue with Campus ID")).to_be_visible()
    await expect(page.locator("input")).to_have_count(0)
    assert await findings(page) == []
    await page.goto("/forgot")
    await expect(page.get_by_role("heading", level=1)).to_have_text("No passwords here")
    await expect(page.locator("input")).to_have_count(0)
    assert await findings(page) == []


async def test_until_the_ways_are_known_the_outline_of_a_form_is_shown(
    server: Server, new_person: OpenProfile
) -> None:
    person = await new_person(server.url)
    person.expect_errors(SIGNED_OUT)
    page, is_shown = person.page, asyncio.Event()

    async def hold(route: Route) -> None:
        await is_shown.wait()
        await route.continue_()

    await page.route("**/api/auth/providers", hold)
    for path, title in (("/sign-in", "Sign in"), ("/sign-up", "Make your account")):
        is_shown.clear()
        await page.goto(path)
        await expect(page.get_by_role("status", name="Opening").locator(".sk").first).to_be_visible()
        await expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert await findings(page) == []
        is_shown.set()
        await expect(page.get_by_label("E-mail")).to_be_visible()


async def test_starting_over_keeps_the_address_and_asks_for_the_password(
    house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    await with_two_factor(ana)
    page = await visitor(new_person, house.server.url, "/sign-in")
    await sign_in(page, ana.email, PASSWORD)
    await page.get_by_role("button", name="Start over").click()
    await expect(page.get_by_label("E-mail")).to_have_value(ana.email)
    await expect(page.get_by_label("Password", exact=True)).to_be_focused()
    await expect(page.get_by_label("Password", exact=True)).to_have_value("")


async def test_the_ways_are_asked_for_again_when_no_answer_came(
    start_server: StartServer, new_person: OpenProfile
) -> None:
    server = start_server(ONLY_BY_PROVIDER)
    person = await new_person(f"http://localhost:{server.port}")
    person.expect_errors(SIGNED_OUT)
    person.expect_errors(NO_ANSWER)
    await person.page.route("**/api/auth/providers", lambda route: route.abort(), times=1)
    await person.page.goto("/sign-in")
    await expect(person.page.get_by_label("E-mail")).to_be_visible()
    await expect(person.page.get_by_role("link", name="Continue with Campus ID")).to_be_visible()
    await expect(person.page.get_by_label("E-mail")).to_have_count(0)


@pytest.fixture
def campus(started: Callable[[Any], Any], tmp_path: Path) -> Server:
    """An instance where people come in by their account at a real OpenID provider."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider = started(OpenIdProvider(tmp_path / "provider", [f"{url}/auth/oidc/callback"])).start()
    settings = {**provider.settings, "server.public_url": url, "limits.enabled": False}
    server: Server = started(Server(tmp_path / "campus", settings, port=port)).start()
    return server


async def test_somebody_signs_in_at_a_provider_and_lands_where_they_wanted_to(
    campus: Server, new_person: OpenProfile
) -> None:
    async with Participant(campus.url) as host:
        await host.sign_up("Host")
    page = await visitor(new_person, campus.url, "/sign-in?next=/settings")
    await page.get_by_role("link", name="Continue with Campus ID").click()
    await sign_in_at_provider(page, "ann")
    await expect(page).to_have_url(re.compile("/settings$"))
    await expect(page.locator(".rail .me")).to_contain_text("Ann")


async def sign_in_at_provider(page: Page, name: str) -> None:
    """Be somebody at the test's provider, and let it tell us."""
    await page.locator("[name=login]").fill(name)
    await page.locator("[name=password]").fill("any")
    await page.get_by_role("button").first.click()
    await page.get_by_role("button", name="Continue").click()


# --- passkeys ---


async def authenticator(context: BrowserContext, page: Page) -> None:
    """Give the browser a device that holds passkeys and says yes by itself."""
    devtools = await context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


async def with_passkey(house: House, *, script: str) -> Page:
    """Open a browser whose owner has added a passkey and signed out."""
    person = await house.browser("Ana", at=f"http://localhost:{house.server.port}")
    person.expect_errors(SIGNED_OUT)
    page = person.page
    await page.add_init_script(script)
    await authenticator(person.context, page)
    await page.goto("/settings/security")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.get_by_label("Name").fill("Ana's laptop")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator(".thing").filter(has_text="Ana's laptop")).to_be_visible()
    await person.context.clear_cookies()
    return page


# Browsers from before the JSON forms, and one that offers no passkeys in fields.
OLD = """
  delete PublicKeyCredential.parseCreationOptionsFromJSON;
  delete PublicKeyCredential.parseRequestOptionsFromJSON;
  PublicKeyCredential.prototype.toJSON = undefined;
"""
NO_OFFERS = "PublicKeyCredential.isConditionalMediationAvailable = async () => false;"


@pytest.mark.parametrize("script", [NO_OFFERS, OLD + NO_OFFERS], ids=["new", "old"])
async def test_a_passkey_signs_in_without_a_word_being_typed(house: House, script: str) -> None:
    page = await with_passkey(house, script=script)
    await page.goto("/sign-in?next=/settings")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page).to_have_url(re.compile("/settings$"))
    await expect(page.locator(".rail .me")).to_contain_text("Ana")


async def test_a_passkey_is_offered_in_the_field_for_the_address(house: House) -> None:
    page = await with_passkey(house, script="")
    await page.goto("/sign-in?next=/settings")
    await expect(page).to_have_url(re.compile("/settings$"))  # this device takes what it is offered
    await expect(page.locator(".rail .me")).to_contain_text("Ana")


async def test_who_calls_the_passkey_off_can_take_another_way(house: House) -> None:
    script = (
        NO_OFFERS
        + "navigator.credentials.get = async () => { throw new DOMException('', 'NotAllowedError'); };"
    )
    page = await with_passkey(house, script=script)
    await page.goto("/sign-in")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("alert").filter(has_text="No passkey was used")).to_be_visible()
    await sign_in(page, (await house.member("Ana")).email, PASSWORD)
    await expect_home(page)


# --- making an account ---


async def test_how_strong_a_password_is_stands_in_words_and_the_server_has_the_last_one(
    server: Server, new_person: OpenProfile
) -> None:
    page = await visitor(new_person, server.url, "/sign-up")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    password = page.get_by_label("Password", exact=True)
    await page.get_by_label("Your name").fill("Lila Kebun")
    await page.get_by_label("E-mail").fill("lila@kebun.example")
    assert not [url for url in asked if "zxcvbn" in url]
    await password.focus()
    await password.fill("password1")
    meter = page.locator(".strength")
    await expect(meter).to_contain_text("Very easy to guess.")
    await expect(meter.locator("[data-full]")).to_have_count(0)
    assert [url for url in asked if "zxcvbn" in url]
    await page.get_by_role("button", name="Make the account").click()
    await expect(password).to_have_accessible_description(re.compile("common passwords"))
    await expect(password).to_be_focused()

    await password.fill("lilakebun")  # what everybody knows of her
    await expect(meter).to_contain_text(re.compile("^Easy to guess"))
    await password.fill(NEW_PASSWORD)
    await expect(meter).to_contain_text("Strong.")
    await expect(meter.locator("[data-full]")).to_have_count(4)
    assert await findings(page) == []
    await page.get_by_role("button", name="Make the account").click()
    await expect_home(page)


async def test_a_closed_place_says_how_one_comes_in(
    start_server: StartServer, new_person: OpenProfile
) -> None:
    for mode, title in (("invite", "Here you come in by invite"), ("closed", "No new accounts here")):
        server = start_server({"limits.enabled": False, "auth.sign_up": mode}, name=mode)
        page = await visitor(new_person, server.url, "/sign-up")
        await expect(page.get_by_role("heading", level=1)).to_have_text(title)
        await expect(page.get_by_label("Password")).to_have_count(0)
        await expect(page.get_by_label("Invite link")).to_have_count(1 if mode == "invite" else 0)
        assert await findings(page) == [], mode
        await page.get_by_role("button", name="I set this place up").click()
        await expect(page.get_by_label("Set-up code")).to_be_visible()


# --- links in letters ---


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailing(start_server: StartServer, mailbox: Mailbox) -> Server:
    """An instance that sends mail."""
    return start_server(
        {
            "limits.enabled": False,
            "mail.host": "localhost",
            "mail.port": mailbox.port,
            "mail.tls": "none",
            "mail.from": "spaces@kebun.example",
        }
    )


@pytest.fixture
def server(request: pytest.FixtureRequest, start_server: StartServer) -> Server:
    if "mailing" in request.fixturenames:
        mailing: Server = request.getfixturevalue("mailing")
        return mailing
    return start_server({"limits.enabled": False})


def here(server: Server, link: str) -> str:
    """Return a letter's link as a path of the instance under test."""
    return re.sub(r"^https?://[^/]+", "", link)


async def test_a_forgotten_password_is_set_anew_by_mail(
    mailing: Server, mailbox: Mailbox, house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    page = await visitor(new_person, mailing.url, "/sign-in")
    await page.get_by_role("link", name="Forgot the password?").click()
    await page.get_by_label("E-mail").fill(ana.email)
    await page.get_by_role("button", name="Send me a link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    await expect(page.get_by_role("main")).to_contain_text(f"If {ana.email} has an account here")
    link = here(mailing, link_in(await mailbox.letter(ana.email, "password")))

    await page.goto(link)
    await expect(page.get_by_label("New password")).to_be_visible()
    assert page.url.endswith("/reset")  # the token has left the address bar, and is not in the history
    await page.get_by_label("New password").fill("password1")
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_label("New password")).to_have_accessible_description(
        re.compile("common passwords")
    )
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your password is set")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert (await ana.get("/api/auth/session")).status_code == 401
    await page.get_by_role("link", name="Sign in").click()
    await sign_in(page, ana.email, NEW_PASSWORD)
    await expect_home(page)

    again = await visitor(new_person, mailing.url, link)
    await again.get_by_label("New password").fill("another one of hers")
    await again.get_by_role("button", name="Set the password").click()
    await expect(again.get_by_role("heading", level=1)).to_have_text("This link does not work any more")
    assert await findings(again) == []
    await again.get_by_role("link", name="Ask for a new link").click()
    await expect(again).to_have_url(re.compile("/forgot$"))


async def test_nobody_learns_from_the_forgotten_password_who_has_an_account(
    mailing: Server, mailbox: Mailbox, house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    words = []
    for email in (ana.email, "nobody@example.org"):
        page = await visitor(new_person, mailing.url, "/forgot")
        await page.get_by_label("E-mail").fill(email)
        await page.get_by_role("button", name="Send me a link").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
        words.append((await page.get_by_role("main").inner_text()).replace(email, "…"))
    assert words[0] == words[1]


async def test_what_is_no_address_is_told_with_what_to_do(server: Server, new_person: OpenProfile) -> None:
    page = await visitor(new_person, server.url, "/forgot")
    field = page.get_by_label("E-mail")
    for typed in ("bob@exa mple.org", "bob", "bob@example..org"):
        await field.fill(typed)
        await field.press("Enter")
        await expect(field).to_have_accessible_description(re.compile("one @ in it, and no spaces"))
        await expect(field).to_have_attribute("aria-invalid", "true")
    await page.goto("/sign-up")
    await page.get_by_label("Your name").fill("Bob")
    await field.fill("bob@exa mple.org")
    await page.get_by_role("button", name="Make the account").click()
    await expect(field).to_have_accessible_description(re.compile("There is a space in the address"))


async def test_where_no_mail_is_sent_the_operator_is_told(house: House, new_person: OpenProfile) -> None:
    ana = await house.member("Ana")
    page = await visitor(new_person, house.server.url, "/forgot", viewport=PHONE)
    await expect(page.get_by_text("This place sends no mail")).to_be_visible()
    await page.get_by_label("E-mail").fill(ana.email)
    await page.get_by_role("button", name="Tell the operator").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Ask the operator for your link")
    assert await findings(page) == []


async def test_an_address_is_confirmed_by_its_letter_and_the_banner_goes(
    mailing: Server, mailbox: Mailbox, house: House
) -> None:
    ana = await house.member("Ana")
    person = await house.browser("Ana")
    person.expect_errors(REFUSED)
    page = person.page
    banner = page.locator(".banner").filter(has_text="Confirm your address.")
    await expect(banner).to_contain_text(ana.email)
    assert await findings(page) == []
    sent = len(mailbox.messages)
    await banner.get_by_role("button", name="Send again").click()
    await expect(page.get_by_text("A new link is on its way")).to_be_visible()
    await mailbox_has(mailbox, sent + 1)
    link = here(mailing, link_in(mailbox.messages[-1]))
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your address is confirmed")
    assert page.url.endswith("/verify")
    await page.get_by_role("link", name="Go to Home").click()
    await expect_home(page)
    await expect(banner).to_have_count(0)
    await page.goto(link)  # as a reload of the mail's tab would
    await expect(page.get_by_role("main")).to_contain_text("It was confirmed before.")


async def mailbox_has(mailbox: Mailbox, count: int) -> None:
    """Wait until so many letters came."""
    await wait_until(lambda: len(mailbox.messages) >= count, what=f"{count} letters")


@pytest.mark.parametrize("path", ["/reset", "/verify", "/enter"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_dead_and_cut_off_links_say_what_to_do(
    server: Server, new_person: OpenProfile, path: str, theme: str
) -> None:
    page = await visitor(new_person, server.url, path, color_scheme=theme, viewport=NARROW)
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Open the")
    assert await findings(page) == []
    await page.goto("/sign-in")
    await page.goto(f"{path}#this-is-no-token")
    if path == "/reset":
        await page.get_by_label("New password").fill(NEW_PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
    if path == "/enter":
        await page.get_by_role("button", name="Sign in").click()
    dead = page.get_by_role("heading", name="This link does not work any more", level=1)
    await expect(dead).to_be_focused()
    assert await findings(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


async def test_a_link_to_sign_in_does_nothing_before_somebody_presses(
    server: Server, new_person: OpenProfile
) -> None:
    async with Participant(server.url) as ana:
        await ana.sign_up("Ana")
        made = server.command("user", "sign-in-link", ana.email, "--json")
        assert made.returncode == 0, made.stderr
        found = re.search(r"/enter#[^\s\"]+", made.stdout)
        assert found
        person: Person = await new_person(server.url)
        person.expect_errors(SIGNED_OUT)
        person.expect_errors(REFUSED)
        page, posts = person.page, []

        def note(request: Request) -> None:
            if request.method == "POST":
                posts.append(request.url)

        page.on("request", note)
        await page.goto(found[0])
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in by link")
        assert not posts
        await page.get_by_role("button", name="Sign in").click()
        await expect_home(page)
        await person.context.clear_cookies()
        await page.goto(found[0])
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("This link does not work any more")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up", "/forgot"])
async def test_the_door_fits_every_screen(server: Server, new_person: OpenProfile, path: str) -> None:
    for viewport in (NARROW, {"width": 1920, "height": 1080}):
        page = await visitor(new_person, server.url, path, viewport=viewport)
        await expect(page.locator("form")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
