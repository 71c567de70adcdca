"""Times as the API writes them: RFC 3339 in UTC with milliseconds."""

from __future__ import annotations

import time
from functools import lru_cache


def rfc3339(at_ms: int) -> str:
    """Return `2026-11-22T10:00:00.000Z` for Unix milliseconds."""
    second, millisecond = divmod(at_ms, 1000)
    return f"{_whole_second(second)}{millisecond:03d}Z"


@lru_cache(maxsize=1024)
def _whole_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
