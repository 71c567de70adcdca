"""Errors as callers see them: problem+json for what they can act on, a request id for what is our fault."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from groupspaces.errors import Conflict, Invalid, Unavailable
from groupspaces.web.context import Context
from groupspaces.web.operations import PUBLIC, operation
from groupspaces.web.problems import problem_of
from tests.support.site import open_site
from tests.unit.test_operations import code

SECRET_TEXT = "SELECT secret FROM /home/somebody/groupspaces.db"


@operation("GET", "/api/broken", access=PUBLIC, summary="Fail", tag="tests", returns=str)
async def broken(ctx: Context) -> str:
    raise RuntimeError(SECRET_TEXT)


@operation("GET", "/api/away", access=PUBLIC, summary="Away", tag="tests", returns=str)
async def away(ctx: Context) -> str:
    raise Unavailable("The primary is away.", code="PRIMARY_UNAVAILABLE", retry_after_s=2.4)


@operation("GET", "/api/stale", access=PUBLIC, summary="Stale", tag="tests", returns=str)
async def stale(ctx: Context) -> str:
    raise Conflict("Somebody was faster.", code="STALE_VERSION", current={"version": 3})


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with open_site(tmp_path) as site, site.mount((broken, away, stale)).client() as client:
        yield client


async def test_a_fault_of_ours_shows_a_request_id_and_nothing_else(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await client.get("/api/broken", headers={"x-request-id": "find-me"})
    assert code(answer) == (500, "INTERNAL")
    assert answer.json()["detail"] == "This is a fault on our side. It was recorded as find-me."
    for word in SECRET_TEXT.split():
        assert word not in answer.text
    assert "Traceback" not in answer.text
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert logged[0].exc_info is not None
    assert isinstance(logged[0].exc_info[1], RuntimeError)


async def test_an_expected_error_is_answered_and_not_logged_as_a_fault(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await client.get("/api/away")
    assert code(answer) == (503, "PRIMARY_UNAVAILABLE")
    assert answer.headers["retry-after"] == "2"
    assert answer.headers["cache-control"] == "no-store"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_stale_version_brings_the_current_one(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/stale")
    assert code(answer) == (409, "STALE_VERSION")
    assert answer.json()["current"] == {"version": 3}


async def test_pages_that_are_not_there_are_problems_too(client: httpx2.AsyncClient) -> None:
    for path in ("/nowhere", "/api", "/api/"):
        assert code(await client.get(path)) == (404, "NOT_FOUND"), path


async def test_every_answer_carries_the_headers_that_protect(client: httpx2.AsyncClient) -> None:
    for path in ("/api/away", "/nowhere", "/api/broken"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers


def test_a_problem_leaves_out_what_it_does_not_have() -> None:
    problem = problem_of(Invalid("No."), "r1")
    assert (problem.type, problem.errors, problem.current) == ("urn:groupspaces:problem:invalid", (), None)
