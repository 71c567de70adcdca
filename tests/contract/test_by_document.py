"""schemathesis tries every call by what the OpenAPI document says of it: as somebody unknown, as a member, as an operator.

No answer may be a fault of ours, have a status or a form that is not documented, or be given to somebody who should have been asked
who they are.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.client import Participant
from tests.support.server import Server

_PROGRAM = Path(sys.executable).with_name("st")
_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,ignored_auth,missing_required_header"
)
# What signs the caller out or leads to another site: whoever is tried with may not be lost on the way. A stream does not end.
_LEFT_OUT = (
    r"^/auth/|^/api/events$|/api/auth/(sign-out|password$|sessions|email$)|/api/ops/users/.*/(sign-out|delete)"
    r"|/api/ops/(drain|maintenance)$"  # after which others are refused, as they should be
)


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[tuple[Server, Participant, Participant]]:
    """A server with an operator and a member, and something to be found."""
    with Server(folder, {"limits.enabled": False}) as server:
        server.start()
        async with Participant(server.url) as operator, Participant(server.url) as member:
            await operator.sign_up()
            await member.sign_up()
            await operator.message(await operator.space(), "hello")
            await member.message(await member.space(), "hello")
            yield server, operator, member


@pytest.mark.parametrize("caller", ["anonymous", "member", "operator"])
async def test_answers_are_as_documented(caller: str, tmp_path: Path) -> None:
    async with house(tmp_path / "house") as (server, operator, member):
        cookies = {"anonymous": "", "member": member.cookie, "operator": operator.cookie}
        command = [str(_PROGRAM), "run", f"{server.url}/api/openapi.json", "--checks", _CHECKS]
        command += ["--exclude-path-regex", _LEFT_OUT, "--seed", "1", "--phases", "fuzzing"]
        command += ["--max-examples", "6", "--no-color", "--warnings", "off", "--continue-on-failure"]
        if cookies[caller]:
            command += ["-H", f"Cookie: gs_session={cookies[caller]}"]
        tried = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False
        )
        assert tried.returncode == 0, tried.stdout[-8000:] + tried.stderr[-2000:]
        assert server.logs(level="error") == []
