"""One worker among the workers of a host: who leads, the line to it, and taking over when it dies.

Owns the joining, the line and the succession. What leading means is the caller's; with one worker it leads from the start, and
nothing here costs anything.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from pathlib import Path
from typing import Any

from groupspaces.errors import SettingsError, Unavailable
from groupspaces.logging_context import log

from .board import Board, Seat
from .channel import Channel, Line, Verb, connect
from .election import Election

_log = logging.getLogger("groupspaces.host")

# Between two attempts to find the leader or to become it: at a start, and when the leader has gone.
_ATTEMPT_S = 0.02
_MAX_ATTEMPT_S = 0.2
_HELLO_TIMEOUT_S = 1.0

HELLO = "hello"


class Crew:
    """This worker's standing: `is_elected` once it holds the place, `leads` once it also does what a leader does."""

    def __init__(self, folder: Path, seat: Seat | None = None) -> None:
        self.seat = seat or Seat()
        self.is_elected = self.leads = not self.seat.is_shared
        self._folder = folder
        self._election = Election(folder)
        self._verbs: Mapping[str, Verb] = {}
        self._line: Line | None = None
        self._serving: asyncio.Task[None] | None = None
        # There is a line, or this worker leads itself, or it has given up.
        self._is_settled = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._channel: Channel | None = None
        self._closed = False
        self._heard_s = time.monotonic()

    @property
    def board(self) -> Board:
        """The memory that all workers share."""
        return self.seat.board

    @property
    def number(self) -> int:
        """This worker's number, from 0."""
        return self.seat.number

    async def join(self, verbs: Mapping[str, Verb]) -> None:
        """Be elected, or wait until there is a leader that serves; then nothing changes until `succeed`.

        `verbs` are what the leader may ask this worker. Raises SettingsError (without words) when the others have failed to
        start: they have said why.
        """
        if self.is_elected:
            return
        self._verbs = verbs
        if await self._seek() and self.board.failed:
            raise SettingsError("")

    def succeed(self, on_elected: Callable[[], Awaitable[None]]) -> None:
        """Be ready to take over from now on, also from a leader that has died since; `on_elected` then begins to lead."""
        if not self.is_elected:
            self._following = asyncio.create_task(
                self._follow(on_elected), name="succession", context=Context()
            )

    async def lead(self, verbs: Mapping[str, Verb]) -> None:
        """Answer the command line and the other workers from now on. Raises OSError when the socket cannot be made."""
        self._channel = Channel(self._folder, {**verbs, HELLO: _hello})
        await self._channel.open()
        self.leads = True
        self._is_settled.set()

    def retire(self) -> None:
        """Take over from nobody any more: this worker is about to end. Its line stays for what is still under way."""
        self._closed = True

    async def close(self) -> None:
        """Talk to nobody any more. A leader's place stays taken until `resign`."""
        self.retire()
        self.board.hush(self.number)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    def resign(self) -> None:
        """Let another worker lead, once nothing here touches what a leader keeps."""
        self._election.resign()

    def leader_silent_s(self) -> float:
        """Return for how long nobody was heard of who leads; 0 for who leads. One that hangs keeps its place and its line."""
        if self.leads:
            return 0.0
        if self._line is not None:
            self._heard_s = max(self._heard_s, self.board.alive_at_s(self.board.leader))
        return time.monotonic() - self._heard_s

    # --- talking ---

    async def ask(self, verb: str, payload: Any = None, *, timeout_s: float) -> Any:
        """Ask the leader; while there is none that does its duties, wait for it.

        Raises the AppError it ended with, or Unavailable (`WORKER_UNAVAILABLE`).
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + timeout_s
        try:
            async with asyncio.timeout_at(give_up_at):
                await self._is_settled.wait()
        except TimeoutError as error:
            raise _leaderless() from error
        if self._line is None:
            # We have become the leader ourselves.
            raise _leaderless()
        return await self._line.ask(verb, payload, timeout_s=give_up_at - loop.time())

    def tell(self, verb: str, payload: Any = None) -> None:
        """Tell the leader; lost while there is none."""
        if self._line is not None:
            self._line.tell(verb, payload)

    async def ask_all(self, verb: str, *, timeout_s: float) -> list[Any]:
        """As the leader, ask every other worker; one that does not answer in time is left out."""
        answers = await asyncio.gather(
            *(line.ask(verb, timeout_s=timeout_s) for line in self._workers()), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Unavailable):
                raise answer
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    def tell_all(self, verb: str, payload: Any = None) -> None:
        """As the leader, tell every other worker."""
        for line in self._workers():
            line.tell(verb, payload)

    def _workers(self) -> list[Line]:
        lines = self._channel.lines if self._channel else ()
        return [line for line in lines if line.worker is not None]

    # --- finding the leader, or becoming it ---

    async def _seek(self) -> bool:
        """Return with a line, or, and then True, elected."""
        pause_s = _ATTEMPT_S
        while not self._closed:
            if self._election.win():
                self.is_elected, self.board.leader = True, self.number
                return True
            if await self._call():
                break
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _MAX_ATTEMPT_S)
        self._is_settled.set()
        return False

    async def _call(self) -> bool:
        """Get a line to the leader, if there is one that answers."""
        try:
            line = await connect(self._folder, self._verbs)
        except OSError:
            return False
        serving = asyncio.create_task(line.follow(), name="line to the leader", context=Context())
        try:
            await line.ask(HELLO, self.number, timeout_s=_HELLO_TIMEOUT_S)
        except Unavailable:
            # It may have been on its way out, and its end lost with it.
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            return False
        except BaseException:
            serving.cancel()
            raise
        self._line, self._serving = line, serving
        return True

    async def _follow(self, on_elected: Callable[[], Awaitable[None]]) -> None:
        """Keep a line to the leader for as long as another one leads."""
        while self._serving is not None:
            await asyncio.wait([self._serving])
            self._line = self._serving = None
            self._is_settled.clear()
            await self._seek()
        if not self.is_elected:
            return
        log(_log, logging.WARNING, "leads from now on", pid=os.getpid())
        try:
            await on_elected()
        except Exception as error:  # noqa: BLE001  (whatever it was, this worker must not stay and lead nobody)
            log(_log, logging.ERROR, "could not take over", exc_info=error)
            os.kill(os.getpid(), signal.SIGTERM)


async def _hello(line: Line, worker: Any) -> None:
    line.worker = int(worker)


def _leaderless() -> Unavailable:
    return Unavailable(
        "This instance is choosing who leads its processes. Try again shortly.",
        code="WORKER_UNAVAILABLE",
        retry_after_s=1,
    )
