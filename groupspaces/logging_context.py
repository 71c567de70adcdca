"""What code of every layer needs to log well: the request id that belongs to whatever runs now, and fields.

Owns one context variable, set by the web edge and read by the log, and one verb. The format is `ops/logs.py`'s.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any

request_id: ContextVar[str | None] = ContextVar("groupspaces_request_id", default=None)


def log(logger: logging.Logger, level: int, message: str, /, **fields: Any) -> None:
    """Log a fixed sentence with its facts as fields: `log(_log, logging.INFO, "synced", duration_ms=12)`.

    `exc_info=True` adds the exception being handled. Fields are never bodies, tokens, cookies or e-mail addresses.
    """
    exc_info = fields.pop("exc_info", None)
    logger.log(level, "%s", message, exc_info=exc_info, extra={"fields": fields}, stacklevel=2)
