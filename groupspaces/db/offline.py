"""A primary for one command: migrations and the like, without serving anything."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from groupspaces.settings import Settings

from .folder import DataFolder
from .local_primary import LocalPrimary
from .migrate import Primary


@asynccontextmanager
async def primary(settings: Settings, *, alone: bool = False) -> AsyncIterator[Primary]:
    """Open the primary these settings name, and close it afterwards.

    A running server need not stop: another process may write to the same file. With `alone` it must, in standalone mode.
    Raises `SettingsError`.
    """
    if settings.mode == "standalone":
        folder = DataFolder(settings.data_dir)
        if alone:
            folder.claim()
        else:
            folder.prepare()
        local = LocalPrimary(folder.database, on_commit=_nobody_listens)
        await local.start()
        try:
            yield local
        finally:
            await local.close()
            folder.release()
        return
    from .remote_primary import RemotePrimary

    remote = RemotePrimary(
        settings.primary.url, settings.primary.token or None, timeout_s=settings.primary.timeout_s
    )
    await remote.start()
    try:
        yield remote
    finally:
        await remote.close()


@asynccontextmanager
async def scratch() -> AsyncIterator[Primary]:
    """Open an empty database that is thrown away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        local = LocalPrimary(Path(folder) / "scratch.db", on_commit=_nobody_listens)
        await local.start()
        try:
            yield local
        finally:
            await local.close()


def _nobody_listens() -> None:
    return None
