"""A mail server that keeps what it is sent: aiosmtpd, with TLS and passwords when asked for."""

from __future__ import annotations

import email
import email.policy
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from typing import Any, Self

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from groupspaces.ops.torture.ports import free_port
from tests.support.wait import wait_until

USER, PASSWORD = "groupspaces", "a password for mail"


class Mailbox:
    """Listens on one port, on a thread of its own, also after a `stop` and another `start`.

    `tls` is "none", "starttls" or "tls"; with `with_password` nobody may send who does not give `USER` and `PASSWORD`. `refusals` are
    replies that the next recipients get instead of being accepted.
    """

    def __init__(self, *, tls: str = "none", with_password: bool = False) -> None:
        self.port = free_port()
        self.messages: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.refusals: list[str] = []
        self.refused_logins = 0
        authority = trustme.CA()
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._options: dict[str, Any] = {}
        if tls == "starttls":
            self._options |= {"tls_context": context, "require_starttls": True}
        elif tls == "tls":
            self._options |= {"ssl_context": context}
        if with_password:
            self._options |= {"authenticator": self._is_known, "auth_required": True}
            self._options |= {"auth_require_tls": tls == "starttls"}
        self._controller: Controller | None = None

    def start(self) -> Self:
        """Listen."""
        self._controller = Controller(self, hostname="localhost", port=self.port, **self._options)
        self._controller.start()
        return self

    def stop(self) -> None:
        """Be away."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    async def letter(self, to: str, subject: str = "") -> EmailMessage:
        """Wait for the newest letter to somebody, with these words in its subject."""

        def found() -> EmailMessage | None:
            return next(
                (one for one in reversed(self.messages) if one["To"] == to and subject in one["Subject"]),
                None,
            )

        return await wait_until(found, what=f"a letter to {to}: {subject}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- for aiosmtpd ---

    async def handle_RCPT(  # noqa: N802  (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.envelopes.append(envelope)
        self.messages.append(message)
        return "250 Kept"

    def _is_known(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        if (data.login, data.password) == (USER.encode(), PASSWORD.encode()):
            return AuthResult(success=True)
        self.refused_logins += 1
        return AuthResult(success=False, handled=False)


def link_in(letter: EmailMessage) -> str:
    """Return the one link of a letter that carries a token."""
    [link] = re.findall(r"^https?://\S+#\S+$", text_of(letter), re.MULTILINE)
    return str(link)


def token_in(letter: EmailMessage) -> str:
    """Return the token of a letter's link."""
    return link_in(letter).partition("#")[2]


def text_of(letter: EmailMessage) -> str:
    """Return what is written."""
    return str(letter.get_content()).replace("\r\n", "\n")


@pytest.fixture
def start_mailbox() -> Iterator[Callable[..., Mailbox]]:
    """Start mail servers: `start_mailbox(tls="starttls", with_password=True)`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Mailbox(**options))
