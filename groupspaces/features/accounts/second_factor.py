"""The second factor: six digits from an authenticator (TOTP, RFC 6238), or a recovery code in their place.

Owns the tables `totp` and `recovery_code`. A secret is stored encrypted and counts once its holder has shown a right code; the
step of each code that was used is kept, so that none works twice. Whether a code is right is looked up here for speed, and decided
in the batch that opens the session. Never opens one, and never knows a password.
"""

from __future__ import annotations

import asyncio
import hmac
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import NOBODY, NOW_MS, audience_user, record, record_if_changed
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Conflict, FieldError, Invalid, Unauthenticated
from groupspaces.features.accounts import recovery_codes
from groupspaces.keys import KeyRing, Undecryptable
from groupspaces.times import rfc3339
from groupspaces.web.origin import Origin

# What every authenticator app can do: SHA-1, six digits, a new code each 30 s. One step either way forgives a clock that is off.
_STEP_MS = 30_000
_WINDOW_STEPS = 1
_DIGITS = 6

PURPOSE = "totp"

_ENABLED_SQL = "SELECT secret, last_step FROM totp WHERE user_id = ? AND confirmed_at_ms IS NOT NULL"
_PENDING_SQL = "SELECT secret FROM totp WHERE user_id = ? AND confirmed_at_ms IS NULL"
_STATUS_SQL = """
SELECT (SELECT confirmed_at_ms FROM totp WHERE user_id = ?1),
  (SELECT count(*) FROM recovery_code WHERE user_id = ?1 AND used_at_ms IS NULL)"""

_BEGIN_SQL = f"""
INSERT INTO totp (user_id, secret, created_at_ms) VALUES (?, ?, {NOW_MS})
ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, created_at_ms = excluded.created_at_ms, last_step = 0
WHERE totp.confirmed_at_ms IS NULL"""
_ENABLE_SQL = f"""
UPDATE totp SET confirmed_at_ms = {NOW_MS}, last_step = ?
WHERE user_id = ? AND confirmed_at_ms IS NULL AND secret = ?"""

# A code of a step that was used, or of one before it, is a repeat: of whoever looked over a shoulder. The secret moves on to the
# newest key, unless the one that was read here has moved on already.
_USE_STEP_SQL = """
UPDATE totp SET last_step = ?1, secret = CASE WHEN secret = ?2 THEN ?3 ELSE secret END
WHERE user_id = ?4 AND confirmed_at_ms IS NOT NULL AND last_step < ?1"""
_UNUSED_CODE_SQL = "SELECT 1 FROM recovery_code WHERE user_id = ? AND code_hash = ? AND used_at_ms IS NULL"
_USE_CODE_SQL = f"""
UPDATE recovery_code SET used_at_ms = {NOW_MS} WHERE user_id = ? AND code_hash = ? AND used_at_ms IS NULL"""
_FORGET_CODES_SQL = "DELETE FROM recovery_code WHERE user_id = ?"

_MOVE_ON_SQL = "UPDATE user SET credentials_version = credentials_version + 1 WHERE id = ?"


class Totp(msgspec.Struct):
    """Whether an authenticator is asked for, since when (RFC 3339 in UTC), and how many recovery codes are unused."""

    enabled: bool
    enabled_at: str | None
    recovery_codes_left: int


class Enrolment(msgspec.Struct):
    """A new secret, as text to type, as the link an authenticator opens, and as its QR code (an SVG of no fixed size)."""

    secret: str
    uri: str
    qr_svg: str


class SecondFactor:
    """Ask for the second factor, switch it on and off."""

    def __init__(self, keys: KeyRing, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def check(
        self, db: Database, user_id: int, code: str | None, *, origin: Origin
    ) -> Sequence[Statement]:
        """Return the statements that have to succeed before a session is opened: none for people without a second factor.

        Raises Unauthenticated (`TOTP_REQUIRED` without a code, else `TOTP_WRONG`), and so do the statements when the code has
        been used meanwhile. An instance that may be behind looks again before it says no. `origin` is that of the sign-in.
        """
        try:
            return await self._proof(db.read, user_id, code, origin)
        except Unauthenticated:
            if not await db.catch_up():
                raise
        return await self._proof(db.read, user_id, code, origin)

    async def begin(self, write: Write, user_id: int, email: str, issuer: str) -> Enrolment:
        """Store a new secret that does not count yet, instead of an earlier one that did not. One round trip.

        Raises Conflict (`TOTP_ON`) when one counts already.
        """
        import pyotp  # 5 MB that most instances need never

        secret = pyotp.random_base32()
        sealed = self._sealed(user_id, secret)
        await write(
            Batch(
                [
                    Statement(_BEGIN_SQL, (user_id, sealed), refused=_is_on()),
                    record("totp.begun", actor_id=user_id, audience=NOBODY, subject_id=user_id),
                ]
            )
        )
        uri = pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)
        return Enrolment(secret, uri, await asyncio.to_thread(_qr_svg, uri))

    async def enable(self, db: Database, write: Write, user_id: int, code: str, origin: Origin) -> list[str]:
        """Ask for the authenticator from now on, if this is its code, and return new recovery codes. One round trip.

        Whoever is signed in stays so. Raises Invalid (`TOTP_WRONG`) and Conflict (`TOTP_ON`).
        """
        sealed, step = await self._pending(db, user_id, code)
        codes = recovery_codes.new_codes()
        await write(
            Batch(
                [
                    Statement(_ENABLE_SQL, (step, user_id, sealed), refused=_wrong_at_set_up()),
                    *_kept(user_id, codes),
                    Statement(_MOVE_ON_SQL, (user_id,)),
                    _user_updated(user_id),
                    origin.audit("totp.enabled", f"user:{user_id}"),
                ]
            )
        )
        return codes

    async def disable(self, write: Write, user_id: int, origin: Origin) -> bool:
        """Ask for the password alone from now on, and tell whether more was asked for until now. One round trip."""
        written = await write(
            Batch(
                [
                    Statement(_FORGET_CODES_SQL, (user_id,)),
                    Statement("DELETE FROM totp WHERE user_id = ? AND confirmed_at_ms IS NULL", (user_id,)),
                    Statement(f"{_MOVE_ON_SQL} AND EXISTS ({_ENABLED_SQL})", (user_id, user_id)),
                    Statement("DELETE FROM totp WHERE user_id = ?", (user_id,)),
                    record_if_changed(
                        "user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id
                    ),
                    origin.audit("totp.disabled", f"user:{user_id}", where="WHERE changes() > 0"),
                ]
            )
        )
        return written.seq > 0

    async def renew_codes(self, write: Write, user_id: int, origin: Origin) -> list[str]:
        """Return new recovery codes; the earlier ones are worth nothing any more. One round trip.

        Raises Conflict (`TOTP_OFF`) for people without an authenticator.
        """
        codes = recovery_codes.new_codes()
        off = Conflict("Switch two-factor sign-in on first.", code="TOTP_OFF")
        await write(
            Batch(
                [
                    *_kept(user_id, codes),
                    _user_updated(user_id),
                    origin.audit("recovery_codes.renewed", f"user:{user_id}"),
                ],
                requires=[Statement(_ENABLED_SQL, (user_id,), refused=off)],
            )
        )
        return codes

    async def _proof(self, read: Read, user_id: int, code: str | None, origin: Origin) -> Sequence[Statement]:
        rows: Any = await read(_ENABLED_SQL, (user_id,))
        if not rows:
            return ()
        if code is None or not code.strip():
            raise Unauthenticated("Give the code that your authenticator shows.", code="TOTP_REQUIRED")
        hashed = recovery_codes.code_hash(code)
        if hashed is not None:
            return await self._recovery(read, user_id, hashed, origin)
        sealed, last_step = rows[0]
        refused = _wrong()
        secret, is_current = self._opened(user_id, sealed, refused)
        step = self._step_of(secret, code, after=last_step)
        if step is None:
            raise refused
        anew = sealed if is_current else self._sealed(user_id, secret)
        return [Statement(_USE_STEP_SQL, (step, sealed, anew, user_id), refused=refused)]

    async def _recovery(self, read: Read, user_id: int, hashed: bytes, origin: Origin) -> Sequence[Statement]:
        if not await read(_UNUSED_CODE_SQL, (user_id, hashed)):
            raise _wrong()
        use = Statement(_USE_CODE_SQL, (user_id, hashed), refused=_wrong())
        return [use, replace(origin, actor_id=user_id).audit("recovery_code.used", f"user:{user_id}")]

    async def _pending(self, db: Database, user_id: int, code: str) -> tuple[bytes, int]:
        """Return the secret that waits for its first code, as stored, and the step of that code."""
        found = await self._pending_here(db.read, user_id, code)
        if found is None and await db.catch_up():
            found = await self._pending_here(db.read, user_id, code)
        if found is None:
            raise _is_on() if await db.read(_ENABLED_SQL, (user_id,)) else _wrong_at_set_up()
        return found

    async def _pending_here(self, read: Read, user_id: int, code: str) -> tuple[bytes, int] | None:
        rows: Any = await read(_PENDING_SQL, (user_id,))
        if not rows:
            return None
        sealed: bytes = rows[0][0]
        secret, _ = self._opened(user_id, sealed, _wrong_at_set_up())
        step = self._step_of(secret, code, after=0)
        return None if step is None else (sealed, step)

    def _step_of(self, secret: str, code: str, *, after: int) -> int | None:
        """Return the step around now, later than `after`, whose code this is."""
        import pyotp

        typed = "".join(code.split())
        if len(typed) != _DIGITS or not (typed.isascii() and typed.isdigit()):
            return None
        totp = pyotp.TOTP(secret)
        now = self._clock.now_ms() // _STEP_MS
        around = range(now - _WINDOW_STEPS, now + _WINDOW_STEPS + 1)
        right = [step for step in around if hmac.compare_digest(totp.generate_otp(step), typed)]
        return next((step for step in right if step > after), None)

    def _sealed(self, user_id: int, secret: str) -> bytes:
        return self._keys.encrypt(PURPOSE, secret.encode(), context_of(user_id))

    def _opened(self, user_id: int, sealed: bytes, refused: AppError) -> tuple[str, bool]:
        try:
            secret, is_current = self._keys.decrypt(PURPOSE, sealed, context_of(user_id))
        except Undecryptable:
            # auth.secret was replaced and the one before was not kept: the person is not locked out for good.
            refused.detail = "Codes of your authenticator cannot be checked any more. Use a recovery code, or ask an operator."
            raise refused from None
        return secret.decode(), is_current


async def status(read: Read, user_id: int) -> Totp:
    """Return how a person's second factor stands."""
    confirmed_at_ms, left = (await read(_STATUS_SQL, (user_id,)))[0]
    at_ms = None if confirmed_at_ms is None else int(str(confirmed_at_ms))
    return Totp(at_ms is not None, None if at_ms is None else rfc3339(at_ms), int(str(left)))


def _kept(user_id: int, codes: list[str]) -> list[Statement]:
    """Return the statements that replace somebody's recovery codes."""
    hashes = [recovery_codes.code_hash(code) for code in codes]
    rows = ", ".join(f"(?1, ?{index})" for index in range(2, len(hashes) + 2))
    return [
        Statement(_FORGET_CODES_SQL, (user_id,)),
        Statement(f"INSERT INTO recovery_code (user_id, code_hash) VALUES {rows}", (user_id, *hashes)),
    ]


def _user_updated(user_id: int) -> Statement:
    return record("user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id)


def context_of(user_id: int) -> bytes:
    """Return to what an authenticator's secret is bound when it is encrypted."""
    return f"user:{user_id}".encode()


def _qr_svg(uri: str) -> str:
    """Draw a QR code without a size and without styles; black on a light ground whatever the page's is (20 ms)."""
    import segno

    svg = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        svg,
        kind="svg",
        xmldecl=False,
        nl=False,
        omitsize=True,
        svgclass=None,
        lineclass=None,
        dark="#000",
        light="#fff",
        title="QR code for your authenticator",
    )
    return svg.getvalue().decode().replace("<svg ", '<svg role="img" ', 1)


def _wrong() -> Unauthenticated:
    return Unauthenticated(
        "This code is not right, or was used before. Wait for the next.", code="TOTP_WRONG"
    )


def _wrong_at_set_up() -> Invalid:
    message = "This code is not right. Is the clock of your device right? Begin anew if another code was shown since."
    return Invalid(message, code="TOTP_WRONG", errors=[FieldError("code", message)])


def _is_on() -> Conflict:
    return Conflict(
        "Two-factor sign-in is on already. Switch it off first to use another device.", code="TOTP_ON"
    )
