"""What travels on the control socket: frames of MessagePack, each behind its length.

Owns the wire format and its bounds. Never knows a verb.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import msgspec

MAX_FRAME_BYTES = 16 * 1024 * 1024

LENGTH = struct.Struct(">I")


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """An ask is answered (or refused) under its number; a tell is not."""

    kind: Literal["ask", "tell", "answer", "refusal"]
    number: int
    verb: str
    payload: Any = None


class BadFrame(Exception):
    """The other side does not speak as we do; the connection is of no further use."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Frame)


def encode(frame: Frame) -> bytes:
    """Return a frame as it travels. Raises BadFrame when it is too large."""
    body = _encoder.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {len(body)} bytes is too large")
    return LENGTH.pack(len(body)) + body


def length_of(head: bytes) -> int:
    """Return how many bytes follow a frame's head. Raises BadFrame when they are too many."""
    (length,) = LENGTH.unpack(head)
    if length > MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length} bytes is too large")
    return int(length)


def decode(body: bytes) -> Frame:
    """Read what follows the head. Raises BadFrame."""
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise BadFrame(str(error)) from error
