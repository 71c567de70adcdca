"""Where this instance stands in the change feed, and who is told when it moves.

Owns the position of the local file: `advance` reads what is new and tells every listener, in feed order and on the event
loop, before the writer that caused it goes on. Listeners are cheap: they drop cached things and fill queues.
Never waits and never talks to a primary.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable, Sequence

import apsw

from groupspaces.errors import Unavailable

from .changes import EPOCH_BEGAN, FEED_RESET, FEED_SQL, HEAD_SQL, NOBODY, Change, change_of
from .reader import Reader

Listener = Callable[[Sequence[Change]], None]
Head = tuple[int, str]  # a position with its token

_HEADS_KEPT = 32

_log = logging.getLogger("groupspaces.db")

_PAGE = 500
_RETRY_S = 0.05
_EPOCH_SQL = "SELECT max(epoch) FROM lineage"
_HEAD_UP_TO_SQL = "SELECT seq, token FROM change WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_HAS_SQL = "SELECT 1 FROM change WHERE seq = ? AND token = ?"


class Follower:
    """Follow the feed of the file a `Reader` reads."""

    def __init__(self, reader: Reader, *, is_primary: bool = False) -> None:
        """`is_primary`: the file is no copy of another one, so that an epoch begins in it only where a backup took its place."""
        self._reader = reader
        self._is_primary = is_primary
        self._listeners: list[Listener] = []
        self._retry: asyncio.TimerHandle | None = None
        self.seq = 0
        self.token = ""
        self.heads: deque[Head] = deque(maxlen=_HEADS_KEPT)
        self._epoch: int | None = None

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every change from now on."""
        self._listeners.append(listener)

    def start(self, *, up_to: int | None = None) -> None:
        """Take the file's head as our position without telling anybody: nothing was derived from the feed yet."""
        self._epoch = None
        self.seq, self.token = self._head(up_to)
        self.heads.clear()
        self.heads.append((self.seq, self.token))

    def advance(self, *, up_to: int | None = None) -> bool:
        """Tell of everything after our position, or of what comes `up_to` there.

        A file that cannot be read now is tried again shortly, and False returned.
        """
        try:
            while changes := self._read_page(up_to):
                self.seq, self.token = changes[-1].seq, changes[-1].token
                self.heads.extend((change.seq, change.token) for change in changes[-_HEADS_KEPT:])
                if self._is_primary and any(change.kind == EPOCH_BEGAN for change in changes):
                    self.switched(up_to=up_to, misled=True)
                    continue
                self._tell(changes)
        except (apsw.BusyError, Unavailable):
            if self._retry is None or self._retry.when() < asyncio.get_running_loop().time():
                again = functools.partial(self.advance, up_to=up_to)
                self._retry = asyncio.get_running_loop().call_later(_RETRY_S, again)
            return False
        return True

    def is_our_file(self) -> bool:
        """Tell whether the file still has our position in our epoch: it was not overwritten with another history.

        True when it cannot be read now. Of a primary that was promoted from a copy as new as ours, only the epoch is another.
        """
        try:
            if not self.seq:
                return True
            is_our_epoch = self._epoch is None or self._epoch_of_file() == self._epoch
            return is_our_epoch and bool(self._reader.rows_now(_HAS_SQL, (self.seq, self.token)))
        except (apsw.BusyError, Unavailable):
            return True

    def file_seq(self) -> int:
        """Return the position of the file itself, which may be above ours for a moment; ours when it cannot be read now."""
        try:
            return max(self.seq, self._head()[0])
        except (apsw.BusyError, Unavailable):
            return self.seq

    def epoch(self) -> int:
        """Return the epoch of the local history. Raises `Unavailable` when the file cannot be read.

        Read once for each file: an epoch that begins later belongs to another history, which this file must not take on.
        """
        if self._epoch is None:
            self._epoch = self._epoch_of_file()
        return self._epoch

    def switched(self, *, up_to: int | None = None, misled: bool = False) -> None:
        """Go on after the reader was given another file: tell of what is new there, or of a `feed.reset`.

        With `misled`, what was read from the file before was not true, although its feed was: nothing of it may be kept.
        """
        self._epoch = None
        if not misled and self._reader.rows_now(_HAS_SQL, (self.seq, self.token)):
            self.advance(up_to=up_to)
            return
        first = self.seq == 0
        self.start(up_to=up_to)
        if not first:
            self._tell([Change(self.seq, self.token, 0, None, None, NOBODY, FEED_RESET, None, {})])

    def _epoch_of_file(self) -> int:
        return int(str(self._reader.rows_now(_EPOCH_SQL)[0][0]))

    def _head(self, up_to: int | None = None) -> tuple[int, str]:
        rows = self._reader.rows_now(HEAD_SQL)
        if up_to is not None and rows and int(str(rows[0][0])) > up_to:
            rows = self._reader.rows_now(_HEAD_UP_TO_SQL, (up_to,))
        return (int(str(rows[0][0])), str(rows[0][1])) if rows else (0, "")

    def _read_page(self, up_to: int | None) -> list[Change]:
        page = [change_of(row) for row in self._reader.rows_now(FEED_SQL, (self.seq, _PAGE))]
        return page if up_to is None else [change for change in page if change.seq <= up_to]

    def _tell(self, changes: Sequence[Change]) -> None:
        for listener in self._listeners:
            listener(changes)
