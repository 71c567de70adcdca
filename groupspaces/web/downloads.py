"""Files that are made while they are sent: as large as what somebody has, in as little memory as a piece of them.

Owns the answer: its headers, that it has no deadline but its reader's patience is bounded, and that it ends with the connection.
What goes wrong after it began cuts it off, so that nobody takes a part for the whole. Never knows what is in a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .context import LASTING
from .decoding import ClientGone

# A reader that takes nothing for so long has gone, whatever the connection says.
_PATIENCE_S = 60.0


class Download(Response):
    """One file to keep. `pieces` are closed when the answer ends, however it does."""

    def __init__(
        self, disposition: str, media_type: str, first: bytes, pieces: AsyncGenerator[bytes]
    ) -> None:
        self._first = first
        self._pieces = pieces
        self.status_code = 200
        self.background = None
        self.raw_headers = [
            (b"content-type", media_type.encode()),
            (b"content-disposition", disposition.encode()),
            (b"cache-control", b"no-store"),
        ]

    @classmethod
    async def of(cls, name: str, media_type: str, pieces: AsyncGenerator[bytes]) -> Self:
        """Make the first piece, so that what is wrong with it is still answered as a problem.

        `name` is what the file is called: ASCII without quotes.
        """
        return await cls.carried(f'attachment; filename="{name}"', media_type, pieces)

    @classmethod
    async def carried(cls, disposition: str, media_type: str, pieces: AsyncGenerator[bytes]) -> Self:
        """Pass a file on that comes from elsewhere, as it is called there (`Content-Disposition`)."""
        return cls(disposition, media_type, await anext(pieces, b""), pieces)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[LASTING] = True
        gone = asyncio.create_task(_until_gone(receive), name="download watcher")
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                await _sent(send, self._first)
                async for piece in self._pieces:
                    if gone.done():
                        raise ClientGone
                    await _sent(send, piece)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            await self._pieces.aclose()


async def _sent(send: Send, piece: bytes) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except TimeoutError:
        raise ClientGone from None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
