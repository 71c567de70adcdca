"""Uploads: one file in the body of a request, as it is or as a field of a form.

Owns how a small file is read: never more than the limit, whatever the headers say, and whole in memory. A `multipart/form-data`
body (RFC 7578) must hold it in the field `file`; any other body is the file itself. Names and media types that come with a file are
not looked at: what it is, its first bytes say.
"""

from __future__ import annotations

import asyncio

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from groupspaces.errors import FieldError, Invalid, Malformed, TooLarge, UnsupportedMedia

from .context import Context
from .decoding import read_body

FIELD = "file"
FORM = "multipart/form-data"

# Boundaries, headers and small fields beside the file.
_FORM_BYTES = 16_384


async def uploaded_file(ctx: Context, *, limit_bytes: int) -> bytes:
    """Return the file of a raw operation's body.

    Raises TooLarge (before the rest is read), UnsupportedMedia for a compressed body, Malformed for a broken form, and Invalid for
    one without the field `file`.
    """
    content_type, options = parse_options_header(ctx.headers_in.get(b"content-type"))
    if ctx.headers_in.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("Send the body as it is: compressed bodies are not accepted.")
    if content_type != FORM.encode():
        return await read_body(ctx.receive, ctx.headers_in, limit_bytes=limit_bytes)
    body = await read_body(ctx.receive, ctx.headers_in, limit_bytes=limit_bytes + _FORM_BYTES)
    file = await asyncio.to_thread(_Form(options.get(b"boundary", b"")).file_of, body)
    if len(file) > limit_bytes:
        raise TooLarge(f"The file may have at most {limit_bytes} bytes.")
    return file


class _Form:
    """One form while it is taken apart. The parser bounds the number and size of headers itself."""

    def __init__(self, boundary: bytes) -> None:
        self._boundary = boundary
        self._header = b""
        self._value = b""
        self._is_file = False
        self._files: list[list[bytes]] = []

    def file_of(self, body: bytes) -> bytes:
        """Return the content of the field `file`. Raises Malformed or Invalid."""
        if not self._boundary:
            raise Malformed("The form has no boundary.")
        parser = MultipartParser(
            self._boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_part_data": self._on_data,
            },
        )
        try:
            parser.write(body)
            parser.finalize()
        except MultipartParseError:
            raise Malformed("The form could not be read.") from None
        if len(self._files) != 1:
            message = "must be given once"
            raise Invalid(f"The field {FIELD} {message}.", errors=[FieldError(FIELD, message)])
        return b"".join(self._files[0])

    def _begin(self) -> None:
        self._header = self._value = b""
        self._is_file = False

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            if options.get(b"name") == FIELD.encode():
                self._is_file = True
                self._files.append([])
        self._header = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._files[-1].append(data[start:end])
