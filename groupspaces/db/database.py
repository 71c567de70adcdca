"""THE door to the data: read, write, wait for a position, status.

Owns the local reads and hides the mode: in both, reads come from a local file; writes go to that same file
(`standalone.py`) or to a libSQL primary in one round trip (`replicated.py`). Features see `Database` and nothing behind it.
Never knows what the tables mean.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from groupspaces.clock import Clock
from groupspaces.errors import Conflict, Invalid, Unavailable
from groupspaces.host.crew import Crew
from groupspaces.settings import Settings

from .batch import Batch, Row, Value, Written
from .folder import DataFolder
from .follower import Follower, Head, Listener
from .migrate import BeforeChange
from .reader import Reader
from .standalone import Standalone
from .status import History, Room, Round, RoundReport, Status
from .verification import Verification
from .wal import wal_bytes, wal_readers

if TYPE_CHECKING:
    from .attest import Attestation
    from .replicated import Replicated

# Between two attempts to fetch what somebody waits for.
_RETRY_S = 0.1

SyncListener = Callable[[float, bool], None]
WriteListener = Callable[[int], None]
RoundListener = Callable[[RoundReport], None]
DoubtListener = Callable[[str], None]


class Database:
    """One per process, made by `app.py`: `await open()`, and `await close()` at the end.

    Where several workers share a host (`crew`), whoever leads keeps the data for all of them; the others read the same files.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        crew: Crew | None = None,
        *,
        before_migrating: BeforeChange | None = None,
    ) -> None:
        """`before_migrating` is awaited by whoever is about to change the schema of a database that has one."""
        self.mode: Literal["standalone", "replica"] = settings.mode
        self._clock = clock
        self._folder = DataFolder(Path(settings.data.dir))
        self._crew = crew or Crew(self._folder.path)
        self._reader = Reader(slow_query_ms=settings.log.slow_query_ms)
        self._follower = Follower(self._reader, is_primary=self.mode == "standalone")
        self._sync_listeners: list[SyncListener] = []
        self._write_listeners: list[WriteListener] = []
        self._round_listeners: list[RoundListener] = []
        self._doubt_listeners: list[DoubtListener] = []
        self._verification_listeners: list[Callable[[], None]] = []
        self._behind = self._mode_of(settings, before_migrating)

    async def open(self) -> None:
        """Make reads and writes possible.

        Standalone: opens the file and applies pending migrations. Replica: serves an existing replica at once, also when
        the primary is away; otherwise fetches one. Raises a `SettingsError` (`FolderError`, `SchemaError`,
        `PrimaryRefused`) when starting would be wrong.
        """
        if not self._crew.seat.is_shared:  # else the workers' parent has claimed it
            await asyncio.to_thread(self._folder.claim)
        try:
            await self._behind.open()
        except BaseException:
            self._folder.release()
            raise

    async def lead(self) -> None:
        """Keep the data for the other workers from now on: the one who did has gone. Costs no pause in reads and writes."""
        await self._behind.lead()

    def refresh(self) -> None:
        """Notice what other workers of this host have written or fetched, and tell who listens (5 µs when nothing moved).

        Reads are right without it; it keeps what is remembered between reads right.
        """
        self._behind.refresh()

    async def close(self) -> None:
        """Finish waiting writes and let go of everything."""
        await self._behind.close()
        self._reader.close()
        self._folder.release()

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Run a short indexed read inline. Raises `Unavailable` when the file cannot be read."""
        return await self._reader.rows(sql, params)

    async def read_one(self, sql: str, params: Sequence[Value] = ()) -> Row | None:
        """Return the first row of a short indexed read, or None."""
        rows = await self._reader.rows(sql, params)
        return rows[0] if rows else None

    async def read_slow(self, sql: str, params: Sequence[Value] = (), *, deadline_s: float) -> list[Row]:
        """Run a read that may take long, off the loop. Raises `Unavailable` (`READ_TOO_LONG`) at the deadline."""
        return await self._reader.rows_slow(sql, params, deadline_s=deadline_s)

    async def write(self, batch: Batch) -> Written:
        """Commit a batch at the primary: one fsync shared with others, or one round trip.

        Raises the batch's own `AppError`s, `ConstraintViolation`, or `Unavailable`: then nothing was written, unless its
        detail says that the outcome is unknown.
        """
        return self._told(await self._behind.write(batch))

    async def write_long(self, batch: Batch) -> Written:
        """Commit a batch that may take seconds, in which nobody else writes. Raises like `write`, in replica mode after a minute."""
        return self._told(await self._behind.write_long(batch))

    def _told(self, written: Written) -> Written:
        if written.seq and self._crew.is_elected:  # else the leader hears of it and tells
            self._tell_of_write(written.seq)
        return written

    def wrote_elsewhere(self, seq: int, began_s: float) -> None:
        """As the leader, treat what another worker of this host has written as our own, begun then (monotonic): fetch it, and tell of it."""
        self._behind.wrote(seq, began_s)
        self._tell_of_write(seq)

    async def replace(self, source: Path, before: Path) -> None:
        """Standalone, put the content of another file, which begins a new epoch, in the place of all there is; `before` gets what was there.

        All or nothing, whatever happens. Whoever follows the feed is told that it was reset. Raises `Conflict` (`NOT_STANDALONE`), `Unavailable`.
        """
        if not isinstance(self._behind, Standalone):
            raise Conflict("This instance is not its own primary.", code="NOT_STANDALONE")
        await self._behind.replace(source, before)

    async def exchange(self, batch: Batch) -> Written:
        """In replica mode, commit a batch that puts other rows in the place of all there are at the primary; see `staging.py`.

        Everybody's replica is then fetched anew. Raises what `write` raises, and `Conflict` (`STANDALONE`).
        """
        return await self._replicated().exchange(batch)

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read where writes go: one round trip in replica mode. Raises `Unavailable`."""
        return await self._behind.read_primary(sql, params)

    def seen_seq(self) -> int:
        """Return a position that no local read made so far was above; mostly where `status` says we stand.

        A fetch moves the file before it is told of: whoever was shown that must not be shown less elsewhere.
        """
        return self._behind.seen_seq()

    async def wait_for(self, seq: int, *, timeout_s: float = 5.0) -> None:
        """Return when local reads include `seq`.

        Raises `Invalid` (`UNKNOWN_BOOKMARK`) when the primary never issued it, `Unavailable` (`REPLICA_BEHIND`) when it
        does not arrive in time.
        """
        give_up_at = time.monotonic() + timeout_s
        while self._follower.seq < seq:
            remaining_s = give_up_at - time.monotonic()
            if remaining_s <= 0:
                raise _not_here_yet()
            try:
                found = await asyncio.wait_for(self._behind.sync(force=False), remaining_s)
            except (TimeoutError, Unavailable) as error:
                if self._follower.seq >= seq:
                    return
                if self.status().primary == "unreachable":
                    raise _not_here_yet() from error
                # The primary is there; fetching from it failed for the moment, as it does while it compacts its log.
                await asyncio.sleep(min(_RETRY_S, max(0.0, remaining_s)))
                continue
            if found.primary_seq is not None and found.primary_seq < seq:
                raise Invalid(
                    "This bookmark is above anything that was ever written here.", code="UNKNOWN_BOOKMARK"
                )

    async def catch_up(self) -> bool:
        """Look again: finish a sync that started after this call. False when that cannot bring anything new."""
        return await self._behind.catch_up()

    async def sync(self, *, force: bool = False) -> Round:
        """Run one replication round (standalone: nothing to do). Raises `Unavailable` when the primary is away.

        With `force`, fetch also when the feed has not moved: what is never recorded in it may have.
        """
        return await self._behind.sync(force=force)

    def require_replica(self) -> None:
        """Raise Conflict (`STANDALONE`) where there is no replica."""
        self._replicated()

    def rebuild(self, reason: str) -> None:
        """Have the replica fetched anew, soon and also after a restart; readers keep what they have until then.

        For the worker that leads, in replica mode; `status().rebuilding` tells why until it is done.
        """
        self._replicated().rebuild(reason)

    def found_damaged(self, generation: int, reason: str) -> None:
        """As the leader, replace a generation of the replica that another worker of this host could not read."""
        self._replicated().found_damaged(generation, reason)

    async def proved(self, generation: int) -> None:
        """Take note that a generation was found equal to the primary in all rows: the one in quarantine is not needed."""
        await self._replicated().proved(generation)

    async def forget_old(self, generation: int) -> int | None:
        """Remove a generation of the replica that is kept in quarantine, unless somebody still reads it; return it if it was."""
        return await self._replicated().forget_old(generation)

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Take note that a write which began then (monotonic, and Unix ms) found the primary's feed at `seq`."""
        self._behind.known_equal(seq, started_s, started_at_ms)

    def sync_soon(self, seq: int = 0, heads: Sequence[Head] = ()) -> None:
        """Fetch soon without waiting: somebody says that the primary has `seq`.

        `heads` are positions with their tokens that the primary was seen to have when it issued `seq`.
        """
        self._behind.sync_soon(seq, heads)

    def heads(self) -> Sequence[Head]:
        """Return the newest positions of the local feed with their tokens, oldest first; the last is where we stand."""
        return self._follower.heads

    def epoch(self) -> int:
        """Return the epoch of the local history. Raises `Unavailable` when the file cannot be read."""
        return self._follower.epoch()

    async def history(self) -> History:
        """Tell which history the local data belongs to (one local read). Raises `Unavailable` when it cannot be read."""
        return await self._behind.history()

    def room(self) -> Room | None:
        """Say what the replica takes on the disk, None where there is none or its folder is gone; a few looks at the disk. For the worker that leads."""
        return None if isinstance(self._behind, Standalone) else self._behind.room()

    def subscribe_writes(self, listener: WriteListener) -> None:
        """Tell `listener` the position of each write that this process committed, on the loop."""
        self._write_listeners.append(listener)

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of every change, on the loop and in feed order, before the writer's await returns."""
        self._follower.subscribe(listener)

    def subscribe_syncs(self, listener: SyncListener) -> None:
        """Tell `listener` of every attempt to fetch from the primary: how long it took, and whether it worked."""
        self._sync_listeners.append(listener)

    def subscribe_rounds(self, listener: RoundListener) -> None:
        """Tell `listener` what each round cost, on the loop, before those who wait for it go on."""
        self._round_listeners.append(listener)

    def subscribe_doubts(self, listener: DoubtListener) -> None:
        """Tell `listener` why somebody should compare the replica with the primary soon."""
        self._doubt_listeners.append(listener)

    def subscribe_verifications(self, listener: Callable[[], None]) -> None:
        """Tell `listener` of each end of a `verification`, on the loop, before anything follows from it."""
        self._verification_listeners.append(listener)

    def status(self) -> Status:
        """Tell where this instance stands; costs microseconds."""
        return self._behind.status(self._clock.now_ms())

    @property
    def file(self) -> Path | None:
        """The file that is read here; None while there is none. For other processes to read, never for this one to open."""
        return self._behind.file

    def wal_bytes(self) -> int:
        """Tell how long the write-ahead log of what is read here is; costs one look at the folder."""
        file = self._behind.file
        return 0 if file is None else wal_bytes(file)

    def wal_readers(self) -> dict[int, str]:
        """Tell which processes read a state of that log right now, pid → name, as far as the system tells."""
        file = self._behind.file
        return {} if file is None else wal_readers(file)

    async def tidy(self, *, rewrite: bool) -> None:
        """Standalone, let SQLite look at its statistics, and with `rewrite` leave the free pages out of the file: writes wait meanwhile."""
        if isinstance(self._behind, Standalone):
            await self._behind.tidy(rewrite=rewrite)

    async def keep_wal_small(self) -> None:
        """Empty a write-ahead log that has grown, if nobody reads what is in it. As the leading worker."""
        await self._behind.keep_wal_small()

    def verification(self) -> Verification:
        """Tell how the newest verification of the replica went, or how far it is; costs nothing."""
        return (
            Verification() if isinstance(self._behind, Standalone) else self._behind.attestation.verification
        )

    async def end_verification(self) -> None:
        """Give up a verification that runs: the server stops, and it could go on for long."""
        if not isinstance(self._behind, Standalone):
            await self._behind.attestation.close()

    def attestation(self) -> Attestation:
        """Return what verifies the replica. Raises `Conflict` (`STANDALONE`) where there is none."""
        return self._replicated().attestation

    def _tell_of_write(self, seq: int) -> None:
        for listener in self._write_listeners:
            listener(seq)

    def _replicated(self) -> Replicated:
        if isinstance(self._behind, Standalone):
            raise Conflict("This instance is its own primary: it has no replica.", code="STANDALONE")
        return self._behind

    def _mode_of(self, settings: Settings, before_migrating: BeforeChange | None) -> Standalone | Replicated:
        if self.mode == "standalone":
            return Standalone(self._folder, self._reader, self._follower, self._crew, before_migrating)
        # Imported late: standalone must start without the driver, and without paying for an HTTP client.
        from .replicated import Replicated

        def synced(duration_s: float, ok: bool) -> None:
            for listener in self._sync_listeners:
                listener(duration_s, ok)

        def round_ended(report: RoundReport) -> None:
            for listener in self._round_listeners:
                listener(report)

        def doubted(reason: str) -> None:
            for listener in self._doubt_listeners:
                listener(reason)

        def verified() -> None:
            for listener in self._verification_listeners:
                listener()

        return Replicated(
            self._folder,
            self._reader,
            self._follower,
            settings,
            self._clock,
            self._crew,
            on_synced=synced,
            on_round=round_ended,
            on_doubt=doubted,
            on_verified=verified,
            before_migrating=before_migrating,
        )


def _not_here_yet() -> Unavailable:
    return Unavailable(
        "This instance has not yet received the state you asked for. Try again shortly.",
        code="REPLICA_BEHIND",
        retry_after_s=1,
    )
