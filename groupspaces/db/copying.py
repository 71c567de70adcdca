"""A copy of all that a primary holds, fetched anew into a folder of its own: for whoever has no replica at hand, or another schema's."""

from __future__ import annotations

import asyncio
from pathlib import Path

from groupspaces.errors import Unavailable

from .replica_child import Child, ChildFailed

_NAME = "copy.db"
# Without progress; a large database comes as one transaction.
_TIMEOUT_S = 30.0


async def fetch_copy(folder: Path, url: str, token: str | None) -> Path:
    """Fetch everything into `folder`, and return the file. Raises Unavailable (`PRIMARY_UNAVAILABLE`), and OSError."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
    path = folder / _NAME
    try:
        child = await Child.start(folder, url, token)
        try:
            await child.order("open", path=str(path), timeout_s=_TIMEOUT_S)
            await child.order("sync", timeout_s=_TIMEOUT_S)
            await child.close(timeout_s=_TIMEOUT_S)
        finally:
            await child.kill()
    except ChildFailed as error:
        raise Unavailable(
            f"The primary's data could not be fetched: {error}.", code="PRIMARY_UNAVAILABLE"
        ) from error
    return path
