"""Memory that all workers of one host share: plain numbers, written by one of them each and read by all.

Owns the layout. It is an anonymous mapping made before the workers are forked, so nothing of it outlives them, and a worker that is
killed leaves its last words. Every number is eight aligned bytes with a single writer: no lock, and no reader sees half of one.
With one worker the same object serves it alone. Never decides anything.
"""

from __future__ import annotations

import mmap
import secrets
import time
from dataclasses import dataclass, field

_WORD_BYTES = 8
# What the leader knows, and what each worker says of itself.
_LEAD_WORDS = 24
_WORKER_WORDS = 8
# Positions are kept by user id modulo this: who shares a slot with somebody waits a little longer than they had to.
_POSITIONS = 65_536
# Hits are counted in as many slots by the hash of their key, those of windows longer than a minute apart from the many short ones.
# A word holds, from the top: what tells keys of one slot apart, the second its window was opened in, and the hits in it.
_COUNTS = 65_536
_SHORT_WINDOW_S = 60
_TAG_BITS, _OPENED_BITS, _HIT_BITS = 20, 22, 21
_MAX_HITS = (1 << _HIT_BITS) - 1
_OPENED_MASK = (1 << _OPENED_BITS) - 1


class _Whole:
    """A whole number of the leader's. Its type is checked by who writes it."""

    def __init__(self, word: int) -> None:
        self._word = word

    def __get__(self, board: Board, _: type[Board]) -> int:
        return board.wholes[self._word]

    def __set__(self, board: Board, value: int) -> None:
        board.wholes[self._word] = value


class _Real:
    """The same for a number with a fraction."""

    def __init__(self, word: int) -> None:
        self._word = word

    def __get__(self, board: Board, _: type[Board]) -> float:
        return board.reals[self._word]

    def __set__(self, board: Board, value: float) -> None:
        board.reals[self._word] = value


class Board:
    """`fresh_s` is by CLOCK_MONOTONIC, which all processes share; times in ms are Unix time, 0 for never."""

    fresh_s = _Real(0)
    fresh_at_ms = _Whole(1)
    last_sync_at_ms = _Whole(2)
    last_sync_ms = _Real(3)
    generation = _Whole(4)
    schema_version = _Whole(5)
    child_rss_kb = _Whole(6)
    primary_away = _Whole(7)
    sync_failing = _Whole(8)
    rebuilding = _Whole(9)
    prepared = _Whole(10)
    welcomed = _Whole(11)
    failed = _Whole(12)
    leader = _Whole(13)
    seq = _Whole(14)
    stopping = _Whole(15)  # the whole server ends, not one worker of it
    lineage = _Whole(16)  # what the primary is to us, by its place among the states
    lineage_since_ms = _Whole(17)
    primary_seq = _Whole(19)
    misled = _Whole(18)  # the newest generation before which what was read was not what the primary had

    def __init__(self, workers: int = 1) -> None:
        """Make the memory; untouched pages of it cost nothing."""
        self.workers = workers
        self._first_position = _LEAD_WORDS + _WORKER_WORDS * workers
        self._first_count = self._first_position + _POSITIONS * workers
        words = self._first_count + (2 * _COUNTS * workers if workers > 1 else 0)
        memory = memoryview(mmap.mmap(-1, words * _WORD_BYTES))
        self.wholes: memoryview[int] = memory.cast("q")
        self.reals: memoryview[float] = memory.cast("d")
        self.fresh_s = time.monotonic()
        for worker in range(workers):
            self.say(worker, seen_at_s=float("-inf"), open_streams=0)
            self.hush(worker)

    # --- what each worker says of itself ---

    def seen_at_s(self, worker: int) -> float:
        """When somebody signed in last asked this worker for something; long ago when nobody did."""
        return self.reals[_word_of(worker)]

    def open_streams(self, worker: int) -> int:
        """How many streams this worker has."""
        return self.wholes[_word_of(worker) + 1]

    def say(self, worker: int, *, seen_at_s: float, open_streams: int) -> None:
        """Tell how busy a worker is, and so that it is alive."""
        word = _word_of(worker)
        self.reals[word], self.wholes[word + 1] = seen_at_s, open_streams
        self.reals[word + 3] = time.monotonic()

    def alive_at_s(self, worker: int) -> float:
        """When this worker last said anything; 0 for one that is starting or has begun to end, and promises nothing."""
        return self.reals[_word_of(worker) + 3]

    def hush(self, worker: int) -> None:
        """Have nobody expect to hear of a worker."""
        self.reals[_word_of(worker) + 3] = 0.0

    def reads(self, worker: int, generation: int) -> None:
        """Tell which generation of the replica a worker reads; 0 for none."""
        self.wholes[_word_of(worker) + 2] = generation

    def generations_in_use(self) -> set[int]:
        """Return the generations that some worker reads."""
        return {number for w in range(self.workers) if (number := self.wholes[_word_of(w) + 2])}

    def ended(self, worker: int) -> None:
        """Forget what a worker said that has ended."""
        self.say(worker, seen_at_s=self.seen_at_s(worker), open_streams=0)
        self.hush(worker)
        self.reads(worker, 0)

    # --- positions ---

    def remember(self, worker: int, user_id: int, seq: int) -> None:
        """Keep the position of a person's write for all workers; a higher one stays."""
        word = self._first_position + worker * _POSITIONS + user_id % _POSITIONS
        if seq > self.wholes[word]:
            self.wholes[word] = seq

    def position(self, user_id: int) -> int:
        """Return the highest position that was kept for this person, or for one who shares the slot; 0 for none."""
        if self.workers == 1:
            return self.wholes[self._first_position + user_id % _POSITIONS]
        return max(self.wholes[word] for word in self._words_of(user_id))

    def forget_position(self, user_id: int, seq: int) -> None:
        """Forget a position that nobody issued."""
        for word in self._words_of(user_id):
            if self.wholes[word] == seq:
                self.wholes[word] = 0

    def forget_positions(self) -> None:
        """Forget all of them: they are of a history that is gone."""
        positions = self.wholes[self._first_position : self._first_count]
        positions[:] = memoryview(bytes(positions.nbytes)).cast("q")

    def _words_of(self, user_id: int) -> range:
        return range(self._first_position + user_id % _POSITIONS, self._first_count, _POSITIONS)

    # --- hits ---

    def hit(
        self, worker: int, key_hash: int, now_s: float, window_s: int, amount: int, *, renews: bool = False
    ) -> tuple[int, float]:
        """Count hits of a key, and return how many all workers have counted in its window, and the seconds until that ends.

        A window of `window_s` (always the same for a key, less than 48 days) begins with its first hit, or with the newest one
        when hits renew it: then each worker's word holds the hits of all. A key whose slot another one takes begins anew. Not for
        a worker alone.
        """
        tag = key_hash // _COUNTS % (1 << _TAG_BITS)
        table = self._first_count + (0 if window_s <= _SHORT_WINDOW_S else _COUNTS * self.workers)
        own_index = table + worker * _COUNTS + key_hash % _COUNTS
        live = self._live_hits(table, key_hash % _COUNTS, tag, int(now_s), window_s)
        ages_s = [age_s for _, age_s in live.values()]
        if renews:
            hits = max((hits for hits, _ in live.values()), default=0)
            age_s = min(ages_s, default=0)
            if amount:
                hits, age_s = _bounded(hits + amount), 0
                self.wholes[own_index] = _count_word(tag, int(now_s), hits)
            return hits, window_s - age_s - now_s % 1
        age_s = max(ages_s, default=0)
        own, _ = live.get(worker, (0, 0))
        changed = _bounded(own + amount)
        if amount:
            self.wholes[own_index] = _count_word(tag, int(now_s) - age_s, changed)
        return sum(hits for hits, _ in live.values()) - own + changed, window_s - age_s - now_s % 1

    def _live_hits(
        self, table: int, slot: int, tag: int, now_s: int, window_s: int
    ) -> dict[int, tuple[int, int]]:
        """Return by worker the hits it has counted of a key, and the age of their window in seconds."""
        live = {}
        for worker in range(self.workers):
            word = self.wholes[table + worker * _COUNTS + slot]
            # Who writes may be a second ahead of who looked at the clock and then reads.
            age_s = max(0, ((now_s - (word >> _HIT_BITS) + 1) & _OPENED_MASK) - 1)
            if word & _MAX_HITS and word >> (_HIT_BITS + _OPENED_BITS) == tag and age_s < window_s:
                live[worker] = (word & _MAX_HITS, age_s)
        return live


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's place: its number, the board, and the name of this run of the server, the same for all."""

    board: Board = field(default_factory=Board)
    number: int = 0
    boot: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def is_shared(self) -> bool:
        """Whether there are other workers."""
        return self.board.workers > 1


def _word_of(worker: int) -> int:
    return _LEAD_WORDS + worker * _WORKER_WORDS


def _count_word(tag: int, opened_s: int, hits: int) -> int:
    return (tag << _OPENED_BITS | opened_s & _OPENED_MASK) << _HIT_BITS | hits


def _bounded(hits: int) -> int:
    return max(0, min(hits, _MAX_HITS))
