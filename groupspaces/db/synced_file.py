"""One generation's file while it is kept equal to the primary: the child that does so, and where in the primary's log it is.

Owns the child's life (start, deadlines, the WAL's size). Whatever fails, the child is gone, and the next sync starts another.
Sees to it that the primary was asked what it is right before data of people are written over. Never decides when to sync, nor who
reads the file.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from groupspaces.logging_context import log

from .generations import Generations
from .replica_child import Child, ChildEnded, ChildFailed, FolderLocked, end_orphan

_log = logging.getLogger("groupspaces.db.replica")

_CHECKPOINT_WAL_BYTES = 4 * 1024 * 1024
_CHECKPOINT_PAUSE_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_ORPHAN_TIMEOUT_S, _ORPHAN_PAUSE_S = 2.0, 0.1
# A primary that was asked longer ago (we were stopped, or waited for another fetch) is asked again: nobody exchanges one in less.
_ASKED_S = 0.2


@dataclass(frozen=True, slots=True)
class Source:
    """Where the data comes from. `timeout_s` is how long the primary may stay silent."""

    url: str
    token: str | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a sync brought: `frames` are pages, as far as they can be told; `began_anew` that it follows another log now."""

    changed: bool
    frames: int
    began_anew: bool


async def _nothing_to_lose(_: float) -> None: ...


class SyncedFile:
    """The file of generation `number`. One child at a time holds the lock in `lock_folder`."""

    def __init__(
        self,
        generations: Generations,
        number: int,
        source: Source,
        lock_folder: Path,
        *,
        make_sure: Callable[[float], Awaitable[None]] = _nothing_to_lose,
    ) -> None:
        """`make_sure` is awaited right before each fetch; it raises unless the primary was ours within the last so many seconds."""
        self.number = number
        self.child: Child | None = None
        self.frame_no = -1
        self._log_id = ""
        self._generations = generations
        self._source = source
        self._lock_folder = lock_folder
        self._make_sure = make_sure
        self._was_killed = False
        self._checkpoint_at_s = 0.0

    @property
    def has_lost_child(self) -> bool:
        """Whether its child ended without being told to."""
        return self.child is not None and not self.child.running

    async def sync(self) -> Fetched:
        """Fetch what is new. A child that is gone is replaced, once. Raises ChildFailed, and what `make_sure` raises."""
        try:
            return await self._sync_once()
        except ChildEnded as ended:
            log(_log, logging.WARNING, "replica child ended", error=str(ended))
            return await self._sync_once()

    @property
    def wal_is_due(self) -> bool:
        """Whether the WAL has grown and should be emptied now. One that a long read keeps busy is due later: trying takes a second."""
        large = self._generations.wal_bytes(self.number) >= _CHECKPOINT_WAL_BYTES
        return large and time.monotonic() >= self._checkpoint_at_s

    async def keep_wal_small(self) -> None:
        """Checkpoint a WAL that has grown, if it is due."""
        child, now_s = self.child, time.monotonic()
        if child is None or not self.wal_is_due:
            return
        try:
            answer = await child.order("checkpoint", timeout_s=self._source.timeout_s)
        except ChildFailed as error:
            log(_log, logging.WARNING, "replica checkpoint failed", error=str(error))
            await self.kill()
        else:
            self._checkpoint_at_s = now_s + (_CHECKPOINT_PAUSE_S if answer["busy"] else 0)

    async def close(self) -> None:
        """Have the child close the file, whole on the disk. Raises ChildFailed when it had to be killed instead."""
        child, self.child = self.child, None
        if child is None or not child.running:
            return
        await child.close(timeout_s=_CLOSE_TIMEOUT_S)
        await asyncio.to_thread(self._generations.mark_closed, self.number)

    async def kill(self) -> None:
        """End the child now; the file stays intact."""
        child, self.child = self.child, None
        if child is not None:
            # Whatever was the reason may have exchanged the primary as well.
            self._was_killed = True
            await child.kill()

    async def _sync_once(self) -> Fetched:
        child = self.child
        if child is None or not child.running:
            await self.kill()
            child = await self._open()
        await self._make_sure(0.0 if self._was_killed else _ASKED_S)
        answer = await child.order(
            "sync",
            timeout_s=self._source.timeout_s,
            size_bytes=lambda: self._generations.size_bytes(self.number),
        )
        before = (self._log_id, self.frame_no)
        self._log_id, self.frame_no = answer["log_id"], answer["frame_no"]
        began_anew = bool(before[0]) and before[0] != self._log_id
        frames = max(0, self.frame_no - (0 if began_anew else before[1])) if before[0] else 0
        self._was_killed = False
        changed = before != (self._log_id, self.frame_no) or self.frame_no < 0
        return Fetched(changed, frames, began_anew)

    async def _open(self) -> Child:
        child = self.child = await self._start_child()
        await asyncio.to_thread(self._generations.mark_open, self.number)
        self._log_id, self.frame_no = "", -1
        path = str(self._generations.database(self.number))
        await child.order("open", path=path, timeout_s=self._source.timeout_s)
        return child

    async def _start_child(self) -> Child:
        give_up_at_s = time.monotonic() + _ORPHAN_TIMEOUT_S
        while True:
            try:
                return await Child.start(self._lock_folder, self._source.url, self._source.token)
            except FolderLocked:
                # Left by a server that was killed: it dies with its parent, or now.
                end_orphan(self._lock_folder)
                if time.monotonic() > give_up_at_s:
                    raise
                await asyncio.sleep(_ORPHAN_PAUSE_S)
