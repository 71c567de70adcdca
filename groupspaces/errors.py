"""The errors a caller can act on.

Owns the tree of `AppError`s: each has a stable `code` (UPPER_SNAKE, part of the API), the HTTP status that
`web/problems.py` will answer with, and a sentence that says what to do next. Everything that is not an `AppError`
is a fault of ours: it rises to the edge, is logged once there, and the user sees a request id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class SettingsError(Exception):
    """Raised at start when settings cannot be used; the text is meant for the operator."""


class PortTaken(SettingsError):
    """Something else listens where this server should, or the address is not ours to listen on."""


class PrimaryRefused(SettingsError):
    """The primary does not accept our token, and there is no local copy to serve from."""


class DatabaseRefused(SettingsError):
    """A database is not the one this may be done to or served from: moved away, not empty, of another history or schema."""


class AppError(Exception):
    """Base of every error that reaches the client as problem+json."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    default_code: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        current: Any = None,
    ) -> None:
        """Carry what the client is told.

        `errors` names fields (422), `retry_after_s` becomes `Retry-After`, `current` is the resource as it is now
        (409 `STALE_VERSION`) and must be encodable by msgspec.
        """
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.current = current


class FieldError:
    """One field that was refused: `field` is its path in the request, `message` says what would be accepted."""

    __slots__ = ("field", "message")

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message


class Malformed(AppError):
    status, title, default_code = 400, "The request could not be read", "MALFORMED"


class Unauthenticated(AppError):
    status, title, default_code = 401, "Not signed in", "NOT_SIGNED_IN"


class Forbidden(AppError):
    status, title, default_code = 403, "Not allowed", "FORBIDDEN"


class NotFound(AppError):
    """There is nothing here, or nothing the caller may see: the two are told apart by nobody."""

    status, title, default_code = 404, "Not found", "NOT_FOUND"


class Conflict(AppError):
    status, title, default_code = 409, "Conflict", "CONFLICT"


class TooLarge(AppError):
    status, title, default_code = 413, "Too large", "TOO_LARGE"


class UnsupportedMedia(AppError):
    status, title, default_code = 415, "Wrong media type", "UNSUPPORTED_MEDIA_TYPE"


class Invalid(AppError):
    status, title, default_code = 422, "A field was not accepted", "INVALID"


class TooMany(AppError):
    status, title, default_code = 429, "Too many requests", "RATE_LIMITED"


class Unavailable(AppError):
    """The primary, the disk or the replica cannot serve this now; trying again later is right."""

    status, title, default_code = 503, "Not available right now", "UNAVAILABLE"
