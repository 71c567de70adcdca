"""What went wrong, as `application/problem+json` (RFC 9457).

Owns the form of every error answer. An `AppError` says what the caller can do; anything else is a fault of ours, of
which the caller sees only the request id. Never shows SQL, a path or a stack trace.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.types import Send

from groupspaces.errors import AppError, NotFound

MEDIA_TYPE = b"application/problem+json"
# Says to programs what to bring (RFC 9110, 11.6.1). Browsers bring a cookie and are asked for nothing by it.
CHALLENGE = (b"www-authenticate", b"Bearer")

Headers = list[tuple[bytes, bytes]]


class FieldProblem(msgspec.Struct, frozen=True):
    """One refused field."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[FieldProblem, ...] = ()
    current: Any = None


class MethodNotAllowed(AppError):
    """The path exists, the method does not; `allow` lists those that do."""

    status, title, default_code = 405, "Method not allowed", "METHOD_NOT_ALLOWED"

    def __init__(self, allow: str) -> None:
        super().__init__(f"Only {allow} can be used here.")
        self.allow = allow


def nothing_here() -> NotFound:
    """Return the error for a path that no route serves."""
    return NotFound("There is nothing at this address.")


def problem_of(error: Exception, request_id: str) -> Problem:
    """Describe an error for the caller."""
    if not isinstance(error, AppError):
        error = AppError(f"This is a fault on our side. It was recorded as {request_id}.")
    return Problem(
        type=f"urn:groupspaces:problem:{error.code.lower().replace('_', '-')}",
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        errors=tuple(FieldProblem(refused.field, refused.message) for refused in error.errors),
        current=error.current,
    )


async def send_problem(send: Send, error: Exception, request_id: str, headers: Headers | None = None) -> None:
    """Answer with a problem."""
    problem = problem_of(error, request_id)
    body = msgspec.json.encode(problem)
    answer_headers = [
        (b"content-type", MEDIA_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *(headers or ()),
    ]
    if problem.status == 401:
        answer_headers.append(CHALLENGE)
    if isinstance(error, MethodNotAllowed):
        answer_headers.append((b"allow", error.allow.encode()))
    if isinstance(error, AppError) and error.retry_after_s is not None:
        answer_headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    await send({"type": "http.response.start", "status": problem.status, "headers": answer_headers})
    await send({"type": "http.response.body", "body": body})
