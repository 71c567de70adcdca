"""An instance's console, as its own machine may use it: nobody has to sign in, so an idle instance stays idle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from groupspaces.host import channel
from tests.support.server import Server

_PATH = "/api/ops/replication"


async def tune(server: Server, **changes: Any) -> None:
    """Tune it from now on; what holds already is left alone."""
    tuning = (await status(server))["tuning"]
    news = {key: value for key, value in changes.items() if tuning[key]["value"] != value}
    if news:
        await _call(server, "PATCH", _PATH, news)


async def status(server: Server) -> dict[str, Any]:
    """Say how it replicates."""
    return await _call(server, "GET", _PATH)


async def preview(server: Server, **changes: Any) -> dict[str, Any]:
    """Say what a tuning would mean there."""
    return await _call(server, "POST", f"{_PATH}/preview", changes)


async def _call(server: Server, method: str, path: str, body: Any = None) -> dict[str, Any]:
    sent = b"" if body is None else json.dumps(body).encode()
    answer = await asyncio.to_thread(channel.request, server.data_folder, method, path, "", sent)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found
