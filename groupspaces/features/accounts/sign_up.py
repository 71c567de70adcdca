"""Signing up: who may, and everything that happens with it in one batch.

Owns the insert into `user` and its rules, which the insert itself decides: the first account becomes the
operator (and needs the set-up code where strangers could come first), later ones depend on `auth.sign_up` and
on an invite. Never decides what an invite allows: whoever owns invites hands in the statements that use one.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from groupspaces.db.batch import Batch, Statement, Write
from groupspaces.db.changes import NOBODY, NOW_MS, record
from groupspaces.db.database import Database
from groupspaces.errors import AppError, Conflict, FieldError, Forbidden, Invalid
from groupspaces.features.accounts import linked, sessions, usernames, users
from groupspaces.features.accounts.linked import Elsewhere
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.sessions import NewSession, Session
from groupspaces.features.accounts.users import User
from groupspaces.keys import KeyRing
from groupspaces.web.origin import LAST_SUBJECT

# The `credentials_version` that a new person has.
NEWCOMERS_VERSION = 1

_SOMEBODY_EXISTS = "coalesce((SELECT max(id) FROM user), 0) > 0"
_SOMEBODY_EXISTS_SQL = f"SELECT {_SOMEBODY_EXISTS}"

_INSERT_SQL = f"""
INSERT INTO user (email, name, username, password_hash, email_verified_at_ms, is_operator, created_at_ms)
SELECT ?, ?,
  (SELECT value FROM json_each(?)
    WHERE {usernames.IS_FREE} ORDER BY key LIMIT 1),
  ?, CASE WHEN ? THEN {NOW_MS} END, NOT ({_SOMEBODY_EXISTS}), {NOW_MS}
WHERE CASE WHEN {_SOMEBODY_EXISTS} THEN ? ELSE ? END
RETURNING {users.COLUMNS}"""

# The session was inserted just before; the change that tells of it names the person in turn.
_OF_NEW_SESSION = "(SELECT user_id FROM session WHERE id = last_insert_rowid())"
_OF_LAST_CHANGE = "(SELECT actor_id FROM change WHERE seq = last_insert_rowid())"


@dataclass(frozen=True, slots=True)
class Admission:
    """What lets a new person into a space: statements that use the invite (guarded) and insert the member."""

    space_id: int
    statements: Sequence[Statement]


# find(code, email, refused) looks an invite up; None when this instance knows of none by that code. Using it
# is decided by its statements, which raise `refused`.
FindAdmission = Callable[[str, str, AppError], Awaitable[Admission | None]]


@dataclass(frozen=True, slots=True)
class SignUpRules:
    """Who may sign up. The first account must bring one of `setup_codes`; none where only we can come."""

    mode: Literal["open", "invite", "closed"]
    setup_codes: tuple[str, ...]
    find_admission: FindAdmission


@dataclass(frozen=True, slots=True)
class Applicant:
    """Somebody who wants an account; `email` is normalised.

    Whoever signs in `elsewhere` brings no password, and an address that the provider has verified.
    """

    email: str
    name: str
    password: str | None
    invite: str | None
    setup_code: str | None
    elsewhere: Elsewhere | None = None


def setup_codes(keys: KeyRing, public_url: str) -> tuple[str, ...]:
    """Return the codes that let the first account in, none when `public_url` is this machine's own address.

    The first one is printed. It follows from the newest secret, so all instances print the same one. 50 bits, in two groups of five
    letters and digits.
    """
    host = urlsplit(public_url).hostname or ""
    if host == "localhost" or host.endswith(".localhost") or _is_loopback(host):
        return ()
    letters = (base64.b32encode(key)[:10].decode() for key in keys.keys("set-up code"))
    return tuple(f"{code[:5]}-{code[5:]}" for code in letters)


async def sign_up(
    db: Database,
    write: Write,
    passwords: Passwords,
    rules: SignUpRules,
    applicant: Applicant,
    session: NewSession,
) -> tuple[User, Session]:
    """Open an account and sign its owner in. One hash and one round trip.

    Raises Forbidden (`SIGN_UP_CLOSED`, `SETUP_CODE_REQUIRED`), Invalid (`INVITE_INVALID`, `PASSWORD_WEAK`) or
    Conflict (`EMAIL_TAKEN`).
    """
    admission = await _admission(db, rules, applicant)
    given_code = applicant.setup_code or ""
    as_first = not rules.setup_codes or any(_same_code(code, given_code) for code in rules.setup_codes)
    as_later = rules.mode == "open" or admission is not None
    refused = _closed() if as_first else _setup_code_required()
    if not as_first or not as_later:
        exists = await _somebody_exists(db)
        if not (as_later if exists else as_first):
            raise _closed() if exists else _setup_code_required()
    password_hash = ""
    if applicant.password is not None:
        await passwords.refuse_weak(applicant.password, (applicant.name, applicant.email))
        password_hash = await passwords.hash(applicant.password)
    candidates = msgspec.json.encode(usernames.candidates(applicant.name)).decode()
    insert = Statement(
        _INSERT_SQL,
        (
            applicant.email,
            applicant.name,
            candidates,
            password_hash,
            applicant.elsewhere is not None,
            as_later,
            as_first,
        ),
        refused=refused,
    )
    statements = [
        insert,
        sessions.at_sign_up(session, applicant.email),
        record(
            "session.created",
            actor_id=None,
            actor_sql=_OF_NEW_SESSION,
            audience=NOBODY,
            subject_sql="last_insert_rowid()",
        ),
        record(
            "user.created",
            actor_id=None,
            actor_sql=_OF_LAST_CHANGE,
            audience=NOBODY,
            subject_sql=_OF_LAST_CHANGE,
        ),
    ]
    if admission is not None:
        statements += [*admission.statements, _joined(admission)]
    statements += [*_audited(session, admission), *sessions.ending_replaced(session)]
    taken = Conflict("There is an account with this e-mail address. Sign in instead.", code="EMAIL_TAKEN")
    if applicant.elsewhere is not None:
        statements += linked.linking_newcomer(applicant.elsewhere, applicant.email, session.origin)
    conflicts = {"user.email": taken, linked.UNIQUE: taken}
    written = await write(Batch(statements, conflicts=conflicts))
    return users.own_of(written.rows[0][0]), sessions.session_of(
        written.rows[1][0], current=True, confirmed_ms=session.confirmed_ms
    )


async def _admission(db: Database, rules: SignUpRules, applicant: Applicant) -> Admission | None:
    """Look the applicant's invite up, twice where the first look may have been too early."""
    if applicant.invite is None:
        return None
    refused = _closed() if rules.mode != "open" else _invite_invalid()
    admission = await rules.find_admission(applicant.invite, applicant.email, refused)
    if admission is None and await db.catch_up():
        admission = await rules.find_admission(applicant.invite, applicant.email, refused)
    if admission is None:
        raise refused
    return admission


async def _somebody_exists(db: Database) -> bool:
    row = await db.read_one(_SOMEBODY_EXISTS_SQL)
    if row is not None and row[0]:
        return True
    return bool((await db.read_primary(_SOMEBODY_EXISTS_SQL))[0][0])


def _joined(admission: Admission) -> Statement:
    return record(
        "member.joined",
        actor_id=None,
        actor_sql=_OF_LAST_CHANGE,
        space_id=admission.space_id,
        subject_sql=_OF_LAST_CHANGE,
    )


def _audited(session: NewSession, admission: Admission | None) -> list[Statement]:
    """The last change, whichever it is, is about the new person."""
    origin, person = session.origin, f"'user:' || {LAST_SUBJECT}"
    entries = [
        origin.audit("account.created", subject_sql=person, actor_sql=LAST_SUBJECT),
        origin.audit(
            "session.created",
            data={"method": session.method},
            subject_sql="'session:' || (SELECT max(id) FROM session)",
            actor_sql=LAST_SUBJECT,
        ),
    ]
    if admission is not None:
        entries.append(
            origin.audit(
                "member.joined",
                data={"by": "invite"},
                space_id=admission.space_id,
                subject_sql=person,
                actor_sql=LAST_SUBJECT,
            )
        )
    return entries


def _same_code(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.strip().upper().encode())


def _closed() -> Forbidden:
    return Forbidden(
        "New accounts need an invite here. Ask somebody who is a member for a link.", code="SIGN_UP_CLOSED"
    )


def _setup_code_required() -> Forbidden:
    return Forbidden(
        "The first account needs the set-up code that the server printed when it started.",
        code="SETUP_CODE_REQUIRED",
    )


def _invite_invalid() -> Invalid:
    message = (
        "This invite has been used up, has expired or was withdrawn. Leave it out, or ask for a new link."
    )
    return Invalid(message, code="INVITE_INVALID", errors=[FieldError("invite", message)])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
