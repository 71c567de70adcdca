"""Mail: plain-text letters to one person each, sent in the background by SMTP.

Owns the form of a message (fixed Message-ID and Date, so that a repeated attempt is the same message), the waiting ones and their
retries. Nobody waits for a letter, and one whose server is away or asks for patience is tried again for some minutes; a process that
ends takes its waiting letters with it, which is why whoever needs one can ask for another. Every process sends its own. Never logs an
address, a subject or a text.
"""

from __future__ import annotations

import asyncio
import email.policy
import logging
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid, parseaddr

import msgspec

from .logging_context import log
from .settings import Mail

# A server that is started anew, or one that makes strangers wait (greylisting: 5 minutes), is there again by the last of them.
RETRY_AFTER_S: Sequence[float] = (2, 15, 60, 360)

# More letters than this wait nowhere: a server that is away for long must not fill the memory.
_MAX_WAITING = 500
# Mail servers count connections.
_AT_A_TIME = 2
_TIMEOUT_S = 20.0
_DRAIN_S = 3.0
_TLS_PORT = 465

# Headers in ASCII with CRLF. The policy refuses line ends in a header's value.
_POLICY = email.policy.SMTP

_log = logging.getLogger("groupspaces.mail")


class Letter(msgspec.Struct, frozen=True):
    """What one person is written. `kind` is a word for the log; `to` is an address in its canonical spelling."""

    kind: str
    to: str
    subject: str
    text: str


class _Refused(Exception):
    """Raised when the server will not take this letter however often it is tried; the text names no address."""


class _Later(Exception):
    """Raised when another attempt may do; the text names no address."""


class Mailer:
    """Send letters. For one event loop."""

    def __init__(
        self,
        settings: Mail,
        sender: str,
        *,
        tls: ssl.SSLContext | None = None,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
    ) -> None:
        """`sender` is whom letters are from; `tls` says which authorities are trusted, by default those of the system."""
        self._settings = settings
        self._sender = sender
        self._tls = tls
        self._retry_after_s = retry_after_s
        self._turns = asyncio.Semaphore(_AT_A_TIME)
        self._waiting: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def is_configured(self) -> bool:
        """Tell whether letters can be sent at all: otherwise links are handed over by operators."""
        return bool(self._settings.host)

    def send(self, letter: Letter) -> bool:
        """Send a letter soon; False when that is impossible: mail is not configured, stops, or too much waits already."""
        if not self.is_configured or self._stopping.is_set():
            return False
        if len(self._waiting) >= _MAX_WAITING:
            log(_log, logging.ERROR, "mail dropped: too much is waiting", kind=letter.kind)
            return False
        try:
            message = message_of(letter, self._sender)
        except ValueError:
            log(
                _log,
                logging.ERROR,
                "mail refused",
                kind=letter.kind,
                reason="the address is none to write to",
            )
            return False
        task = asyncio.create_task(self._deliver(letter, message), name=f"mail {letter.kind}")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return True

    async def close(self) -> None:
        """Give letters that are just being sent a moment; the others are given up."""
        self._stopping.set()
        if self._waiting:
            _, late = await asyncio.wait(self._waiting, timeout=_DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _deliver(self, letter: Letter, message: EmailMessage) -> None:
        for attempt, pause_s in enumerate((*self._retry_after_s, None), start=1):
            facts = {"kind": letter.kind, "attempt": attempt}
            try:
                async with self._turns:
                    await self._attempt(letter, message)
            except _Refused as error:
                log(_log, logging.ERROR, "mail refused", reason=str(error), **facts)
                return
            except _Later as error:
                log(_log, logging.WARNING, "mail not sent yet", reason=str(error), **facts)
            else:
                log(_log, logging.INFO, "mail sent", **facts)
                return
            if pause_s is None or await self._stops_within(pause_s):
                log(_log, logging.ERROR, "mail given up", **facts)
                return

    async def _stops_within(self, pause_s: float) -> bool:
        """Wait before the next attempt; True when the process ends meanwhile."""
        try:
            await asyncio.wait_for(self._stopping.wait(), pause_s)
        except TimeoutError:
            return False
        return True

    async def _attempt(self, letter: Letter, message: EmailMessage) -> None:
        """Hand the message to the server once. Raises _Later or _Refused, with what the server's reply meant, not what it said."""
        import aiosmtplib  # 0.1 s of import that whoever sends no mail need not wait for

        settings = self._settings
        try:
            await aiosmtplib.send(
                message,
                sender=parseaddr(self._sender)[1],
                recipients=[letter.to],
                hostname=settings.host,
                port=settings.port,
                username=settings.user or None,
                password=settings.password or None,
                timeout=_TIMEOUT_S,
                use_tls=self._is_tls_from_the_start,
                start_tls=self._start_tls,
                tls_context=self._tls,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refusal(error.recipients[0]) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _refusal(error) from None
        except aiosmtplib.SMTPNotSupported:
            raise _Refused(
                "the server offers neither what the settings ask for nor what the address needs"
            ) from None
        except ssl.SSLError as error:
            raise _Later(f"TLS: {error.reason or type(error).__name__}") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _Later(type(error).__name__) from None

    @property
    def _is_tls_from_the_start(self) -> bool:
        return self._settings.tls == "tls" or (
            self._settings.tls == "auto" and self._settings.port == _TLS_PORT
        )

    @property
    def _start_tls(self) -> bool | None:
        """None: if the server offers it. A password is never sent in the clear unless the settings say so."""
        if self._settings.tls == "auto" and not self._is_tls_from_the_start:
            return True if self._settings.user else None
        return self._settings.tls == "starttls"


def message_of(letter: Letter, sender: str) -> EmailMessage:
    """Return the message, with everything that makes it this one.

    Raises ValueError for an address of which a header would make anything else.
    """
    name, address = parseaddr(sender)
    username, _, domain = letter.to.rpartition("@")
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address(name, addr_spec=address)
    message["To"] = Address(username=username, domain=domain)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
    # No vacation message answers a letter that nobody has written (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    _refuse_other_headers(message, letter.to)
    return message


def _refuse_other_headers(message: EmailMessage, to: str) -> None:
    """Raise ValueError where the bytes that would be sent hold other headers than ours, or another recipient.

    The library parses what it is given once more, and decodes what it finds in it.
    """
    written = message.as_bytes(policy=_POLICY.clone(utf8=True)).decode()
    headers = written.partition("\r\n\r\n")[0].replace("\r\n ", " ").split("\r\n")
    names = [line.partition(":")[0] for line in headers]
    is_ours = names == list(message.keys()) and headers[names.index("To")].removeprefix("To:").strip() == to
    if not is_ours or [address.addr_spec for address in message["To"].addresses] != [to]:
        raise ValueError("not what a header can hold")


def _refusal(error: object) -> _Refused | _Later:
    """Tell a refusal for good (5xx) from one for now (4xx). Only the code is repeated: the text may name the recipient."""
    code = int(getattr(error, "code", 0))
    reason = f"{type(error).__name__} {code}"
    return _Refused(reason) if code >= 500 else _Later(reason)
