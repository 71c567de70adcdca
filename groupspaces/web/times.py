"""Times as the API writes them; see `groupspaces.times`."""

from __future__ import annotations

from groupspaces.times import rfc3339

__all__ = ["rfc3339"]
