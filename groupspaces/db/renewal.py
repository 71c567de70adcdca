"""Why a generation of the replica has to be replaced, whether there is room for another, and what becomes of the old one.

Owns the *wish*, which outlives a restart, and the quarantine: an old generation that has rows which the primary lost stays until an
operator gives it up, whatever clocks and disks say; of the others the newest stays until the one after it is proved equal to the
primary, for seven days at most. Owns the one thread that changes the folder, in the order it was asked to. Never syncs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from groupspaces.logging_context import log

from .generations import Cause, Generations, Quarantined, Wish
from .remains import remains_of
from .status import Room

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("groupspaces.db.replica")

# What a new generation may need: its WAL and its database at once come to 1.1 times the old one (measured 2026-11).
_ROOM_FACTOR, _ROOM_MARGIN_BYTES = 1.3, 1024 * 1024
# By a clock that nobody sets, from when this process first saw it.
_KEPT_S = 7 * 24 * 3_600.0
_STRENGTH: dict[Cause, int] = {"asked": 0, "differs": 1, "damaged": 2, "history": 3}

# While one of these is the reason, the generation that serves goes on following the primary.
FOLLOWING: frozenset[Cause] = frozenset({"asked", "differs"})


class NoRoom(Exception):
    """A new generation would not fit on the disk; the text says how much is missing."""


@dataclass(slots=True)
class ReplicaState:
    """What the supervisor knows; others only read it. `frames` counts the pages that were fetched, `overruns` the attempts in a row that
    ended with a child killed because it did not get on.

    `kept` are the generations in quarantine, first the one that may have the most to give back.
    """

    generation: int = 0
    last_sync_at_ms: int | None = None
    last_sync_ms: float | None = None
    last_error: str | None = None
    syncs: int = 0
    failures: int = 0
    overruns: int = 0
    frames: int = 0
    child_rss_kb: int = 0
    rebuild_reason: str | None = None
    rebuild_blocked: str | None = None
    kept: tuple[Quarantined, ...] = ()


class Renewal:
    """One per replica. Keeps `rebuild_reason`, `rebuild_blocked` and `kept` of the state."""

    def __init__(
        self,
        generations: Generations,
        state: ReplicaState,
        *,
        in_use: Callable[[], set[int]],
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """What `in_use` names is not removed."""
        self.wish: Wish | None = None
        self._generations = generations
        self._state = state
        self._in_use = in_use
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._seen_at_s: dict[int, float] = {}
        self._reached_bytes = 0
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="replica folder")

    async def resume(self) -> int | None:
        """Go on where the run before ended: remember what it wished for, and return what it served.

        Only what it left half filled is removed: nothing serves yet.
        """
        await self.on_disk(self._generations.remove_unfinished)
        number = await self.on_disk(self._generations.current)
        self._take(await self.on_disk(self._generations.wish))
        if self.wish is None:
            await self.on_disk(self._generations.forget_wish)
        await self._look_at_kept()
        return number

    async def serves(self, number: int) -> None:
        """Take note that what was there at the start is served: what is neither that nor kept can go."""
        if not await self.on_disk(self._generations.serves_by_name, number):
            log(_log, logging.WARNING, "the pointer to the replica was lost", generation=number)
            await self.on_disk(self._generations.switch, number)
        await self._remove_others(number)

    async def on_disk(self, do: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> T:
        """Do something with the folder, off the loop and after all that was asked for before. It is done even if nobody waits."""
        return await asyncio.wrap_future(self._disk.submit(do, *arguments, **named))

    async def close(self) -> None:
        """Wait until all of it is done."""
        await asyncio.to_thread(self._disk.shutdown)

    # --- the wish ---

    @property
    def may_follow(self) -> bool:
        """Whether the generation that serves may still be written to while it waits to be replaced."""
        return self.wish is None or self.wish.cause in FOLLOWING

    @property
    def misled(self) -> bool:
        """Whether what was read from the generation that serves was not what the primary has, although it could be read."""
        return self.wish is not None and self.wish.cause == "differs"

    def want(self, generation: int, reason: str, cause: Cause) -> None:
        """Have a generation replaced, also after a restart; a wish for as strong a cause stays as it is."""
        wish, left = Wish(generation, reason, cause), self.wish
        if left and left.generation == generation and _STRENGTH[left.cause] >= _STRENGTH[cause]:
            return
        self._take(wish)
        if not generation:
            return
        log(_log, logging.WARNING, "replica is to be rebuilt", generation=generation, reason=reason)
        # After the end there is nobody to remember it: the next start looks for itself.
        with contextlib.suppress(RuntimeError):
            self._disk.submit(self._note, wish)

    def _note(self, wish: Wish) -> None:
        try:
            self._generations.want(wish)
        except OSError as error:
            log(_log, logging.WARNING, "a restart would forget the rebuild", reason=str(error))

    def _take(self, wish: Wish | None) -> None:
        self.wish = wish
        self._state.rebuild_reason = None if wish is None else wish.reason

    # --- the files ---

    async def damage(self, number: int) -> str | None:
        """Say what the files themselves show of it, None for nothing: a driver that opened them would make it worse."""
        return await self.on_disk(self._damage, number)

    def _damage(self, number: int) -> str | None:
        if self._generations.has_shrunk(number):
            return "its file was cut off"
        return "its index is lost" if self._generations.has_lost_index(number) else None

    async def make_room(self) -> None:
        """Raise NoRoom where another generation would not fit, even in the place of old ones that rescue nothing."""
        needed_bytes = await self.on_disk(self._needed_bytes)
        if needed_bytes > await self.on_disk(self._generations.free_bytes):
            await self._remove(one for one in self._state.kept if not one.rescues)
        free_bytes = await self.on_disk(self._generations.free_bytes)
        self._state.rebuild_blocked = None
        if needed_bytes > free_bytes:
            self._state.rebuild_blocked = (
                f"A new copy of the data needs {_mb(needed_bytes)} in {self._generations.folder}, and "
                f"{_mb(free_bytes)} are free: {_mb(needed_bytes - free_bytes)} are missing."
            ) + await self.on_disk(self._said_of_rescuers, self._state.kept)
            raise NoRoom(self._state.rebuild_blocked)

    def _said_of_rescuers(self, kept: tuple[Quarantined, ...]) -> str:
        numbers = sorted(one.generation for one in kept if one.rescues)
        if not numbers:
            return ""
        held_bytes = sum(self._generations.size_bytes(number) for number in numbers)
        return (
            f" Old copies that may hold what the primary has lost take {_mb(held_bytes)} (generation "
            f"{', '.join(map(str, numbers))}); only `groupspaces replica forget-old` removes them."
        )

    def room(self, filling: int | None) -> Room:
        """Say what the copies take and what another one would need; `filling` is the one that is on its way. Looks at the disk."""
        return Room(
            size_bytes=self._generations.size_bytes(self._generations.current() or 0),
            needed_bytes=self._needed_bytes(),
            free_bytes=self._generations.free_bytes(),
            filled_bytes=None if filling is None else self._generations.size_bytes(filling),
        )

    def _needed_bytes(self) -> int:
        size_bytes = max(self._reached_bytes, self._generations.size_bytes(self._generations.current() or 0))
        return int(size_bytes * _ROOM_FACTOR) + _ROOM_MARGIN_BYTES

    async def failed(self, number: int) -> None:
        """Remove a generation that could not be filled, and remember how much it would have needed at least."""
        size_bytes = await self.on_disk(self._remove_unless_serving, number)
        self._reached_bytes = max(self._reached_bytes, size_bytes)

    def _remove_unless_serving(self, number: int) -> int:
        # Whoever was interrupted may have come as far as the pointer.
        size_bytes = self._generations.size_bytes(number)
        if not self._generations.serves_by_name(number):
            self._generations.remove(number)
        return size_bytes

    # --- one after the other ---

    async def switch(self, number: int) -> None:
        """Let a filled generation serve from now on; the one that did so far is kept, whatever happens meanwhile."""
        await self.on_disk(self._switch, number, self._state.generation, self.wish)

    def _switch(self, number: int, serving: int, wish: Wish | None) -> None:
        old = serving or self._generations.current()
        if old and self._generations.database(old).exists():
            self._generations.quarantine(old, self._facts(old, number, wish))
        self._generations.switch(number)
        self._generations.forget_wish()

    def _facts(self, old: int, new: int, wish: Wish | None) -> Quarantined:
        remains = remains_of(self._generations.database(old), self._generations.database(new))
        is_of_another_history = wish is not None and wish.cause == "history"
        return Quarantined(
            at_ms=self._now_ms(),
            reason="" if wish is None else wish.reason,
            seq=remains.seq,
            token=remains.token,
            epoch=remains.epoch,
            rescues=is_of_another_history if remains.further is None else remains.further > 0,
        )

    async def switched(self, number: int, answered: Wish | None) -> None:
        """Take note that readers have a new generation, which was begun because of `answered`; remove what is not kept."""
        self._reached_bytes = 0
        await self._remove_others(number)
        left = self.wish
        if left is None or left.generation == number:
            return
        self._take(None)
        if left is not answered and left.cause == "history":
            # Found while it was being filled: it may be of both histories.
            self.want(number, left.reason, left.cause)

    async def proved(self, generation: int) -> None:
        """Take note that a generation was found equal to the primary in all of its rows: those before that rescue nothing can go."""
        if generation == self._state.generation:
            await self._remove(one for one in self._state.kept if not one.rescues)

    async def forget_expired(self) -> None:
        """Remove what was kept for its time, but never one that rescues: clocks are wrong, and weeks pass unseen."""
        too_old_s = self._monotonic_s() - _KEPT_S
        await self._remove(
            one
            for one in self._state.kept
            if not one.rescues and self._seen_at_s[one.generation] <= too_old_s
        )

    async def forget_old(self, generation: int) -> int | None:
        """Remove a generation in quarantine, unless somebody still reads it; return it if it was."""
        removed = await self._remove(one for one in self._state.kept if one.generation == generation)
        return generation if removed else None

    async def _remove_others(self, number: int) -> None:
        await self.on_disk(self._generations.remove_others, {number} | self._in_use())
        await self._look_at_kept()

    async def _remove(self, unwanted: Iterable[Quarantined]) -> bool:
        """Remove what nobody reads any more of these; tell whether that was anything."""
        numbers = [one.generation for one in unwanted if one.generation not in self._in_use()]
        for number in numbers:
            await self.on_disk(self._generations.remove, number)
            log(_log, logging.INFO, "old replica removed", generation=number)
        if numbers:
            await self._look_at_kept()
        return bool(numbers)

    async def _look_at_kept(self) -> None:
        self._state.kept = await self.on_disk(self._generations.kept)
        now_s = self._monotonic_s()
        self._seen_at_s = {
            one.generation: self._seen_at_s.get(one.generation, now_s) for one in self._state.kept
        }


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
