"""gzip for dynamic answers.

Owns which answers are compressed (JSON and text above 1 kB, in one piece, never a stream) and a small memory of those that
were: a cached page of messages is the same `bytes` object each time, so it is compressed once.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Mapping

MIN_BYTES = 1024

# Level 1 takes about 10 µs a kB. Larger bodies are compressed off the loop.
_LEVEL = 1
_INLINE_BYTES = 65_536
_MAX_REMEMBERED_BYTES = 8_388_608
_TYPES = (b"application/json", b"application/problem+json", b"text/html", b"text/plain", b"text/csv")

Headers = list[tuple[bytes, bytes]]


class Compression:
    """Compress bodies, remembering the last ones."""

    def __init__(self) -> None:
        self._done: OrderedDict[bytes, bytes] = OrderedDict()
        self._done_bytes = 0

    @staticmethod
    def accepted(headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether the client takes gzip."""
        accepted = headers.get(b"accept-encoding", b"")
        return b"gzip" in accepted and b"gzip;q=0" not in accepted

    @staticmethod
    def suits(headers: Headers) -> bool:
        """Tell whether an answer with these headers may be compressed."""
        suits = False
        for name, value in headers:
            if name == b"content-type":
                suits = value.startswith(_TYPES)
            elif name == b"content-encoding":
                return False
        return suits

    @staticmethod
    def headers(headers: Headers, size_bytes: int) -> Headers:
        """Return the headers of the compressed answer."""
        kept = [header for header in headers if header[0] != b"content-length"]
        return [
            *kept,
            (b"content-length", b"%d" % size_bytes),
            (b"content-encoding", b"gzip"),
            (b"vary", b"accept-encoding"),
        ]

    async def compress(self, body: bytes) -> bytes | None:
        """Return the body compressed, or None when it is too small to be worth it."""
        if len(body) < MIN_BYTES:
            return None
        done = self._done.get(body)
        if done is not None:
            self._done.move_to_end(body)
            return done
        if len(body) > _INLINE_BYTES:
            return await asyncio.to_thread(_gzipped, body)
        done = _gzipped(body)
        self._remember(body, done)
        return done

    def _remember(self, body: bytes, done: bytes) -> None:
        self._done[body] = done
        self._done_bytes += len(body) + len(done)
        while self._done_bytes > _MAX_REMEMBERED_BYTES:
            old_body, old_done = self._done.popitem(last=False)
            self._done_bytes -= len(old_body) + len(old_done)


def _gzipped(body: bytes) -> bytes:
    return gzip.compress(body, _LEVEL, mtime=0)
