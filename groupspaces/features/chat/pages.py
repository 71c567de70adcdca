"""Encoded pages of messages, kept until a change concerns them.

Owns the bytes of pages that were asked for, up to a fixed amount, and that a page is made once for all who ask
for it meanwhile. The feed keeps them right: a change drops the pages it concerns before its writer gets an answer.
A page being made is dropped too: it is neither kept nor shared with anybody who asks from then on. So a page never outlives its feed position. Never knows who may read: membership is
checked before, on every request.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence

from groupspaces.db.changes import FEED_RESET, Change
from groupspaces.db.database import Database
from groupspaces.features.chat import messages
from groupspaces.features.chat.messages import Side

_CAPACITY_BYTES = 32 * 1024 * 1024

Key = tuple[int, Side, int, int]  # space id, side, position, limit


class _Build:
    """A page being made; `page` is None until it is, and stays None when that failed."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.page: bytes | None = None


class Pages:
    """Answer pages of messages as ready JSON. `on_changes` must be subscribed to the feed."""

    def __init__(self, db: Database, *, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._db = db
        self._capacity_bytes = capacity_bytes
        self._pages: OrderedDict[Key, bytes] = OrderedDict()
        self._by_space: dict[int, set[Key]] = {}
        self._builds: dict[Key, _Build] = {}
        self.size_bytes = 0

    async def page(self, space_id: int, side: Side, position: int, limit: int) -> bytes:
        """Return the JSON of a `MessagePage`: a dictionary look-up, or what `messages.page` takes."""
        key = (space_id, side, position, limit)
        kept = self._pages.get(key)
        if kept is not None:
            self._pages.move_to_end(key)
            return kept
        while (begun := self._builds.get(key)) is not None:
            await begun.ended.wait()
            if begun.page is not None:
                return begun.page
        return await self._made(key)

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Drop what these changes concern. Runs on the event loop, before their writer goes on."""
        for change in changes:
            if change.kind == FEED_RESET or _is_about_a_person(change.kind):
                self._drop_all()
            elif change.space_id is not None and change.kind.startswith(("message.", "space.")):
                self._drop_space(change.space_id)

    async def _made(self, key: Key) -> bytes:
        build = self._builds[key] = _Build()
        try:
            build.page = page = await messages.page(self._db.read, *key)
            if self._builds.get(key) is build:
                self._keep(key, page)
            return page
        finally:
            if self._builds.get(key) is build:
                del self._builds[key]
            build.ended.set()

    def _keep(self, key: Key, encoded: bytes) -> None:
        if len(encoded) > self._capacity_bytes:
            return
        self._pages[key] = encoded
        self._by_space.setdefault(key[0], set()).add(key)
        self.size_bytes += len(encoded)
        while self.size_bytes > self._capacity_bytes:
            oldest, dropped = self._pages.popitem(last=False)
            self.size_bytes -= len(dropped)
            self._by_space[oldest[0]].discard(oldest)

    def _drop_space(self, space_id: int) -> None:
        for key in [key for key in self._builds if key[0] == space_id]:
            del self._builds[key]
        for key in self._by_space.pop(space_id, ()):
            self.size_bytes -= len(self._pages.pop(key))

    def _drop_all(self) -> None:
        self._builds.clear()
        self._pages.clear()
        self._by_space.clear()
        self.size_bytes = 0


def _is_about_a_person(kind: str) -> bool:
    """Whether names on pages may have changed."""
    return kind.startswith("user.") and kind != "user.created"
