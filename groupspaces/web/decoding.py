"""From bytes to structs: bodies, query strings and path parameters.

Owns what is refused before a handler sees it, and in which words: malformed JSON (400), wrong media types (415), too
much (413), and fields that are unknown, of the wrong type, doubled, out of range or contain control characters
(422 or 400, with the field's path). Never knows which operation it decodes for.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.types import Receive

from groupspaces.db.batch import INT64_MAX
from groupspaces.errors import FieldError, Invalid, Malformed, NotFound, TooLarge, UnsupportedMedia

MAX_BODY_BYTES = 1_048_576
MAX_ID = INT64_MAX

_MAX_INT_DIGITS = 19
_TEXT_IDS = frozenset(("file_id", "backup_id", "job_id"))  # opaque strings, unlike every other `*_id`
_MAX_TEXT_CHARS = 64
_MAX_QUERY_BYTES = 4096
# Bodies above this are searched for doubled keys off the loop (1 ms of work).
_INLINE_BYTES = 65_536

# Everything below U+0020 but tab and line feed, DEL, the C1 controls, and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_CONTROL_MESSAGE = "must not contain control characters"

_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>.+)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.+)`$", re.DOTALL)
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^Expected `str` of length <= (\d+)$"), r"must have at most \1 characters"),
    (re.compile(r"^Expected `str` of length >= (\d+)$"), r"must have at least \1 characters"),
    (re.compile(r"^Expected `array` of length <= (\d+)$"), r"must have at most \1 entries"),
    (re.compile(r"^Expected `array` of length >= (\d+)$"), r"must have at least \1 entries"),
    (re.compile(r"^Expected `(?:int|float)` <= (\S+)$"), r"must be at most \1"),
    (re.compile(r"^Expected `(?:int|float)` >= (\S+)$"), r"must be at least \1"),
    (re.compile(r"^Expected `str` matching regex .*$"), "is not in the form that is expected here"),
    (re.compile(r"^Invalid enum value .*$", re.DOTALL), "is not one of the values allowed here"),
    (re.compile(r"^Expected `([^`]+)`(?:, got `.*`)?$"), r"must be \1"),
)
_TYPE_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


class ClientGone(Exception):
    """The caller went away before the request was read."""


class BodyDecoder:
    """Decode JSON bodies into one struct type, strictly."""

    def __init__(self, struct: type) -> None:
        """`struct` has passed `require_closed`."""
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(struct)
        self._keys = {
            f'"{field.encode_name}"'.encode()
            for inner in _structs_in(msgspec.inspect.type_info(struct))
            for field in msgspec.structs.fields(inner)
        }

    async def decode(self, body: bytes) -> Any:
        """Return the struct. Raises Malformed or Invalid; costs microseconds for bodies of ordinary size."""
        value = self._parsed(body)
        _refuse_hostile(value, MAX_ID)
        # Only a body that may double a key is parsed a second time: a name seen twice, or spelt with an escape. The keys
        # of free-form objects are not looked for; none of our request types has any.
        if b"\\u" in body or any(body.count(key) > 1 for key in self._keys):
            if len(body) <= _INLINE_BYTES:
                _refuse_doubled_keys(body)
            else:
                await asyncio.to_thread(_refuse_doubled_keys, body)
        return value

    def _parsed(self, body: bytes) -> Any:
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise invalid(str(error)) from None
        except UnicodeDecodeError:
            raise Malformed("The body is not valid UTF-8.") from None
        except (msgspec.DecodeError, RecursionError):
            raise Malformed("The body is not valid JSON.") from None


class NoQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a call without parameters takes."""


class QueryDecoder:
    """Decode query strings into one frozen struct type."""

    def __init__(self, struct: type) -> None:
        """`struct` has passed `require_closed` with `frozen`."""
        self._struct = struct
        self._seen: dict[bytes, Any] = {}

    def decode(self, query: bytes) -> Any:
        """Return the struct; the same query string again costs a dictionary look-up. Raises Invalid."""
        value = self._seen.get(query)
        if value is None:
            value = self._decoded(query)
            if len(self._seen) >= 256:
                self._seen.clear()
            self._seen[query] = value
        return value

    def _decoded(self, query: bytes) -> Any:
        try:
            value: Any = msgspec.convert(dict(_parameters(query)), self._struct, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(str(error)) from None
        _refuse_hostile(value, MAX_ID)
        return value


def require_closed(struct: type, *, frozen: bool = False) -> None:
    """Raise TypeError unless a struct type, and every one inside it, refuses unknown fields (and is frozen)."""
    if not issubclass(struct, msgspec.Struct):
        raise TypeError(f"{struct!r} must be a msgspec.Struct")
    for inner in _structs_in(msgspec.inspect.type_info(struct)):
        if not inner.__struct_config__.forbid_unknown_fields:
            raise TypeError(f"{inner.__name__} must be declared with forbid_unknown_fields=True")
    if frozen and not struct.__struct_config__.frozen:
        raise TypeError(f"{struct.__name__} must be declared with frozen=True: decoded ones are shared")


def check_media_type(headers: Mapping[bytes, bytes]) -> None:
    """Raise UnsupportedMedia unless the body is plain JSON."""
    media_type, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    charset = parameters.strip().removeprefix(b"charset=").strip(b'"')
    if media_type.strip() != b"application/json" or (charset and charset not in (b"utf-8", b"utf8")):
        raise UnsupportedMedia("Send the body as JSON: Content-Type: application/json.")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMedia("Send the body as it is: compressed bodies are not accepted.")


async def read_body(
    receive: Receive, headers: Mapping[bytes, bytes], *, limit_bytes: int = MAX_BODY_BYTES
) -> bytes:
    """Read a whole body, chunked or not. Raises TooLarge above the limit, ClientGone when the caller left."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length[:20]) > limit_bytes:
        raise _too_large(limit_bytes)
    chunks: list[bytes] = []
    size_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks) if len(chunks) != 1 else chunks[0]


def path_parameter(name: str) -> Callable[[str], int | str]:
    """Return the decoder for a path parameter: ids are whole numbers, anything else short printable text."""
    return _path_id if path_parameter_is_id(name) else _path_text


def path_parameter_is_id(name: str) -> bool:
    """Tell whether a path parameter of this name is a whole number."""
    return name.endswith("_id") and name not in _TEXT_IDS


def invalid(message: str) -> Invalid:
    """Turn msgspec's words (``Expected `str`, got `int` - at `$.content```) into ours."""
    found = _AT.match(message)
    what, path = (found["what"], found["path"] or "") if found else (message, "")
    for pattern, text in ((_MISSING, "is required"), (_UNKNOWN, "is not a field of this request")):
        if (named := pattern.match(what)) is not None:
            return _refused(f"{path}.{named['field']}" if path else named["field"], text)
    for pattern, template in _WORDS:
        if (worded := pattern.match(what)) is not None:
            return _refused(path, _plain(worded.expand(template)))
    return _refused(path, what[:1].lower() + what[1:])


def _plain(message: str) -> str:
    """Say `str | null` as "text or null"."""
    prefix = "must be "
    names = message.removeprefix(prefix).split(" | ")
    if message.startswith(prefix) and all(name in _TYPE_WORDS for name in names):
        return prefix + " or ".join(_TYPE_WORDS[name] for name in names)
    return message


def _refused(field: str, message: str) -> Invalid:
    shown = _CONTROL.sub(_REPLACEMENT, field)[:200]
    return Invalid(f"{shown or 'The request'} {message}.", errors=[FieldError(shown, message)])


def _path_id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= _MAX_INT_DIGITS and text[0] != "0":
        number = int(text)
        if number <= MAX_ID:
            return number
    raise NotFound("There is nothing at this address, or nothing you may see.")


def _path_text(text: str) -> str:
    if 1 <= len(text) <= _MAX_TEXT_CHARS and text.isprintable() and _REPLACEMENT not in text:
        return text
    raise NotFound("There is nothing at this address, or nothing you may see.")


def _parameters(query: bytes) -> Iterator[tuple[str, str]]:
    if len(query) > _MAX_QUERY_BYTES:
        raise Invalid(f"The query string is longer than {_MAX_QUERY_BYTES} bytes.")
    seen: set[str] = set()
    for part in query.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        try:
            name, value = (
                unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8") for raw in (raw_name, raw_value)
            )
        except UnicodeDecodeError:
            raise Invalid("The query string is not valid UTF-8.") from None
        if name in seen:
            raise _refused(name, "must be given once")
        seen.add(name)
        yield name, value


def _refuse_hostile(value: Any, max_int: int, path: str = "") -> None:
    """Refuse control characters and numbers beyond 64 bits anywhere in a decoded value."""
    if isinstance(value, str):
        if _CONTROL.search(value):
            raise _refused(path, _CONTROL_MESSAGE)
    elif isinstance(value, int):
        if not -max_int - 1 <= value <= max_int:
            raise _refused(path, "must fit in 64 bits")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _refuse_hostile(getattr(value, name), max_int, f"{path}.{name}" if path else name)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _refuse_hostile(name, max_int, path)
            _refuse_hostile(inner, max_int, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple | set | frozenset):
        for index, inner in enumerate(value):
            _refuse_hostile(inner, max_int, f"{path}[{index}]")


def _refuse_doubled_keys(body: bytes) -> None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            doubled = next(name for name in names if names.count(name) > 1)
            raise Malformed(
                f"The body names {_CONTROL.sub(_REPLACEMENT, doubled)[:100]} twice.", code="DOUBLED_KEY"
            )

    try:
        json.loads(body, object_pairs_hook=once)
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None


def _structs_in(info: Any) -> Iterator[type[msgspec.Struct]]:
    """Walk msgspec's description of a type. Request types do not recurse."""
    if isinstance(info, msgspec.inspect.StructType):
        yield info.cls
        for field in info.fields:
            yield from _structs_in(field.type)
    for attribute in ("item_type", "key_type", "value_type", "type"):
        inner = getattr(info, attribute, None)
        if isinstance(inner, msgspec.inspect.Type):
            yield from _structs_in(inner)
    for attribute in ("types", "item_types"):
        for inner in getattr(info, attribute, ()):
            yield from _structs_in(inner)


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"The body may have at most {limit_bytes} bytes.")
