"""The HTTP calls of signing in elsewhere: which ways in there are, going to a provider and coming back, and what is linked.

Owns what a browser is sent to. Whoever comes back is led to a page in any case: what went wrong is named in its query (`problem`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta
from starlette.responses import RedirectResponse, Response

from groupspaces.errors import AppError, Forbidden, NotFound, Unauthenticated
from groupspaces.features.accounts import linked, oauth_flow
from groupspaces.features.accounts import sign_up as signing_up
from groupspaces.features.accounts.api import new_session, normalised, session_id_of, signed_in
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.linked import Elsewhere, Linked
from groupspaces.features.accounts.oauth_flow import Flow, FlowPurpose, Flows
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.providers import Provider, ProviderFailed, Providers, Stranger
from groupspaces.features.accounts.sign_up import Applicant, SignUpRules
from groupspaces.logging_context import log
from groupspaces.mail import Mailer
from groupspaces.web.context import Context
from groupspaces.web.operations import CONFIRMED, IN_PERSON, PUBLIC, ForTokens, Operation, operation

_log = logging.getLogger("groupspaces.accounts")

_FAILED = "OAUTH_FAILED"
_NAME_MAX_CHARS = 80


class ProviderView(msgspec.Struct):
    """A provider as the sign-in page offers it."""

    id: str
    name: str
    start_url: str


class WaysIn(msgspec.Struct):
    """How people get in here. `mail` tells whether forgotten passwords are answered by mail."""

    password: bool
    passkeys: bool
    sign_up: Literal["open", "invite", "closed"]
    mail: bool
    items: list[ProviderView]


class StartQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    next: Annotated[str, Meta(max_length=500)] | None = None
    invite: Annotated[str, Meta(max_length=64)] | None = None
    purpose: FlowPurpose = "sign-in"


class LinkedList(msgspec.Struct):
    items: list[Linked]
    next: None


@dataclass(frozen=True, slots=True)
class _AtAProvider:
    """Everybody, for a provider that is set up."""

    name: str = PUBLIC.name
    for_tokens: ForTokens = PUBLIC.for_tokens
    is_of_a_space: bool = False

    async def check(self, ctx: Context) -> None:
        """Raise NotFound for one that is not."""
        _provider(ctx)


_AT_A_PROVIDER = _AtAProvider()


@operation(
    "GET",
    "/api/auth/providers",
    access=PUBLIC,
    summary="Ways to sign in here",
    tag="Authentication",
    returns=WaysIn,
    reads_data=False,
)
async def get_providers(ctx: Context) -> WaysIn:
    auth = ctx.services.settings.auth
    items = [ProviderView(found.id, found.name, f"/auth/{found.id}/start") for found in ctx.part(Providers)]
    return WaysIn(auth.password_sign_in, True, auth.sign_up, ctx.part(Mailer).is_configured, items)


@operation(
    "GET",
    "/auth/{provider}/start",
    access=_AT_A_PROVIDER,
    needs_session=False,
    summary="Go to a provider to sign in, or to link the account there",
    tag="Authentication",
    query=StartQuery,
    raw=True,
    status=303,
    reads_data=False,
)
async def get_start(ctx: Context, query: StartQuery) -> Response:
    """Answer with the way there. Linking needs a session that was confirmed lately, and a click on a page of ours."""
    provider = _provider(ctx)
    if query.purpose == "link":
        ctx.require_confirmed()
        ctx.refuse_other_sites()
    try:
        started = await provider.start(_callback_url(ctx, provider))
    except ProviderFailed as error:
        _note(provider, error)
        return _to_page(query.purpose, _FAILED)
    flow = Flow(
        provider.id,
        started,
        query.purpose,
        oauth_flow.own_path(query.next),
        query.invite,
        session_id_of(ctx) if query.purpose == "link" else None,
    )
    ctx.headers_out.append(ctx.part(Flows).begin(flow))
    return _to(started.url)


@operation(
    "GET",
    "/auth/{provider}/callback",
    access=_AT_A_PROVIDER,
    needs_session=False,
    summary="Come back from a provider",
    tag="Authentication",
    raw=True,
    status=303,
)
async def get_callback(ctx: Context) -> Response:
    provider = _provider(ctx)
    answer = dict(ctx.request.query_params)
    flows = ctx.part(Flows)
    ctx.headers_out.append(flows.end())
    flow = flows.open(ctx.request.cookies.get(flows.cookie), provider.id, answer.get("state", ""))
    if flow is None:
        return _to_page("sign-in", _FAILED)
    try:
        stranger = _with_normal_email(
            await provider.finish(answer, flow.started, _callback_url(ctx, provider))
        )
        if flow.purpose == "link":
            return await _link(ctx, provider, flow, stranger)
        return await _sign_in(ctx, provider, flow, stranger)
    except ProviderFailed as error:
        _note(provider, error)
        return _to_page(flow.purpose, _FAILED)
    except AppError as error:
        return _to_page(flow.purpose, error.code, flow.invite)


@operation(
    "GET",
    "/api/auth/linked",
    access=IN_PERSON,
    summary="Accounts elsewhere by which you sign in here",
    tag="Authentication",
    returns=LinkedList,
)
async def get_linked(ctx: Context) -> LinkedList:
    return LinkedList(await linked.page(ctx.read, ctx.user_id, ctx.part(Providers)), None)


@operation(
    "DELETE",
    "/api/auth/linked/{linked_id}",
    access=CONFIRMED,
    summary="Unlink an account elsewhere",
    tag="Authentication",
    for_unverified=True,
)
async def delete_linked(ctx: Context) -> None:
    await linked.unlink(ctx.write, ctx.user_id, ctx.params["linked_id"], ctx.origin, ctx.part(LastWayIn))


OPERATIONS: tuple[Operation, ...] = (get_providers, get_start, get_callback, get_linked, delete_linked)


async def _sign_in(ctx: Context, provider: Provider, flow: Flow, stranger: Stranger) -> Response:
    """Sign in whoever this is, or make them an account where that is allowed."""
    new = new_session(ctx, provider.id, ceremony=f"{provider.id} {flow.started.state}".encode())
    found = await linked.sign_in(ctx.services.db, ctx.write, provider.id, stranger, new)
    if found is None:
        if stranger.email is None:
            raise Forbidden(
                "The provider did not say that your address is verified.", code="OAUTH_EMAIL_UNVERIFIED"
            )
        found = await signing_up.sign_up(
            ctx.services.db,
            ctx.write,
            ctx.part(Passwords),
            ctx.part(SignUpRules),
            _applicant(provider, stranger, stranger.email, flow.invite),
            new,
        )
    signed_in(ctx, new, *found)
    # A link to join was not wished for by signing in: its page asks.
    return _to(f"/invite/{quote(flow.invite, safe='')}" if flow.invite else flow.next)


def _with_normal_email(stranger: Stranger) -> Stranger:
    """Spell the address as ours are. Raises Invalid for what is none."""
    if stranger.email is None:
        return stranger
    return msgspec.structs.replace(stranger, email=normalised(stranger.email))


def _applicant(provider: Provider, stranger: Stranger, email: str, invite: str | None) -> Applicant:
    """Give a newcomer a name that may be shown: the provider's, or how their address begins."""
    shown = "".join(character for character in stranger.name if character.isprintable()).strip()
    name = (shown or email.partition("@")[0])[:_NAME_MAX_CHARS]
    return Applicant(email, name, None, invite, None, Elsewhere(provider.id, stranger))


async def _link(ctx: Context, provider: Provider, flow: Flow, stranger: Stranger) -> Response:
    """Link to the account that began this, if it is still the one that is signed in."""
    if ctx.principal is None or ctx.principal.session_id != flow.session_id:
        raise Unauthenticated("Somebody else is signed in here now.", code="OTHER_SESSION")
    db = ctx.services.db
    await linked.link(ctx.write, db.read_primary, ctx.user_id, provider.id, stranger, ctx.origin)
    return _to(f"/settings/security?linked={provider.id}")


def _provider(ctx: Context) -> Provider:
    provider = ctx.part(Providers).find(ctx.params["provider"])
    if provider is None:
        raise NotFound("There is no such way to sign in here.")
    return provider


def _callback_url(ctx: Context, provider: Provider) -> str:
    return f"{ctx.services.settings.public_url}/auth/{provider.id}/callback"


def _to_page(purpose: FlowPurpose, code: str, invite: str | None = None) -> Response:
    page = "/settings/security" if purpose == "link" else "/sign-in"
    also = f"&invite={quote(invite, safe='')}" if invite else ""
    return _to(f"{page}?problem={code}{also}")


def _to(url: str) -> Response:
    return RedirectResponse(url, status_code=303, headers={"cache-control": "no-store"})


def _note(provider: Provider, error: ProviderFailed) -> None:
    log(_log, logging.WARNING, "provider failed", provider=provider.id, why=str(error))
