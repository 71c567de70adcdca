"""GitHub, answered for by a server on this machine as its documentation has it ("Authorizing OAuth apps", "REST API: Users").

No provider that speaks OAuth 2 alone can be installed here; what is tested is our side of the conversation, over real HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from groupspaces.features.accounts.providers import GitHub, ProviderFailed, Stranger
from groupspaces.ops.torture.ports import free_port
from tests.support.wait import wait_until

CALLBACK = "https://spaces.example.org/auth/github/callback"
OTHER = {"email": "other@example.org", "primary": False, "verified": True}


@contextlib.asynccontextmanager
async def github(
    emails: list[dict[str, Any]], user: dict[str, Any]
) -> AsyncIterator[tuple[GitHub, list[dict[str, str]]]]:
    asked: list[dict[str, str]] = []

    async def token(request: Request) -> JSONResponse:
        form = dict(parse_qsl((await request.body()).decode()))
        asked.append(form)
        if form.get("code") != "good":
            return JSONResponse({"error": "bad_verification_code"})
        return JSONResponse(
            {"access_token": "gho_x", "token_type": "bearer", "scope": "read:user,user:email"}
        )

    async def api(request: Request) -> JSONResponse:
        assert request.headers["authorization"] == "Bearer gho_x"
        return JSONResponse(emails if request.url.path.endswith("emails") else user)

    app = Starlette(
        routes=[
            Route("/login/oauth/access_token", token, methods=["POST"]),
            Route("/user", api),
            Route("/user/emails", api),
        ]
    )
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    running = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started, what="it listens")
    try:
        url = f"http://127.0.0.1:{port}"
        yield GitHub("our id", "our secret", url=url, api_url=url), asked
    finally:
        server.should_exit = True
        await running


async def test_somebody_comes_back() -> None:
    mine = {"email": "octocat@example.org", "primary": True, "verified": True}
    async with github([OTHER, mine], {"id": 583231, "login": "octocat", "name": None}) as (provider, asked):
        started = await provider.start(CALLBACK)
        query = dict(parse_qsl(urlsplit(started.url).query))
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"] == CALLBACK
        assert query["state"] == started.state
        stranger = await provider.finish({"code": "good", "state": started.state}, started, CALLBACK)
        assert stranger == Stranger("583231", "octocat@example.org", "octocat")
        assert asked[0]["code_verifier"] == started.code_verifier


@pytest.mark.parametrize("answer", [{"code": "bad"}, {"error": "access_denied"}, {}], ids=str)
async def test_what_is_no_yes_is_a_failure(answer: dict[str, str]) -> None:
    async with github([OTHER], {"id": 1, "login": "x"}) as (provider, _):
        started = await provider.start(CALLBACK)
        with pytest.raises(ProviderFailed):
            await provider.finish(answer, started, CALLBACK)


async def test_only_a_verified_primary_address_counts() -> None:
    unverified = {"email": "octocat@example.org", "primary": True, "verified": False}
    async with github([OTHER, unverified], {"id": 1, "login": "x"}) as (provider, _):
        started = await provider.start(CALLBACK)
        stranger = await provider.finish({"code": "good"}, started, CALLBACK)
        assert stranger.email is None


async def test_an_answer_without_an_id_is_a_failure() -> None:
    async with github([OTHER], {"login": "x"}) as (provider, _):
        started = await provider.start(CALLBACK)
        with pytest.raises(ProviderFailed):
            await provider.finish({"code": "good"}, started, CALLBACK)
