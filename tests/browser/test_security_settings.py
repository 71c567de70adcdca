"""The security settings: what changes the ways in asks who it is first, and what ends elsewhere ends at once."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyotp
import pytest
from playwright.async_api import Page, expect

from groupspaces.ops.torture.ports import free_port
from tests.browser.house import SIGNED_OUT, House, OpenProfile
from tests.browser.test_door import (
    AT_THE_PROVIDER,
    NEW_PASSWORD,
    NO_OFFERS,
    REFUSED,
    authenticator,
    sign_in_at_provider,
)
from tests.browser.test_looks import NARROW, findings, small_targets
from tests.conftest import StartServer
from tests.support.browser import DESKTOP, PHONE, Person
from tests.support.client import PASSWORD, Participant
from tests.support.client import expect as answered
from tests.support.mailbox import Mailbox, link_in
from tests.support.oidc import OpenIdProvider
from tests.support.server import Server
from tests.support.wait import wait_until

pytestmark = pytest.mark.browser

SECURITY = "/settings/security"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.5 Mobile/15E148 Safari/604.1"
)


async def settings(house: House, name: str = "Ana", **options: Any) -> Page:
    """Open somebody's security settings with everything in them loaded."""
    person = await house.browser(name, SECURITY, **options)
    person.expect_errors(r"status of (401|403|409|422)")
    await loaded(person.page)
    return person.page


async def loaded(page: Page) -> None:
    """Wait until all sections stand."""
    await expect(section(page, "Devices").get_by_text("This device")).to_be_visible()
    await expect(section(page, "Passkeys").get_by_role("button").first).to_be_visible()
    await expect(section(page, "Two-factor").locator(".chip").first).to_be_visible()


def section(page: Page, title: str) -> Any:
    """Find one section by its heading."""
    return page.get_by_role("region", name=title, exact=True)


async def elsewhere(house: House, email: str, user_agent: str = IPHONE) -> Participant:
    """Sign the same person in on another device."""
    other = Participant(house.server.url)
    other.http.headers["user-agent"] = user_agent
    await other.sign_in(email)
    return other


def let_confirmation_lapse(server: Server) -> None:
    """Make it long ago that anybody proved that it is them; instances have not looked at these sessions yet."""
    with sqlite3.connect(server.data_folder / "groupspaces.db", timeout=10) as db:
        db.execute("UPDATE session SET confirmed_at_ms = 1")
    db.close()


# --- asking who it is ---


async def test_what_changes_the_ways_in_asks_who_it_is_and_then_goes_on(
    house: House, new_person: OpenProfile
) -> None:
    ana = await house.member("Ana")
    await ana.sign_in(ana.email)
    let_confirmation_lapse(house.server)
    page = await settings(house)
    open_setup = section(page, "Two-factor").get_by_role("button", name="Turn on two-factor")
    await open_setup.click()
    question = page.get_by_role("dialog", name="Confirm that it is you")
    await expect(question.get_by_label("Your password")).to_be_focused()
    assert await findings(page) == []

    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)  # both: there is nothing to set up
    await expect(page.locator(".toast, .err, .banner-bad")).to_have_count(0)
    await expect(open_setup).to_be_focused()

    await open_setup.click()
    await question.get_by_role("button", name="Confirm").click()
    await expect(question.get_by_label("Your password")).to_be_focused()
    await question.get_by_label("Your password").fill("not hers")
    await page.keyboard.press("Enter")
    await expect(question.get_by_label("Your password")).to_have_accessible_description(
        re.compile("This is not your password")
    )
    await question.get_by_label("Your password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(question).to_have_count(0)
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()


async def test_a_passkey_confirms_in_place_of_the_password(house: House) -> None:
    ana = await house.member("Ana")
    person = await house.browser("Ana", at=f"http://localhost:{house.server.port}")
    person.expect_errors(REFUSED)
    page = person.page
    await page.add_init_script(NO_OFFERS)
    await authenticator(person.context, page)
    await add_passkey(page, "Laptop")
    await ana.sign_in(ana.email)
    let_confirmation_lapse(house.server)
    await person.context.add_cookies([cookie(ana, f"http://localhost:{house.server.port}")])
    await page.goto(SECURITY)
    await loaded(page)
    devices = await section(page, "Devices").get_by_role("listitem").count()
    await section(page, "Two-factor").get_by_role("button", name="Turn on").click()
    await (
        page.get_by_role("dialog", name="Confirm")
        .get_by_role("button", name="Use a passkey", exact=True)
        .click()
    )
    await expect(page.get_by_role("img", name="QR code")).to_be_visible()
    await page.reload()
    await loaded(page)
    await expect(section(page, "Devices").get_by_role("listitem")).to_have_count(devices)
    await expect(section(page, "Devices").get_by_text("by passkey")).to_be_visible()


def cookie(member: Participant, url: str) -> Any:
    """Give somebody's session as a browser keeps it."""
    return {
        "name": "gs_session",
        "value": member.cookie,
        "url": url,
        "httpOnly": True,
        "sameSite": "Lax",
    }


# --- password and address ---


async def test_a_new_password_signs_the_other_devices_out_and_stays_here(house: House) -> None:
    ana = await house.member("Ana")
    phone = await elsewhere(house, ana.email)
    page = await settings(house)
    await expect(section(page, "Devices").get_by_role("listitem")).to_have_count(2)
    await section(page, "Password").get_by_role("button").click()
    dialog = page.get_by_role("dialog", name="Change the password")
    await expect(dialog.get_by_label("Password now")).to_be_focused()
    await dialog.get_by_label("Password now").fill("not hers")
    await dialog.get_by_label("New password").fill("password1")
    await dialog.get_by_role("button", name="Change it").click()
    await expect(dialog.get_by_label("Password now")).to_have_accessible_description(
        re.compile("This is not your password")
    )
    await dialog.get_by_label("Password now").fill(PASSWORD)
    await dialog.get_by_role("button", name="Change it").click()
    await expect(dialog.get_by_label("New password")).to_have_accessible_description(
        re.compile("common passwords")
    )
    await dialog.get_by_label("New password").fill(NEW_PASSWORD)
    assert await findings(page) == []
    await dialog.get_by_role("button", name="Change it").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_text("Other devices are signed out.")).to_be_visible()
    await expect(section(page, "Devices").get_by_role("listitem")).to_have_count(1)
    assert (await phone.get("/api/auth/session")).status_code == 401
    await page.reload()
    await loaded(page)  # the cookie was renewed
    answered(await phone.post("/api/auth/sign-in", {"email": ana.email, "password": NEW_PASSWORD}), 200)
    await phone.close()


async def test_without_mail_an_address_changes_at_once_and_is_not_confirmed(house: House) -> None:
    ana, budi = await house.member("Ana"), await house.member("Budi")
    page = await settings(house)
    await section(page, "E-mail").get_by_role("button", name="Change the address").click()
    dialog = page.get_by_role("dialog", name="Change the e-mail address")
    field = dialog.get_by_label("New e-mail")
    await expect(field).to_be_focused()
    await field.fill("ana@example")
    await field.press("Enter")
    await expect(field).to_have_accessible_description(re.compile("ends after “example”"))
    await field.fill(budi.email)
    await field.press("Enter")
    await expect(field).to_have_accessible_description(re.compile("already"))
    await field.fill("ana.new@example.org")
    await field.press("Enter")
    await expect(dialog).to_have_count(0)
    await expect(section(page, "E-mail")).to_contain_text("ana.new@example.org")
    await expect(section(page, "E-mail")).to_contain_text("Not confirmed")
    await page.reload()
    await expect(section(page, "E-mail")).to_contain_text("ana.new@example.org")
    assert ana.email != "ana.new@example.org"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailing(start_server: StartServer, mailbox: Mailbox) -> Server:
    """An instance that sends mail."""
    mail = {"host": "localhost", "port": mailbox.port, "tls": "none", "from": "spaces@kebun.example"}
    return start_server(
        {"limits.enabled": False} | {f"mail.{key}": value for key, value in mail.items()}, name="mailing"
    )


async def test_with_mail_an_address_changes_when_its_letter_is_opened(
    mailing: Server, mailbox: Mailbox, new_person: OpenProfile
) -> None:
    house = House(mailing, new_person)
    ana = await house.member("Ana")
    page = await settings(house)
    await section(page, "E-mail").get_by_role("button", name="Change the address").click()
    await page.get_by_label("New e-mail").fill("ana.new@example.org")
    await page.get_by_role("button", name="Send the link", exact=True).click()
    await expect(section(page, "E-mail")).to_contain_text("Open the link in the mail to ana.new@example.org")
    await expect(section(page, "E-mail").locator("p").first).to_contain_text(ana.email)
    link = link_in(await mailbox.letter("ana.new@example.org"))
    await page.goto(re.sub(r"^https?://[^/]+", "", link))
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your address is confirmed")
    await page.goto(SECURITY)
    await expect(section(page, "E-mail").locator("p").first).to_contain_text("ana.new@example.org")
    await expect(section(page, "E-mail").get_by_text("Confirmed", exact=True)).to_be_visible()
    await house.close()


# --- second factor ---


async def test_two_factor_is_turned_on_kept_and_turned_off(house: House) -> None:
    person = await house.browser("Ana", permissions=["clipboard-read", "clipboard-write"])
    person.expect_errors(REFUSED)
    page = person.page
    await page.goto(SECURITY)
    await expect(page.get_by_text("Only your password protects this account")).to_be_visible()
    ana = await elsewhere(house, (await house.member("Ana")).email)
    secret = await turn_on(page)
    codes_shown = page.get_by_role("dialog", name="Keep your recovery codes")
    await expect(codes_shown.get_by_role("listitem")).to_have_count(10)
    codes = await codes_shown.get_by_role("listitem").all_inner_texts()
    assert all(re.fullmatch(r"\w{4}(-\w{4}){5}", code) for code in codes)
    assert await findings(page) == []
    await codes_shown.get_by_role("button", name="Copy").click()
    await expect(codes_shown.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == "\n".join(codes)
    async with page.expect_download() as download:
        await codes_shown.get_by_role("button", name="Download").click()
    kept = Path(await (await download.value).path()).read_text()
    assert all(code in kept for code in codes)
    await expect_paper(page, codes)
    await codes_shown.get_by_role("button", name="Close").click()

    two_factor = section(page, "Two-factor")
    await expect(two_factor.get_by_text("On", exact=True)).to_be_visible()
    await expect(two_factor).to_contain_text("10 recovery codes left")
    await expect(page.get_by_text("Well protected")).to_be_visible()
    body = {"email": ana.email, "password": PASSWORD}
    assert (await ana.post("/api/auth/sign-in", body)).json()["code"] == "TOTP_REQUIRED"
    next_code = pyotp.TOTP(secret).at(int(time.time()) + 30)
    answered(await ana.post("/api/auth/sign-in", body | {"totp": next_code}), 200)
    for code in codes[:7]:
        answered(await ana.post("/api/auth/sign-in", body | {"totp": code}), 200)
    await page.reload()
    await expect(two_factor).to_contain_text("3 recovery codes left")
    await expect(two_factor.locator(".chip-warn")).to_be_visible()

    await two_factor.get_by_role("button", name="New recovery codes").click()
    await page.get_by_role("dialog").get_by_role("button", name="Make new codes").click()
    renewed = await codes_shown.get_by_role("listitem").all_inner_texts()
    assert not set(renewed) & set(codes)
    # Shown once: nothing but saying that they are kept takes them away.
    for _ in range(2):
        await page.keyboard.press("Escape")
    await page.keyboard.press("Enter")
    await page.mouse.click(5, 5)
    await expect(codes_shown.get_by_role("button", name="Close")).to_have_attribute("aria-disabled", "true")
    await codes_shown.get_by_label("They are kept somewhere else now").check()
    await codes_shown.get_by_role("button", name="Close").click()
    await expect(two_factor).to_contain_text("10 recovery codes left")

    await two_factor.get_by_role("button", name="Turn off").click()
    await page.get_by_role("dialog").get_by_role("button", name="Turn it off").click()
    await expect(two_factor.get_by_text("Off", exact=True)).to_be_visible()
    answered(await ana.post("/api/auth/sign-in", body), 200)
    await ana.close()


async def turn_on(page: Page) -> str:
    """Go through the set-up and return the secret that the page showed as text."""
    await section(page, "Two-factor").get_by_role("button", name="Turn on two-factor").click()
    dialog = page.get_by_role("dialog", name="Turn on two-factor")
    picture = dialog.get_by_role("img", name="QR code")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    assert await findings(page) == []
    secret = re.sub(r"\s", "", await dialog.get_by_role("group").inner_text())
    await dialog.get_by_role("button", name="Copy").click()
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    field = dialog.get_by_label("Code from the app")
    code = pyotp.TOTP(secret).now()
    await field.fill(f"{(int(code) + 1) % 1_000_000:06}")
    await field.press("Enter")
    await expect(field).to_have_accessible_description(re.compile("not right"))
    await field.fill(f"{code[:3]} {code[3:]}")
    await field.press("Enter")
    await expect(dialog).to_have_count(0)
    return secret


async def expect_paper(page: Page, codes: list[str]) -> None:
    """Expect the codes on paper, and nothing else that stands on the screen."""
    await page.emulate_media(media="print")
    await expect(page.locator(".codes")).to_be_visible()
    for hidden in (page.locator(".settings-tabs"), page.get_by_role("button", name="Print")):
        await expect(hidden).to_be_hidden()
    await page.emulate_media(media="screen")


# --- passkeys ---


async def add_passkey(page: Page, name: str) -> None:
    """Add one with the device at hand."""
    await page.goto(SECURITY)
    await section(page, "Passkeys").get_by_role("button", name="Add a passkey").click()
    field = page.get_by_role("dialog", name="Add a passkey").get_by_label("Name")
    await expect(field).to_have_value(re.compile("on Linux"))
    await field.fill(name)
    await page.get_by_role("button", name="Continue").click()
    await expect(section(page, "Passkeys").get_by_text(name, exact=True)).to_be_visible()


async def test_passkeys_are_added_named_and_removed(house: House) -> None:
    person = await house.browser("Ana", at=f"http://localhost:{house.server.port}")
    page = person.page
    await authenticator(person.context, page)
    await add_passkey(page, "Laptop")
    passkeys = section(page, "Passkeys")
    await expect(passkeys.get_by_role("listitem")).to_contain_text("not used yet")
    assert await findings(page) == []

    await passkeys.get_by_role("button", name="Add a passkey").click()
    dialog = page.get_by_role("dialog", name="Add a passkey")
    await dialog.get_by_role("button", name="Continue").click()
    await expect(dialog.get_by_text("holds a passkey for you here already")).to_be_visible()
    await page.keyboard.press("Escape")

    await passkeys.get_by_role("button", name="More about Laptop").click()
    await page.get_by_role("menuitem", name="Rename").click()
    await page.get_by_role("dialog").get_by_label("Name").fill("The old laptop")
    await page.keyboard.press("Enter")
    await expect(passkeys.get_by_text("The old laptop", exact=True)).to_be_visible()

    await passkeys.get_by_role("button", name="More about The old laptop").click()
    await page.get_by_role("menuitem", name="Remove").click()
    await page.get_by_role("dialog").get_by_role("button", name="Remove it").click()
    await expect(passkeys.get_by_role("listitem")).to_have_count(0)
    await page.reload()
    await loaded(page)
    await expect(passkeys.get_by_role("listitem")).to_have_count(0)


# --- devices ---


async def test_devices_are_told_in_words_and_ended_one_by_one_or_all(house: House) -> None:
    ana = await house.member("Ana")
    phone = await elsewhere(house, ana.email)
    script = await elsewhere(house, ana.email, "curl/8.5.0")
    page = await settings(house)
    devices = section(page, "Devices")
    await expect(devices.get_by_role("listitem")).to_have_count(3)
    await expect(devices.get_by_role("listitem").first).to_contain_text("This device")
    await expect(devices.get_by_role("listitem").filter(has_text="Safari on iPhone")).to_contain_text(
        re.compile(r"127\.0\.0\.1 · last used \d\d:\d\d")
    )
    await devices.get_by_role("button", name="Sign out curl").click()
    await expect(devices.get_by_role("listitem")).to_have_count(2)
    await wait_until(lambda: is_signed_out(script), what="the script is signed out")
    await devices.get_by_role("button", name="Sign out the others").click()
    dialog = page.get_by_role("dialog", name="Sign out the others?")
    await expect(dialog).to_contain_text("One other device is signed out at once.")
    await dialog.get_by_role("button", name="Sign out the others").click()
    await expect(devices.get_by_role("listitem")).to_have_count(1)
    await expect(devices.get_by_role("button")).to_have_count(0)
    await wait_until(lambda: is_signed_out(phone), what="the phone is signed out")
    await page.reload()
    await loaded(page)
    await phone.close()
    await script.close()


async def is_signed_out(somebody: Participant) -> bool:
    """Tell whether their session has ended."""
    return (await somebody.get("/api/auth/session")).status_code == 401


# --- accounts elsewhere ---


async def test_an_account_elsewhere_is_linked_and_unlinked(
    started: Callable[[Any], Any], tmp_path: Path, new_person: OpenProfile
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    provider = started(OpenIdProvider(tmp_path / "provider", [f"{url}/auth/oidc/callback"])).start()
    settings_of = {**provider.settings, "server.public_url": url, "limits.enabled": False}
    house = House(started(Server(tmp_path / "campus", settings_of, port=port)).start(), new_person)
    ana = await house.member("Ana")
    await ana.sign_in(ana.email)
    let_confirmation_lapse(house.server)
    person: Person = await house.browser("Ana", SECURITY)
    for expected in (AT_THE_PROVIDER, SIGNED_OUT, REFUSED):
        person.expect_errors(expected)
    page = person.page
    linked = section(page, "Linked accounts")
    await expect(linked.get_by_role("listitem")).to_contain_text("Not linked")
    await linked.get_by_role("button", name="Link Campus ID").click()
    await page.get_by_label("Your password").fill(PASSWORD)
    await page.keyboard.press("Enter")
    await sign_in_at_provider(page, "ann")
    await expect(page).to_have_url(re.compile(f"{SECURITY}$"))
    await expect(page.get_by_text("The account is linked.")).to_be_visible()
    await expect(linked.get_by_role("listitem")).to_contain_text("ann@example.org")
    assert await findings(page) == []
    await linked.get_by_role("button", name="Unlink Campus ID").click()
    await page.get_by_role("dialog").get_by_role("button", name="Unlink it").click()
    await expect(linked.get_by_role("listitem")).to_contain_text("Not linked")
    await page.goto(f"{SECURITY}?problem=OAUTH_TAKEN")
    await expect(page.get_by_role("alert").filter(has_text="linked to somebody else")).to_be_visible()
    await expect(page).to_have_url(re.compile(f"{SECURITY}$"))
    await house.close()


# --- looks ---


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, NARROW], ids=["desk", "phone", "narrow"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_the_security_settings_have_no_accessibility_findings(
    house: House, theme: Literal["light", "dark"], viewport: dict[str, int]
) -> None:
    page = await settings(house, color_scheme=theme, viewport=viewport)
    assert await findings(page) == []
    overflow = await page.locator(".scroll").evaluate("box => box.scrollWidth - box.clientWidth")
    assert overflow <= 0
    if viewport != DESKTOP:
        assert await small_targets(page) == []


async def test_a_section_that_does_not_load_leaves_the_others_alone(house: House) -> None:
    person = await house.browser("Ana")
    person.expect_errors("ERR_FAILED|ERR_ABORTED")
    page = person.page
    await page.route("**/api/auth/passkeys", lambda route: route.abort())
    await page.goto(SECURITY)
    await expect(page.get_by_text("Your passkeys could not be loaded.")).to_be_visible()
    await expect(section(page, "Devices").get_by_text("This device")).to_be_visible()
    await page.unroute("**/api/auth/passkeys")
    await expect(section(page, "Passkeys").get_by_role("button", name="Add a passkey")).to_be_visible()
