"""Replica mode: reads from a local replica, writes to a libSQL primary somewhere else.

Owns how the parts work together: a primary that is asked what it is before anything else (`agreement`), the replica and its
generations, the rounds that keep it equal, and what workers of one host tell each other. When the primary is away or refused at start, an
existing replica of a schema we know is served as it is, and the rest is made up for when the right primary returns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import apsw

from groupspaces.clock import Clock
from groupspaces.deployment_secrets import fingerprints
from groupspaces.errors import PrimaryRefused, Unavailable
from groupspaces.host.crew import Crew
from groupspaces.logging_context import log
from groupspaces.settings import Settings

from . import attestable
from .acceptance import accept, accept_first, holding_in
from .agreement import Agreement, refused
from .attest import Attestation
from .batch import Batch, Row, Value, Write, Written
from .folder import DataFolder
from .follower import Follower, Head
from .generations import Generations
from .hrana import Lineage
from .lineage import (
    HOLDING_SQL,
    REFUSED,
    STATES,
    Holding,
    State,
    explain,
    holding_of,
)
from .migrate import BeforeChange
from .reader import Reader
from .remote_primary import REQUESTS_IN_FLIGHT, LineageMismatch, RemotePrimary
from .replica import GenerationRefused, Replica, ReplicaUnavailable
from .replication import Replication
from .shared_replica import SharedReplica
from .status import History, Room, Round, RoundReport, Status

_log = logging.getLogger("groupspaces.db")

# Nobody waits longer than this for a second look before a "no".
_LOOK_AGAIN_S = 2.0
# How often, and how many times, a leader looks whether all workers read a new generation.
_SWITCH_LOOK_S, _SWITCH_LOOKS = 0.02, 100


class Replicated:
    """What `Database` does when a primary is set."""

    def __init__(
        self,
        folder: DataFolder,
        reader: Reader,
        follower: Follower,
        settings: Settings,
        clock: Clock,
        crew: Crew,
        *,
        on_synced: Callable[[float, bool], None],
        on_round: Callable[[RoundReport], None],
        on_doubt: Callable[[str], None],
        on_verified: Callable[[], None],
        before_migrating: BeforeChange | None,
    ) -> None:
        """`on_synced(duration_s, ok)` is called after each attempt to fetch, `on_round` after each round.

        `on_doubt` is told why somebody should compare the replica with the primary soon, and `on_verified` that it was.
        """
        self._reader = reader
        self._follower = follower
        self._settings = settings
        self._crew = crew
        self._leads = False
        self._on_round = on_round
        self._remote = RemotePrimary(
            settings.primary.url,
            settings.primary.token or None,
            timeout_s=settings.primary.timeout_s,
            lineage=self._our_head,
            on_lineage_mismatch=self._mismatched,
            on_reachable=self._reachability_changed,
            # Instances add up at the primary, and so do workers.
            requests_in_flight=1 if crew.seat.is_shared else REQUESTS_IN_FLIGHT,
        )
        self._generations = Generations(folder.replica)
        self._agreement = Agreement(
            self._remote,
            settings,
            clock,
            holding=self._holding,
            on_change=self._publish,
            on_return=self._go_on,
            before_migrating=before_migrating,
        )
        self._replica = Replica(
            folder.replica,
            settings.replica_url,
            settings.replica_token or None,
            timeout_s=settings.replica.timeout_s,
            check=self._check_generation,
            on_generation=self._serve_generation,
            on_synced=lambda result: on_synced(result.duration_ms / 1000, result.ok),
            on_doubt=on_doubt,
            in_use=crew.board.generations_in_use,
            why_not_fetch=self._agreement.why_not_fetch,
            make_sure=lambda max_age_s: self._led.make_sure(max_age_s),
            now_ms=clock.now_ms,
        )
        self._led = Replication(
            self._remote, self._agreement, self._replica, follower, clock, on_round=self._round_ended
        )
        self._shared = SharedReplica(crew, self._generations, reader, follower)
        self._replication: Replication | SharedReplica = self._shared
        self.attestation = Attestation(
            attestable.subject(
                self._remote, self._replica, reader, follower, fetch=lambda: self.sync(force=True)
            ),
            clock,
            on_ended=on_verified,
        )
        self._switching = False
        self._held = Holding()
        reader.on_damage = self._found_damaged
        if crew.seat.is_shared:
            follower.subscribe(lambda _: self._publish_seq())

    # --- life ---

    async def open(self) -> None:
        """Agree with the primary where it can be reached, then serve a replica.

        Raises `SchemaError`, `SettingsError` (another secret) or `PrimaryRefused` when serving would be wrong. A primary that
        is away is no reason not to start: without a replica the instance answers 503 until it has one.
        """
        await self._remote.start()
        if not self._crew.is_elected:
            self._shared.refresh()
            return
        self._begin_to_lead()
        try:
            try:
                await self._agreement.reach()
            except Unavailable as error:
                if not self._agreement.refused:
                    reason = self._remote.last_error or str(error)
                    log(_log, logging.WARNING, "primary away at start", reason=reason)
            try:
                await self._replica.start()
            except ReplicaUnavailable as error:
                if self._remote.refused:
                    raise PrimaryRefused(
                        f"The primary {self._settings.primary.url} does not accept the token, and there is no local copy "
                        "to serve from. Set TURSO_AUTH_TOKEN to a token that may read and write."
                    ) from error
                log(_log, logging.WARNING, "no replica yet", reason=str(error))
        except BaseException:
            await self.close()
            raise

    async def lead(self) -> None:
        """Keep the replica from now on, in the place of a leader that has gone; reads and writes go on meanwhile."""
        self._agreement.complete = bool(self._crew.board.prepared)
        # Nobody may stand above us from now on.
        self._shared.refresh()
        self._led.resume(self._shared.fresh_s, self._shared.as_of_ms, self._crew.board.primary_seq)
        self._begin_to_lead()
        try:
            await self._replica.start()
        except ReplicaUnavailable as error:
            log(_log, logging.WARNING, "no replica yet", reason=str(error))

    async def close(self) -> None:
        """End the children and the requests under way."""
        await self.attestation.close()
        await self._agreement.close()
        await self._replication.close()
        await self._replica.close()
        await self._remote.close()

    # --- verbs of the door ---

    async def write(self, batch: Batch) -> Written:
        """Commit at the primary in one round trip, then fetch soon."""
        return await self._written(batch, self._remote.write)

    async def write_long(self, batch: Batch) -> Written:
        """Do the same for a batch that takes the primary longer than anybody waits for a write."""
        return await self._written(batch, self._remote.write_long)

    async def _written(self, batch: Batch, write: Write) -> Written:
        await self._be_prepared()
        began_s = time.monotonic()
        with _mismatch_told():
            written = await write(batch)
        if written.seq:
            self._replication.wrote(written.seq, began_s)
        return written

    async def exchange(self, batch: Batch) -> Written:
        """Commit a batch after which the primary has another history, and look for that at once."""
        await self._be_prepared()
        try:
            with _mismatch_told():
                return await self._remote.write_long(batch, unchecked=True)
        finally:
            self._mismatched()

    def wrote(self, seq: int, began_s: float) -> None:
        """Fetch soon what another worker of this host has written."""
        self._replication.wrote(seq, began_s)

    def refresh(self) -> None:
        """Notice what the leading worker has fetched; the leader knows."""
        if not self._leads:
            self._shared.refresh()

    def seen_seq(self) -> int:
        """Return a position that no read so far was above."""
        if self._leads and not self._led.may_be_ahead:
            return self._follower.seq
        return self._follower.file_seq()

    async def read_primary(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read at the primary: one round trip."""
        return await self._remote.read(sql, params)

    async def sync(self, *, force: bool) -> Round:
        """Run a round; before it, make up for what could not be agreed at start."""
        await self._be_prepared()
        return await self._replication.sync(force=force)

    def known_equal(self, seq: int, started_s: float, started_at_ms: int) -> None:
        """Take note that the primary was at `seq` then."""
        self._replication.known_equal(seq, started_s, started_at_ms)
        self._publish()

    def rebuild(self, reason: str) -> None:
        """Have a new generation fetched soon, as the leading worker; the old one serves until then."""
        self._replica.want_rebuild(reason)
        self._led.nudge()

    def found_damaged(self, generation: int, reason: str) -> None:
        """As the leader, replace a generation that another worker of this host could not read."""
        self._replica.found_damaged(generation, reason)
        self._led.nudge()

    async def proved(self, generation: int) -> None:
        """Take note that a generation is equal to the primary in all of its rows."""
        await self._replica.proved(generation)

    async def forget_old(self, generation: int) -> int | None:
        """Remove a generation that is kept in quarantine; return it if it was."""
        return await self._replica.forget_old(generation)

    async def catch_up(self) -> bool:
        """Run a round, so that a second look sees what was just made elsewhere."""
        try:
            await asyncio.wait_for(self._replication.sync(), _LOOK_AGAIN_S)
        except (TimeoutError, Unavailable):
            return False
        return True

    def sync_soon(self, seq: int, heads: Sequence[Head]) -> None:
        """Have a round soon: somebody says that there is news."""
        self._replication.told(seq, heads)

    def status(self, now_ms: int) -> Status:
        """Describe replica and primary."""
        state = self._replica.state if self._leads else self._shared.state
        board, lineage, refusal = self._crew.board, self.lineage, self._refusal()
        away = not self._remote.reachable or (not self._leads and bool(board.primary_away))
        return Status(
            mode="replica",
            ready=self._reader.ready,
            seq=self._follower.seq,
            primary_seq=max(self._follower.seq, self._led.primary_seq if self._leads else board.primary_seq),
            as_of_ms=self._replication.as_of_ms,
            lag_ms=self._replication.lag_ms,
            # Who must not be written to is as good as away.
            primary="unreachable" if away or lineage in REFUSED else "reachable",
            write_queue=self._remote.queue_length,
            schema_version=self._agreement.schema_version or board.schema_version,
            generation=state.generation,
            last_sync_at_ms=state.last_sync_at_ms,
            last_sync_ms=state.last_sync_ms,
            sync_failing=state.last_error is not None,
            last_error=refusal or state.last_error or self._remote.last_error,
            child_rss_kb=state.child_rss_kb,
            child_silent_s=self._replica.child_silent_s if self._leads else 0.0,
            child_overruns=state.overruns,
            primary_head=self._led.primary_head if self._leads else 0,
            rebuilding=state.rebuild_reason,
            rebuild_blocked=state.rebuild_blocked,
            kept=state.kept,
            lineage=lineage,
            refusal=refusal,
            lineage_since_ms=self._agreement.since_ms if self._leads else board.lineage_since_ms or None,
        )

    @property
    def file(self) -> Path | None:
        """The database file that readers have, None before there is one."""
        return self._reader.path

    async def keep_wal_small(self) -> None:
        """Each sync does, and the next round syncs because of it where nothing else is new."""

    @property
    def lineage(self) -> State:
        """What the primary is to this instance, as far as it is known."""
        return self._agreement.state if self._leads else STATES[self._crew.board.lineage]

    def room(self) -> Room | None:
        """Say what the copies take on the disk, None when their folder is gone; what is on its way only the leader knows."""
        try:
            return self._replica.room()
        except OSError:
            return None

    async def history(self) -> History:
        """Tell which history this instance has a copy of."""
        holding = await self._holding() or Holding()
        return History(holding.origin, holding.epoch)

    def _refusal(self) -> str:
        """Say why the primary is refused, if it is; the leader remembers, the others look at the file."""
        if self._leads or self.lineage not in REFUSED:
            return self._agreement.reason
        return explain(self.lineage, self._settings.primary.url, self._held_here())

    # --- agreeing with the primary ---

    async def _be_prepared(self) -> None:
        """Agree with a primary that was away at start. Raises Unavailable while it is away, does not fit us, or is refused."""
        if not self._leads:
            await self._be_told_prepared()
            return
        self._agreement.require()
        if not self._agreement.complete:
            await self._agreement.reach_or_wait()

    async def _be_told_prepared(self) -> None:
        """Have the leader agree with the primary: it does so before a round."""
        board = self._crew.board
        if not self._agreement.complete and not board.prepared:
            await self._shared.sync()
        self._agreement.complete = bool(board.prepared)
        if self.lineage in REFUSED:
            raise refused()

    async def _holding(self) -> Holding | None:
        """Read what this instance has; of a copy that cannot be read nothing is known, and that it is there."""
        if self._reader.ready:
            return self._held_here()
        number = self._generations.current()
        return await asyncio.to_thread(holding_in, self._generations.database(number)) if number else None

    def _held_here(self) -> Holding:
        """Return what was told of. Of which family and epoch it is is remembered: the file itself may have been overwritten since."""
        seq, token, kept = self._follower.seq, self._follower.token, self._held
        try:
            found = holding_of(self._reader.rows_now(HOLDING_SQL))
            epoch = self._follower.epoch() if seq else found.epoch
        except (apsw.BusyError, Unavailable):
            return kept._replace(seq=seq, token=token)
        self._held = found._replace(
            epoch=epoch,
            origin=kept.origin or found.origin,
            born_ms=kept.born_ms or found.born_ms,
            branch=kept.branch if kept.epoch == epoch else found.branch,
        )
        return self._held._replace(seq=seq, token=token)

    def _our_head(self) -> Lineage | None:
        if not self._follower.seq:
            return None
        try:
            epoch = self._follower.epoch()
        except (apsw.BusyError, Unavailable):
            epoch = None  # not asserted then: the next round looks again
        return (self._follower.seq, self._follower.token, epoch)

    def _go_on(self) -> None:
        self._replica.end_backoff()
        self._replication.nudge()

    def _mismatched(self) -> None:
        self._agreement.doubt()
        self._replication.nudge()

    def _reachability_changed(self, reachable: bool) -> None:
        self._publish()
        if not reachable:
            self._agreement.doubt()
            return
        self._agreement.ask_again()
        self._go_on()

    # --- leading, and what the other workers are told ---

    def _begin_to_lead(self) -> None:
        self._leads = True
        self._replication = self._led
        self._publish_seq()

    def _round_ended(self, report: RoundReport) -> None:
        self._publish()
        self._on_round(report)

    def _publish(self) -> None:
        """Write on the board what the other workers cannot see in the file."""
        if not self._leads:
            return
        board, state = self._crew.board, self._replica.state
        board.fresh_s, board.fresh_at_ms = self._led.fresh_s, self._led.as_of_ms or 0
        board.last_sync_at_ms, board.last_sync_ms = state.last_sync_at_ms or 0, state.last_sync_ms or 0.0
        agreement = self._agreement
        board.schema_version, board.child_rss_kb = agreement.schema_version, state.child_rss_kb
        board.primary_seq = self._led.primary_seq
        board.prepared, board.primary_away = agreement.complete, not self._remote.reachable
        board.lineage, board.lineage_since_ms = STATES.index(agreement.state), agreement.since_ms or 0
        board.sync_failing = state.last_error is not None
        board.rebuilding = state.rebuild_reason is not None

    def _publish_seq(self) -> None:
        """Let the other workers come as far as we are: up to here the file is known to be the primary's."""
        if self._leads and self._reader.ready and not self._switching:
            self._crew.board.seq = self._follower.seq

    # --- generations ---

    def _found_damaged(self, path: Path, reason: str) -> None:
        """Have a file replaced that could not be read here; nobody hears of one that has been replaced already."""
        generation = int(path.parent.name)
        if self._leads:
            self.found_damaged(generation, reason)
        else:
            self._crew.tell("damaged", [generation, reason])

    async def _check_generation(self, path: Path) -> None:
        """Refuse a file that readers must not see. Runs off the loop: it reads the whole file."""
        await asyncio.to_thread(accept, path, fingerprints(self._settings), await self._holding())

    async def _serve_generation(self, path: Path) -> None:
        """Point readers at a file: a new generation that passed its checks, or at start the one that was there."""
        if not self._reader.ready:
            await self._begin_with(path)
            self._publish_seq()
        else:
            # A position there means nothing in the file that the others still read.
            self._switching = True
            try:
                self._reader.open(path)
                if self._replica.misled:
                    self._crew.board.misled = int(path.parent.name)
                self._follower.switched(misled=self._replica.misled)
                self._held = Holding()
                self._held_here()
            finally:
                self._switching = False
        await self._tell_of_generation(int(path.parent.name))

    async def _tell_of_generation(self, number: int) -> None:
        """Have all workers read it; one that does not within a few seconds keeps its own, which is removed later."""
        board = self._crew.board
        board.reads(self._crew.number, number)
        board.generation = number
        self._publish_seq()
        self._crew.tell_all("refresh")
        for _ in range(_SWITCH_LOOKS):
            if board.generations_in_use() <= {number}:
                return
            await asyncio.sleep(_SWITCH_LOOK_S)

    async def _begin_with(self, path: Path) -> None:
        """Read the first file. Raises GenerationRefused when it cannot be read, or is not to be."""
        try:
            self._agreement.schema_version = await asyncio.to_thread(
                accept_first, path, fingerprints(self._settings), agreed=self._agreement.complete
            )
            self._reader.open(path)
            self._follower.start()
            self._held_here()
        except (apsw.Error, Unavailable) as error:
            self._reader.close()
            raise GenerationRefused(f"it cannot be read: {error.__cause__ or error}") from error


@contextmanager
def _mismatch_told() -> Iterator[None]:
    """Tell a primary of another history as what it means to whoever writes."""
    try:
        yield
    except LineageMismatch as mismatch:
        raise Unavailable(
            "The primary's history is not the one this instance knows. Nothing was saved; this instance looks for "
            "the reason, and fetches a new copy if that is right. Try again shortly.",
            code="REPLICA_REBUILDING",
            retry_after_s=3,
        ) from mismatch
