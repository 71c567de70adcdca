"""Providers by which people sign in: any OpenID provider, Google, and GitHub, which speaks OAuth 2 alone.

Owns the conversation with them, by authlib: authorization code with PKCE (RFC 7636), state and nonce, the check of the ID token, and the
check of who answered (`iss`, RFC 9207), which authlib leaves to its user. Hides endpoints and tokens: what comes out is a `Stranger`.
Never decides who that is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import httpx2
import msgspec

from groupspaces.settings import Oauth

ProviderId = Literal["google", "github", "oidc"]

TIMEOUT_S = 10.0
_GOOGLE_ISSUER = "https://accounts.google.com"
_GITHUB = "https://github.com"
_GITHUB_API = "https://api.github.com"

# A provider that signs with a secret it shares with us, or not at all, could be spoken for by whoever knows that.
_SIGNING_ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)


class ProviderFailed(Exception):
    """The provider refused, was not reached, or said what cannot be believed. The text is for the log."""


class Started(msgspec.Struct, frozen=True):
    """Where to send the browser, and what must be remembered until it comes back."""

    url: str
    state: str
    nonce: str
    code_verifier: str


class Stranger(msgspec.Struct, frozen=True):
    """Somebody as a provider knows them. `email` is None unless the provider says that it is verified."""

    subject: str
    email: str | None
    name: str


class Provider(Protocol):
    """One way to sign in elsewhere."""

    id: ProviderId
    name: str

    async def start(self, redirect_uri: str) -> Started:
        """Begin. Raises ProviderFailed."""
        ...

    async def finish(self, answer: Mapping[str, str], started: Started, redirect_uri: str) -> Stranger:
        """Take the query with which the browser came back. Raises ProviderFailed."""
        ...


class Providers:
    """Those that the settings name, by their id, in the order in which they are offered."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = {provider.id: provider for provider in providers}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._providers.values())

    def find(self, provider_id: str) -> Provider | None:
        """Return a provider, None for one that is not set up."""
        return next((provider for provider in self if provider.id == provider_id), None)

    def name_of(self, provider_id: str) -> str:
        """Return what people call it; its id when it is not set up any more."""
        provider = self.find(provider_id)
        return provider.name if provider else provider_id.title()


def providers_of(settings: Oauth) -> Providers:
    """Return the providers that are set up."""
    found: list[Provider] = []
    if settings.oidc_issuer and settings.oidc_client_id:
        name = settings.oidc_name or "your organisation"
        client = (settings.oidc_client_id, settings.oidc_client_secret)
        found.append(OpenIdProvider("oidc", name, settings.oidc_issuer, *client))
    if settings.google_client_id:
        google = (settings.google_client_id, settings.google_client_secret)
        found.append(OpenIdProvider("google", "Google", _GOOGLE_ISSUER, *google))
    if settings.github_client_id:
        found.append(GitHub(settings.github_client_id, settings.github_client_secret))
    return Providers(found)


class OpenIdProvider:
    """An OpenID provider, known by its issuer."""

    def __init__(
        self, provider_id: ProviderId, name: str, issuer: str, client_id: str, client_secret: str
    ) -> None:
        self.id = provider_id
        self.name = name
        self._issuer = issuer
        self._client_id = client_id
        self._settings = {
            "client_id": client_id,
            "client_secret": client_secret or None,
            "server_metadata_url": f"{issuer.rstrip('/')}/.well-known/openid-configuration",
            "client_kwargs": _client("openid email profile", secret=client_secret),
        }
        self._app: Any = None

    async def start(self, redirect_uri: str) -> Started:
        """Begin. The first time, the provider is asked for its endpoints."""
        app = await self._ready()
        with _believing():
            return _started(await app.create_authorization_url(redirect_uri))

    async def finish(self, answer: Mapping[str, str], started: Started, redirect_uri: str) -> Stranger:
        """Exchange the code for an ID token and check that; two round trips at most."""
        app = await self._ready()
        with _believing():
            self._check_answer(answer, app.server_metadata)
            token = await app.fetch_access_token(
                redirect_uri, code=answer["code"], code_verifier=started.code_verifier
            )
            claims = await app.parse_id_token(
                token,
                nonce=started.nonce,
                claims_options={
                    "iss": {"essential": True, "value": app.server_metadata["issuer"]},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                    "nonce": {"essential": True, "value": started.nonce},
                },
            )
            if claims is None:
                raise ProviderFailed("no ID token came")
            if "email" not in claims and app.server_metadata.get("userinfo_endpoint"):
                claims = {**claims, **await self._userinfo(app, token, claims["sub"])}
        verified = claims.get("email_verified") in (True, "true")
        email = str(claims["email"]) if verified and claims.get("email") else None
        name = str(claims.get("name") or claims.get("preferred_username") or "")
        return Stranger(str(claims["sub"]), email, name)

    async def _ready(self) -> Any:
        if self._app is None:
            self._app = (await _app_class())(None, name=self.id, **self._settings)
        app = self._app
        with _believing():
            metadata = await app.load_server_metadata()
        if str(metadata.get("issuer", "")).rstrip("/") != self._issuer.rstrip("/"):
            self._app = None
            raise ProviderFailed("the provider's own document names another issuer")
        offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        metadata["id_token_signing_alg_values_supported"] = [
            name for name in offered if name in _SIGNING_ALGORITHMS
        ]
        return app

    def _check_answer(self, answer: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """RFC 9207: an answer says from whom it is where the provider has promised that, and never names another."""
        issuer = answer.get("iss")
        promised = metadata.get("authorization_response_iss_parameter_supported", False)
        if (issuer is None and promised) or (issuer is not None and issuer != metadata["issuer"]):
            raise ProviderFailed("the answer is not from this issuer")
        _check_code(answer)

    async def _userinfo(self, app: Any, token: Any, subject: str) -> dict[str, Any]:
        info = dict(await app.userinfo(token=token))
        if info.get("sub") != subject:
            raise ProviderFailed("the user info is about somebody else")
        return info


class GitHub:
    """GitHub, whose tokens say nothing: its API is asked who it is."""

    id: ProviderId = "github"
    name = "GitHub"

    def __init__(
        self, client_id: str, client_secret: str, *, url: str = _GITHUB, api_url: str = _GITHUB_API
    ) -> None:
        self._settings = {
            "client_id": client_id,
            "client_secret": client_secret or None,
            "authorize_url": f"{url}/login/oauth/authorize",
            "access_token_url": f"{url}/login/oauth/access_token",
            "api_base_url": f"{api_url}/",
            "client_kwargs": _client("read:user user:email", secret=client_secret),
        }
        self._app: Any = None

    async def start(self, redirect_uri: str) -> Started:
        """Begin; GitHub is not asked anything."""
        with _believing():
            return _started(await (await self._ready()).create_authorization_url(redirect_uri))

    async def finish(self, answer: Mapping[str, str], started: Started, redirect_uri: str) -> Stranger:
        """Exchange the code and ask who it is and which addresses are theirs; three round trips."""
        app = await self._ready()
        with _believing():
            _check_code(answer)
            token = await app.fetch_access_token(
                redirect_uri, code=answer["code"], code_verifier=started.code_verifier
            )
            user = (await app.get("user", token=token)).raise_for_status().json()
            emails = (await app.get("user/emails", token=token)).raise_for_status().json()
            subject = str(int(user["id"]))
        primary = [entry["email"] for entry in emails if entry.get("primary") and entry.get("verified")]
        name = str(user.get("name") or user.get("login") or "")
        return Stranger(subject, str(primary[0]) if primary else None, name)

    async def _ready(self) -> Any:
        if self._app is None:
            self._app = (await _app_class())(None, name=self.id, **self._settings)
        return self._app


@contextlib.contextmanager
def _believing() -> Iterator[None]:
    """Turn everything that a provider's answer can go wrong with into ProviderFailed, without its text: it may hold tokens."""
    try:
        yield
    except _failures() as error:
        raise ProviderFailed(type(error).__name__) from None


@functools.cache
def _failures() -> tuple[type[BaseException], ...]:
    authlib, jose = (
        importlib.import_module("authlib.common.errors"),
        importlib.import_module("joserfc.errors"),
    )
    shapes = (ValueError, KeyError, TypeError, AttributeError, RuntimeError)
    return (authlib.AuthlibBaseError, jose.JoseError, httpx2.HTTPError, httpx2.InvalidURL, *shapes)


def _started(authorization: Mapping[str, str]) -> Started:
    return Started(
        authorization["url"],
        authorization["state"],
        authorization.get("nonce", ""),
        authorization["code_verifier"],
    )


def _check_code(answer: Mapping[str, str]) -> None:
    if "error" in answer:
        raise ProviderFailed("the provider says no")
    if "code" not in answer:
        raise ProviderFailed("no code came")


def _client(scope: str, *, secret: str) -> dict[str, Any]:
    return {
        "scope": scope,
        "code_challenge_method": "S256",
        "timeout": TIMEOUT_S,
        "trust_env": False,
        "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
    }


async def _app_class() -> Any:
    """Import authlib when somebody needs it, off the loop: that takes half a second."""
    return await asyncio.to_thread(_made_class)


@functools.cache
def _made_class() -> Any:
    base = importlib.import_module("authlib.integrations.base_client.sync_app")
    oauth2 = importlib.import_module("authlib.integrations.base_client.async_app")
    openid = importlib.import_module("authlib.integrations.base_client.async_openid")
    client = importlib.import_module("authlib.integrations.httpx_client")
    _failures()
    logging.getLogger("authlib").setLevel(logging.INFO)  # below that it writes code verifiers into the log
    bases = (oauth2.AsyncOAuth2Mixin, openid.AsyncOpenIDMixin, base.BaseApp)
    return type("OAuthApp", bases, {"client_cls": client.AsyncOAuth2Client})
