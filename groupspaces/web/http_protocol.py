"""The HTTP parser's guard: a request's head may not grow without end.

Owns the limit on request line and headers together. llhttp, which parses for uvicorn, has none and keeps what it reads in memory
(340 MB from one caller in a test); uvicorn's other parser allows 64 KiB. Bodies are `decoding.py`'s.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol; a head that is still unfinished after `MAX_HEAD_BYTES` is answered with 400 and an end."""

    _in_head = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        began_in_head = self._in_head
        super().data_received(data)
        # Only what lies in the head from its first byte to its last is counted: the rest may be another request's body.
        if began_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()
