"""The request id that belongs to whatever runs now.

Owns one context variable, so that the web edge can set it and the log can read it without knowing each other.
"""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("groupspaces_request_id", default=None)
