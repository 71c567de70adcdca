"""Commands that take long: how far they are, and how they end when somebody interrupts them.

Owns the progress as people and programs see it, and the exit code of a command that was told to stop (143; 130 for Ctrl-C is `cli.main`'s).
What state it leaves behind is said by what it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from groupspaces.cli_call import print_json

if TYPE_CHECKING:
    from groupspaces.db.moving import Progress

T = TypeVar("T")

_EXIT_BY_SIGNAL = 128
# Sent by whoever ends a service, and by a terminal that goes away.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


def run(command: Coroutine[Any, Any, T]) -> T:
    """Run a command that SIGTERM and SIGHUP cancel like Ctrl-C does, so that it can say what state it leaves behind."""
    ended_by: list[int] = []

    async def cancellable() -> T:
        task = asyncio.ensure_future(command)

        def cancel(number: int) -> None:
            ended_by.append(number)
            task.cancel()

        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
                asyncio.get_running_loop().add_signal_handler(number, cancel, number)
        return await task

    # The parts of a server that a command uses log what its words and steps say already.
    logging.getLogger("groupspaces").addHandler(logging.NullHandler())
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise SystemExit(_EXIT_BY_SIGNAL + next(iter(ended_by), signal.SIGTERM)) from None


class Display:
    """Progress: a bar at a terminal, a line now and then for a log, JSON lines for programs."""

    _LINE_S, _BAR_S, _BAR_CELLS = 2.0, 0.1, 28
    # Before, nobody can tell how long the rest takes.
    _ETA_AFTER_S = 1.0

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._as_json: bool = arguments.json
        self._in_place = sys.stderr.isatty() and not self._as_json
        self._is_seen = True
        self._first: Progress | None = None
        self._began_s = self._shown_s = 0.0

    def show(self, progress: Progress) -> None:
        """Show how far it is, unless something was shown just now. The first call says where it begins."""
        now_s = time.monotonic()
        if self._first is None:
            self._first, self._began_s = progress, now_s
            return
        pause_s = self._BAR_S if self._in_place else self._LINE_S
        if progress.rows < progress.rows_total and now_s - self._shown_s < pause_s:
            return
        self._shown_s = now_s
        elapsed_s = max(now_s - self._began_s, 0.001)
        mb_per_s = round(progress.sent_bytes / elapsed_s / 1e6, 1)
        eta_s = self._eta_s(progress, progress.rows - self._first.rows, elapsed_s)
        if self._as_json:
            self._say(lambda: print_json({**asdict(progress), "mb_per_s": mb_per_s, "eta_s": eta_s}))
        else:
            self._say(lambda: self._print(progress, mb_per_s, eta_s))

    def step(self, step: str) -> None:
        """Show what is being done."""
        if self._as_json:
            self._say(lambda: print_json({"step": step}))
        else:
            self.end()
            self._say(lambda: print(step, file=sys.stderr, flush=True))

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._in_place and self._shown_s:
            self._say(lambda: print(file=sys.stderr))
        self._shown_s = 0.0

    def _say(self, words: Callable[[], None]) -> None:
        """Say something, unless nobody reads any more (`| head`, a terminal that has gone): that is no reason to stop what is done."""
        if not self._is_seen:
            return
        try:
            words()
        except OSError:
            self._is_seen = False
            stream = sys.stdout if self._as_json else sys.stderr
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

    def _eta_s(self, progress: Progress, rows: int, elapsed_s: float) -> int | None:
        if elapsed_s < self._ETA_AFTER_S or not rows:
            return None
        return round(elapsed_s * (progress.rows_total - progress.rows) / rows)

    def _print(self, progress: Progress, mb_per_s: float, eta_s: int | None) -> None:
        left = "" if eta_s is None else f", {eta_s} s left"
        text = f"{progress.rows:,} of {progress.rows_total:,} rows, {mb_per_s} MB/s{left} ({progress.table})"
        if self._in_place:
            cells = self._BAR_CELLS * progress.rows // max(progress.rows_total, 1)
            text = f"\r[{'#' * cells:<{self._BAR_CELLS}}] {text}\x1b[K"
        print(text, end="" if self._in_place else "\n", file=sys.stderr, flush=True)
