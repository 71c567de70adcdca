"""The HTTP parser's guard: a request's head may not grow or take time without end.

Owns the limit on request line and headers together, and the time for them. llhttp, which parses for uvicorn, has neither and
keeps what it reads in memory (340 MB from one caller in a test); uvicorn's other parser allows 64 KiB. A connection that
says nothing holds one of the files this process may open: 256 of them kept everybody out in a test. Bodies are
`decoding.py`'s, and the time between two requests is uvicorn's keep-alive.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
# From the connection, or the first byte of a later request, to the end of its head; a phone on a bad line needs a few seconds.
HEAD_TIMEOUT_S = 20.0


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol; a head that is still unfinished after `MAX_HEAD_BYTES` is answered with 400 and an end, one that is
    after `HEAD_TIMEOUT_S` with an end.
    """

    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began_in_head = self._in_head
        super().data_received(data)
        # Only what lies in the head from its first byte to its last is counted: the rest may be another request's body.
        if began_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")
        # Until the first request is whole there is a timer, and no cycle.
        if self._head_timer is None and self.cycle.response_complete:
            self._watch_again()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
        self._stop_head_timer()

    def _watch_again(self) -> None:
        """Replace the keep-alive's timer, which ended as something came: a piece of a head, an empty line, a late body."""
        if self._in_head:
            self._expect_head()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
