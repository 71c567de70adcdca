"""Letters against a real mail server: encrypted, with a password, refused, away and back."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from groupspaces import settings
from groupspaces.errors import SettingsError
from groupspaces.mail import Letter, Mailer, message_of
from groupspaces.ops.torture.ports import free_port
from tests.support.mailbox import PASSWORD, USER, Mailbox, start_mailbox, text_of
from tests.support.wait import wait_until

__all__ = ["start_mailbox"]  # a fixture

# The server's warning, where a test has it ask for a password without STARTTLS.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")

StartMailbox = Callable[..., Mailbox]

LETTER = Letter(
    "greeting", "ann@example.org", "Hello", "Good morning — how are you?\n\nhttps://example.org/x#y\n"
)


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "groupspaces.mail")


SENDER = "Group Spaces <spaces@example.org>"


def mail_settings(port: int, **others: str) -> settings.Mail:
    given = {"host": "localhost", "port": str(port)} | others
    loaded = settings.load({}, overrides={f"mail.{key}": value for key, value in given.items()})
    return loaded.mail


@asynccontextmanager
async def mailer_for(
    port: int, trusting: ssl.SSLContext | None = None, **others: str
) -> AsyncIterator[Mailer]:
    """A mailer that does not wait long between attempts."""
    mailer = Mailer(
        mail_settings(port, **others), SENDER, tls=trusting, retry_after_s=(0.05, 0.05, 0.05, 0.05)
    )
    try:
        yield mailer
    finally:
        await mailer.close()


def outcomes(caplog: pytest.LogCaptureFixture) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what the log says, with its facts."""
    records = [record for record in caplog.records if record.name == "groupspaces.mail"]
    return [(record.getMessage(), vars(record)["fields"]) for record in records]


async def test_a_letter_arrives_as_it_was_written(start_mailbox: StartMailbox) -> None:
    mailbox = start_mailbox()
    async with mailer_for(mailbox.port) as mailer:
        assert mailer.is_configured
        assert mailer.send(LETTER)
        found = await mailbox.letter("ann@example.org")
    assert text_of(found) == LETTER.text
    assert found["From"] == "Group Spaces <spaces@example.org>"
    assert (found["Subject"], found["Auto-Submitted"]) == ("Hello", "auto-generated")
    assert found["Message-ID"].endswith("@example.org>")
    assert found["Date"].datetime.tzinfo is not None
    [envelope] = mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("spaces@example.org", ["ann@example.org"])


@pytest.mark.parametrize(("mode", "server"), [("auto", "starttls"), ("starttls", "starttls"), ("tls", "tls")])
async def test_it_goes_encrypted_and_with_a_password(
    start_mailbox: StartMailbox, mode: str, server: str
) -> None:
    mailbox = start_mailbox(tls=server, with_password=True)
    async with mailer_for(mailbox.port, mailbox.trusting, tls=mode, user=USER, password=PASSWORD) as mailer:
        mailer.send(LETTER)
        await mailbox.letter("ann@example.org")


async def test_refused_credentials_are_said_and_not_tried_again(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = start_mailbox(tls="starttls", with_password=True)
    async with mailer_for(mailbox.port, mailbox.trusting, user=USER, password="wrong") as mailer:
        mailer.send(LETTER)
        await wait_until(lambda: outcomes(caplog))
    [(message, fields)] = outcomes(caplog)
    assert (message, fields["kind"]) == ("mail refused", "greeting")
    assert fields["reason"] == "SMTPAuthenticationError 535"
    assert mailbox.messages == []
    assert "ann" not in caplog.text
    assert "wrong" not in caplog.text


async def test_a_server_that_nobody_vouches_for_gets_nothing(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = start_mailbox(tls="starttls", with_password=True)
    async with mailer_for(mailbox.port, user=USER, password=PASSWORD) as mailer:
        mailer.send(LETTER)
        await wait_until(lambda: outcomes(caplog) and outcomes(caplog)[-1][0] == "mail given up")
    assert "CERTIFICATE_VERIFY_FAILED" in outcomes(caplog)[0][1]["reason"]
    assert (mailbox.messages, mailbox.refused_logins) == ([], 0)


async def test_no_password_is_sent_in_the_clear(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = start_mailbox(with_password=True)  # offers no encryption
    async with mailer_for(mailbox.port, user=USER, password=PASSWORD) as mailer:
        mailer.send(LETTER)
        await wait_until(lambda: outcomes(caplog) and outcomes(caplog)[-1][0] == "mail given up")
        assert (mailbox.messages, mailbox.refused_logins) == ([], 0)
    async with mailer_for(mailbox.port, tls="none", user=USER, password=PASSWORD) as mailer:
        mailer.send(LETTER)
        await mailbox.letter("ann@example.org")


async def test_a_server_that_was_away_gets_the_same_message_when_it_is_back(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = start_mailbox()
    mailbox.stop()
    mailer = Mailer(mail_settings(mailbox.port), SENDER, retry_after_s=[0.05] * 200)
    mailer.send(LETTER)
    await wait_until(lambda: outcomes(caplog))
    assert outcomes(caplog)[0][0] == "mail not sent yet"
    mailbox.start()
    await mailbox.letter("ann@example.org")
    await wait_until(lambda: outcomes(caplog)[-1][0] == "mail sent")
    await mailer.close()
    assert len(mailbox.messages) == 1


async def test_who_is_asked_for_patience_has_it_and_who_is_refused_has_not(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = start_mailbox()
    async with mailer_for(mailbox.port) as mailer:
        mailbox.refusals = ["450 greylisted, ann@example.org"]
        mailer.send(LETTER)
        await mailbox.letter("ann@example.org")
        await wait_until(lambda: outcomes(caplog)[-1][0] == "mail sent")
        mailbox.refusals = ["550 no such user: ann@example.org"]
        mailer.send(LETTER)
        await wait_until(lambda: outcomes(caplog)[-1][0] == "mail refused")
    assert [message for message, _ in outcomes(caplog)] == ["mail not sent yet", "mail sent", "mail refused"]
    assert len(mailbox.messages) == 1
    assert "ann" not in repr(outcomes(caplog))


async def test_a_stop_gives_waiting_letters_up_and_takes_no_more(caplog: pytest.LogCaptureFixture) -> None:
    mailer = Mailer(mail_settings(free_port()), SENDER, retry_after_s=[3600])
    assert mailer.send(LETTER)
    await wait_until(lambda: outcomes(caplog))
    await mailer.close()
    assert outcomes(caplog)[-1][0] == "mail given up"
    assert not mailer.send(LETTER)


async def test_nothing_is_sent_where_no_server_is_named(caplog: pytest.LogCaptureFixture) -> None:
    mailer = Mailer(settings.Mail(), SENDER)
    assert not mailer.is_configured
    assert not mailer.send(LETTER)


async def test_more_than_can_be_kept_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("groupspaces.mail._MAX_WAITING", 2)
    async with mailer_for(free_port()) as mailer:
        assert [mailer.send(LETTER) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    "forged",
    [
        {"to": "ann@example.org\r\nBcc: eve@example.org"},
        {"to": "ann\nBcc: eve@example.org"},
        {"subject": "Hello\r\nBcc: eve@example.org"},
        {"subject": "Hello\nBcc: eve@example.org"},
    ],
)
def test_no_header_can_be_smuggled_in(forged: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"(?i)linefeed|invalid"):
        message_of(msgspec.structs.replace(LETTER, **forged), "spaces@example.org").as_bytes()


@pytest.mark.parametrize(
    "to", ["=?utf-8?q?a=0d=0abcc=3a_x=40y?=@example.org", "=?utf-8?b?YQ==?=@example.org"]
)
async def test_what_a_header_would_decode_is_not_sent(
    start_mailbox: StartMailbox, caplog: pytest.LogCaptureFixture, to: str
) -> None:
    mailbox = start_mailbox()
    mailer = Mailer(mail_settings(mailbox.port), "spaces@example.org")
    assert mailer.send(msgspec.structs.replace(LETTER, to=to)) is False
    assert mailer.send(LETTER)
    assert (await mailbox.letter(LETTER.to))["Bcc"] is None
    await mailer.close()
    assert len(mailbox.messages) == 1
    assert "mail refused" in [message for message, _ in outcomes(caplog)]


@pytest.mark.parametrize("to", ["a,b@example.org", '"quoted"@example.org', "<x>@example.org"])
def test_what_is_not_written_as_it_is_given_is_no_recipient(to: str) -> None:
    with pytest.raises(ValueError, match="header"):
        message_of(msgspec.structs.replace(LETTER, to=to), "spaces@example.org")


@pytest.mark.parametrize(
    "to",
    ["änne@xn--bcher-kva.example", "a" * 64 + "@" + ".".join(["d" * 60] * 3), "a!#$%&'*+/=?^b@localhost"],
)
def test_every_address_is_written_as_it_is_given(to: str) -> None:
    message = message_of(msgspec.structs.replace(LETTER, to=to), "spaces@example.org")
    assert [address.addr_spec for address in message["To"].addresses] == [to]


@pytest.mark.parametrize(
    ("given", "sender"),
    [
        (
            {"mail.from": "Rooms <rooms@example.org>", "mail.user": "me@example.com"},
            "Rooms <rooms@example.org>",
        ),
        ({"mail.user": "me@example.com"}, "me@example.com"),
        (
            {"mail.user": "smtp-user", "server.public_url": "https://rooms.example.org"},
            "no-reply@rooms.example.org",
        ),
        ({}, "no-reply@localhost"),
    ],
)
def test_there_is_always_a_sender(given: dict[str, str], sender: str) -> None:
    assert settings.load({}, overrides=given).mail_sender == sender
    assert message_of(LETTER, sender)["From"] == sender


@pytest.mark.parametrize("sender", ["Rooms", "rooms@", "Rooms <rooms>", "a@example.org\nBcc: b@example.org"])
def test_a_sender_that_is_none_stops_the_start(sender: str) -> None:
    with pytest.raises(SettingsError, match=r"mail\.from"):
        settings.load({}, overrides={"mail.from": sender})
