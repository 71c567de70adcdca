"""What a page of messages is measured against: one Starlette route that answers with bytes made beforehand.

Served as `groupspaces serve` serves itself: uvicorn with uvloop and httptools, no access log, no `Server` header.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.process import Process, clean_environment

PATH = "/api/spaces/{space_id:int}/messages"


class BareApp(Process):
    """The process that serves it."""

    def __init__(self, folder: Path, body: bytes) -> None:
        super().__init__("bare", folder)
        self._body_path = folder / "body.json"
        self._body_path.write_bytes(body)

    def start(self) -> Self:
        """Start it; it answers when this returns."""
        self.spawn()
        self._wait_for_http("/api/spaces/1/messages", 15.0)
        return self

    def spawn(self) -> None:
        """Start it without waiting."""
        command = [sys.executable, "-m", "tests.bench.bare_app"]
        self._spawn([*command, "--port", str(self.port), "--body", str(self._body_path)], clean_environment())


def application(body: bytes) -> Starlette:
    """Return the application whose one route answers with `body`."""

    async def messages(_: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route(PATH, messages)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--body", type=Path, required=True)
    options = parser.parse_args()
    uvicorn.run(
        application(options.body.read_bytes()),
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
