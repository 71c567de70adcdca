"""The HTTP calls of accounts: signing up, in and out, sessions, profiles.

Owns what requests may contain. Normalises e-mail addresses and names; everything else happens in the noun
modules.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from groupspaces.db.batch import Value
from groupspaces.email_addresses import canonical
from groupspaces.errors import FieldError, Forbidden, Invalid, Unauthenticated
from groupspaces.features.accounts import sessions, usernames, users
from groupspaces.features.accounts import sign_in as signing_in
from groupspaces.features.accounts import sign_up as signing_up
from groupspaces.features.accounts.access import SHARES_A_SPACE
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.links import Links
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.second_factor import SecondFactor
from groupspaces.features.accounts.sessions import NewSession, Session
from groupspaces.features.accounts.sign_in import Given
from groupspaces.features.accounts.sign_up import NEWCOMERS_VERSION, Applicant, SignUpRules
from groupspaces.features.accounts.users import PublicUser, User
from groupspaces.mail import Mailer
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.operations import IN_PERSON, PUBLIC, SIGNED_IN, Operation, operation

# One line of text with something visible in it, and nothing that changes the direction of what follows.
# (Control characters are refused everywhere.) The look-ahead keeps the pattern linear. What is no space and yet nothing to see: Unicode's
# Default_Ignorable_Code_Point, and the blanks of Braille and Hangul.
_UNSEEN = r"\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0"
ONE_LINE = rf"^(?=[{_UNSEEN}]*[^{_UNSEEN}])[^\n\t\u200e\u200f\u2028-\u202e\u2066-\u2069]*$"
_EMAIL = r"^ *[^@\s]+@[^@\s]+ *$"


Email = Annotated[str, Meta(max_length=254, pattern=_EMAIL, description="Case does not matter.")]
Name = Annotated[str, Meta(min_length=1, max_length=80, pattern=ONE_LINE)]
Username = Annotated[
    str, Meta(min_length=usernames.MIN_CHARS, max_length=usernames.MAX_CHARS, pattern=usernames.PATTERN)
]
NewPassword = Annotated[str, Meta(min_length=8, max_length=256)]
Emoji = Annotated[str, Meta(min_length=1, max_length=16, pattern=ONE_LINE)]


class SignUp(msgspec.Struct, forbid_unknown_fields=True):
    email: Email
    password: NewPassword
    name: Name
    invite: Annotated[str, Meta(max_length=64)] | None = None
    setup_code: Annotated[str, Meta(max_length=64)] | None = None


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Either `email` and `password`, with `totp` (six digits, or a recovery code) where it is asked for, or `link` alone."""

    email: Email | None = None
    password: Annotated[str, Meta(max_length=256)] | None = None
    totp: Annotated[str, Meta(max_length=64)] | None = None
    link: Annotated[str, Meta(min_length=1, max_length=4096)] | None = None


class SignedIn(msgspec.Struct):
    user: User
    session: Session


class ProfileChanges(msgspec.Struct, forbid_unknown_fields=True):
    """What to change about oneself; fields left out stay as they are."""

    name: Name | UnsetType = UNSET
    username: Username | UnsetType = UNSET
    avatar_emoji: Emoji | UnsetType | None = UNSET
    bio: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    locale: (
        Annotated[str, Meta(max_length=20, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)")]
        | UnsetType
        | None
    ) = UNSET
    theme: Literal["light", "dark", "system"] | UnsetType | None = UNSET


class SessionsQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class SessionList(msgspec.Struct):
    items: list[Session]
    next: int | None


@operation(
    "POST",
    "/api/auth/sign-up",
    access=PUBLIC,
    summary="Open an account",
    tag="Authentication",
    body=SignUp,
    returns=SignedIn,
    status=201,
)
async def post_sign_up(ctx: Context, body: SignUp) -> SignedIn:
    refuse_passwords_switched_off(ctx)
    applicant = Applicant(
        email=normalised(body.email),
        name=body.name.strip(),
        password=body.password,
        invite=body.invite or None,
        setup_code=body.setup_code,
    )
    new = new_session(ctx, "password")
    user, session = await signing_up.sign_up(
        ctx.services.db, ctx.write, ctx.part(Passwords), ctx.part(SignUpRules), applicant, new
    )
    link = ctx.part(Links).make("verify", user.id, NEWCOMERS_VERSION, email=user.email)
    ctx.part(Mailer).send(ctx.part(Letters).verify(user.email, link))
    return signed_in(ctx, new, user, session)


@operation(
    "POST",
    "/api/auth/sign-in",
    access=PUBLIC,
    summary="Sign in with e-mail address and password, or by a link",
    tag="Authentication",
    body=SignIn,
    returns=SignedIn,
    rate="auth",
    during_maintenance=True,
)
async def post_sign_in(ctx: Context, body: SignIn) -> SignedIn:
    db = ctx.services.db
    if body.link is not None:
        claim = ctx.part(Links).open("enter", body.link)
        new = new_session(ctx, "link", ceremony=claim.ceremony)
        return signed_in(ctx, new, *await signing_in.by_link(db, ctx.write, claim, new))
    if body.email is None or body.password is None:
        missing = "email" if body.email is None else "password"
        raise Invalid(f"{missing} is required.", errors=[FieldError(missing, "is required")])
    refuse_passwords_switched_off(ctx)
    given = Given(normalised(body.email), body.password, body.totp)
    new = new_session(ctx, "password")
    user, session = await signing_in.sign_in(
        db, ctx.write, ctx.part(Passwords), ctx.part(SecondFactor), given, new
    )
    return signed_in(ctx, new, user, session)


@operation(
    "POST",
    "/api/auth/sign-out",
    access=IN_PERSON,
    summary="End this session",
    tag="Authentication",
    for_unverified=True,
    during_maintenance=True,
)
async def post_sign_out(ctx: Context) -> None:
    await sessions.end_own(ctx.write, ctx.user_id, session_id_of(ctx), ctx.origin)
    ctx.clear_session()


@operation(
    "GET",
    "/api/auth/session",
    access=IN_PERSON,
    summary="Who is signed in here",
    tag="Authentication",
    returns=SignedIn,
)
async def get_session(ctx: Context) -> SignedIn:
    session = await sessions.one(ctx.read, session_id_of(ctx), confirmed_ms=confirmed_ms(ctx))
    return SignedIn(await users.own(ctx.read, ctx.user_id), session)


@operation(
    "GET",
    "/api/auth/sessions",
    access=IN_PERSON,
    summary="Devices you are signed in on, newest first",
    tag="Authentication",
    query=SessionsQuery,
    returns=SessionList,
)
async def get_sessions(ctx: Context, query: SessionsQuery) -> SessionList:
    found = await sessions.page(
        ctx.read,
        ctx.user_id,
        current_id=session_id_of(ctx),
        before_id=query.cursor or MAX_ID,
        now_ms=ctx.now_ms,
        confirmed_ms=confirmed_ms(ctx),
        limit=query.limit + 1,
    )
    items = found[: query.limit]
    return SessionList(items, items[-1].id if len(found) > query.limit else None)


@operation(
    "DELETE",
    "/api/auth/sessions/{session_id}",
    access=IN_PERSON,
    summary="End one of your sessions",
    tag="Authentication",
    for_unverified=True,
    during_maintenance=True,
)
async def delete_session(ctx: Context) -> None:
    session_id = ctx.params["session_id"]
    await sessions.revoke(ctx.write, ctx.user_id, session_id, ctx.origin)
    if session_id == session_id_of(ctx):
        ctx.clear_session()


@operation("GET", "/api/users/me", access=SIGNED_IN, summary="Your profile", tag="People", returns=User)
async def get_me(ctx: Context) -> User:
    return await users.own(ctx.read, ctx.user_id)


@operation(
    "PATCH",
    "/api/users/me",
    access=SIGNED_IN,
    summary="Change your profile",
    tag="People",
    body=ProfileChanges,
    returns=User,
    for_unverified=True,
)
async def patch_me(ctx: Context, body: ProfileChanges) -> User:
    if isinstance(body.username, str):
        usernames.check(body.username)
    return await users.change_profile(
        ctx.write,
        ctx.services.db.read_primary,
        ctx.user_id,
        changed_columns(body),
        expected_version=ctx.expected_version,
    )


@operation(
    "GET",
    "/api/users/{user_id}",
    access=SHARES_A_SPACE,
    summary="Somebody you share a space with",
    tag="People",
    returns=PublicUser,
)
async def get_user(ctx: Context) -> PublicUser:
    return await users.public(ctx.read, ctx.params["user_id"])


OPERATIONS: tuple[Operation, ...] = (
    post_sign_up,
    post_sign_in,
    post_sign_out,
    get_session,
    get_sessions,
    delete_session,
    get_me,
    patch_me,
    get_user,
)


def changed_columns(changes: Any) -> dict[str, Value]:
    """Return the fields that a PATCH gave, single lines stripped; its field names are column names.

    Raises Invalid when it gave none.
    """
    given = {
        name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not UNSET
    }
    if not given:
        raise Invalid("Say what to change: give at least one field.")
    return {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}


def normalised(email: str) -> str:
    """Return the one spelling under which an e-mail address is stored. Raises Invalid for what is none."""
    try:
        return canonical(email)
    except ValueError:
        message = "is not an e-mail address"
        raise Invalid(f"email {message}.", errors=[FieldError("email", message)]) from None


def refuse_passwords_switched_off(ctx: Context) -> None:
    """Raise Forbidden (`PASSWORD_SIGN_IN_OFF`) where people sign in by other means alone."""
    if not ctx.services.settings.auth.password_sign_in:
        raise Forbidden("People do not sign in with a password here.", code="PASSWORD_SIGN_IN_OFF")


def new_session(ctx: Context, method: str, *, ceremony: bytes | None = None) -> NewSession:
    """Make a session for this browser, in place of the one it may have had: whoever that was has no part in what follows.

    It may have ended, which may be why they sign in.
    """
    before, ctx.principal = ctx.principal, None
    replaced = None
    if before is not None and before.session_id is not None:
        replaced = before.user_id, before.session_id
    user_agent = ctx.headers_in.get(b"user-agent", b"").decode("latin-1")
    auth = ctx.services.settings.auth
    return sessions.new_session(
        user_agent,
        auth.session_days,
        confirmed_min=auth.confirm_min,
        origin=ctx.origin,
        method=method,
        ceremony=ceremony,
        replaced=replaced,
    )


def session_id_of(ctx: Context) -> int:
    """Return the id of the session that asks; for operations that no API token may call."""
    if ctx.principal is None or ctx.principal.session_id is None:
        raise Unauthenticated("Sign in first.")
    return ctx.principal.session_id


def signed_in(ctx: Context, new: NewSession, user: User, session: Session) -> SignedIn:
    """Give the browser its cookie and return who is signed in."""
    ctx.set_session(new.token, max_age_s=new.lifetime_ms // 1000)
    ctx.remember_device(user.email)
    return SignedIn(user, session)


def confirmed_ms(ctx: Context) -> int:
    """Return for how long somebody counts as confirmed."""
    return ctx.services.settings.auth.confirm_min * 60_000
