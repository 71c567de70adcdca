"""Replica mode: reads from a local replica, writes to a libSQL primary somewhere else.

Owns what has to agree before an instance may serve: the schema of the primary, the common secret (by its fingerprint in
the primary) and the checks that a new generation of the replica passes before readers see it. When the primary is away at
start, an existing replica of a schema we know is served as it is, and the rest is made up for when the primary returns.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from groupspaces.clock import Clock
from groupspaces.deployment_secrets import fingerprints
from groupspaces.errors import PrimaryRefused, SettingsError, Unavailable
from groupspaces.host.crew import Crew
from groupspaces.logging_context import log
from groupspaces.settings import Settings

from . import common_secret, migrate
from .batch import Batch, Row, Value, Written
from .changes import HEAD_SQL
from .folder import DataFolder
from .follower import Follower, Head
from .generations import Generations
from .reader import Reader, quick_check, read_once
from .remote_primary import REQUESTS_IN_FLIGHT, LineageMismatch, RemotePrimary
from .replica import GenerationRefused, Replica, ReplicaUnavailable
from .replication import Replication
from .shared_replica import SharedReplica
from .status import Round, RoundReport, Status

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
    ) -> None:
        """`on_synced(duration_s, ok)` is called after each attempt to fetch, `on_round` after each round."""
        self._reader = reader
        self._follower = follower
        self._settings = settings
        self._crew = crew
        self._leads = False
        self._on_round = on_round
        self._schema_version = 0
        self._prepared = False
        self._unsuitable = ""
        self._remote = RemotePrimary(
            settings.primary.url,
            settings.primary.token or None,
            timeout_s=settings.primary.timeout_s,
            lineage=self._our_head,
            on_reachable=self._reachability_changed,
            # Instances add up at the primary, and so do workers.
            requests_in_flight=1 if crew.seat.is_shared else REQUESTS_IN_FLIGHT,
        )
        self._replica = Replica(
            folder.replica,
            settings.replica_url,
            settings.replica_token or None,
            timeout_s=settings.replica.timeout_s,
            check=self._check_generation,
            on_generation=self._serve_generation,
            on_synced=lambda result: on_synced(result.duration_ms / 1000, result.ok),
            in_use=crew.board.generations_in_use,
            now_ms=clock.now_ms,
        )
        self._led = Replication(self._remote, self._replica, follower, clock, on_round=self._round_ended)
        self._shared = SharedReplica(crew, Generations(folder.replica), reader, follower)
        self._replication: Replication | SharedReplica = self._shared
        self._switching = False
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
                await self._prepare()
            except Unavailable as error:
                log(
                    _log,
                    logging.WARNING,
                    "primary away at start",
                    reason=self._remote.last_error or str(error),
                )
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
        self._prepared = bool(self._crew.board.prepared)
        # Nobody may stand above us from now on.
        self._shared.refresh()
        self._led.resume(self._shared.fresh_s, self._shared.as_of_ms)
        self._begin_to_lead()
        try:
            await self._replica.start()
        except ReplicaUnavailable as error:
            log(_log, logging.WARNING, "no replica yet", reason=str(error))

    async def close(self) -> None:
        """End the child and the requests under way."""
        await self._replication.close()
        await self._replica.close()
        await self._remote.close()

    # --- verbs of the door ---

    async def write(self, batch: Batch) -> Written:
        """Commit at the primary in one round trip, then fetch soon."""
        await self._be_prepared()
        try:
            written = await self._remote.write(batch)
        except LineageMismatch as mismatch:
            self._replication.nudge()
            raise Unavailable(
                "The primary's history is not the one this instance knows. Nothing was saved; this instance is "
                "fetching a new copy. Try again shortly.",
                code="REPLICA_REBUILDING",
                retry_after_s=3,
            ) from mismatch
        if written.seq:
            self._replication.wrote(written.seq)
        return written

    def wrote(self, seq: int) -> None:
        """Fetch soon what another worker of this host has written."""
        self._replication.wrote(seq)

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
        away = not self._remote.reachable or (not self._leads and bool(self._crew.board.primary_away))
        return Status(
            mode="replica",
            ready=self._reader.ready,
            seq=self._follower.seq,
            as_of_ms=self._replication.as_of_ms,
            lag_ms=self._replication.lag_ms,
            primary="unreachable" if away else "reachable",
            write_queue=self._remote.queue_length,
            schema_version=self._schema_version or self._crew.board.schema_version,
            generation=state.generation,
            last_sync_at_ms=state.last_sync_at_ms,
            last_sync_ms=state.last_sync_ms,
            sync_failing=state.last_error is not None,
            last_error=state.last_error or self._remote.last_error,
            child_rss_kb=state.child_rss_kb,
            rebuilding=state.rebuild_reason,
        )

    # --- agreeing with the primary ---

    async def _be_prepared(self) -> None:
        """Agree with a primary that was away at start. One that does not fit us counts as away, with the reason logged."""
        if self._prepared:
            return
        if not self._leads:
            await self._be_told_prepared()
            return
        try:
            await self._prepare()
        except SettingsError as error:
            if str(error) != self._unsuitable:
                self._unsuitable = str(error)
                log(_log, logging.ERROR, "primary unsuitable", reason=self._unsuitable)
            raise Unavailable(
                "The primary does not fit this instance; its operator can see why in the log. Nothing was saved.",
                code="PRIMARY_UNAVAILABLE",
                retry_after_s=30,
            ) from error

    async def _be_told_prepared(self) -> None:
        """Have the leader agree with the primary: it does so before a round."""
        if not self._crew.board.prepared:
            await self._shared.sync()
        self._prepared = bool(self._crew.board.prepared)

    async def _prepare(self) -> None:
        """Check schema and secret at the primary (3 reads). Raises `Unavailable` when it is away."""
        status = await migrate.status(self._remote)
        if status.pending:
            await self._migrate_or_refuse(status)
        self._schema_version = (await migrate.status(self._remote)).version
        await common_secret.agree(self._remote, fingerprints(self._settings))
        self._prepared = True
        self._publish()

    async def _migrate_or_refuse(self, status: migrate.SchemaStatus) -> None:
        if not self._settings.primary.migrate:
            names = ", ".join(migration.label for migration in status.pending)
            raise migrate.SchemaError(
                f"The primary has schema {status.version}; these migrations are pending: {names}. "
                "Run `groupspaces migrate up`, or start with `--migrate`."
            )
        for migration in await migrate.up(self._remote):
            log(_log, logging.INFO, "migration applied", migration=migration.label)

    def _our_head(self) -> tuple[int, str] | None:
        return (self._follower.seq, self._follower.token) if self._follower.seq else None

    def _reachability_changed(self, reachable: bool) -> None:
        self._publish()
        if reachable:
            self._replica.end_backoff()
            self._replication.nudge()

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
        board.schema_version, board.child_rss_kb = self._schema_version, state.child_rss_kb
        board.prepared, board.primary_away = self._prepared, not self._remote.reachable
        board.sync_failing = state.last_error is not None
        board.rebuilding = state.rebuild_reason is not None

    def _publish_seq(self) -> None:
        """Let the other workers come as far as we are: up to here the file is known to be the primary's."""
        if self._leads and self._reader.ready and not self._switching:
            self._crew.board.seq = self._follower.seq

    # --- generations ---

    async def _check_generation(self, path: Path) -> None:
        """Refuse a file that readers must not see. Runs off the loop: it reads the whole file."""
        await asyncio.to_thread(_check_file, path, fingerprints(self._settings))

    async def _serve_generation(self, path: Path) -> None:
        """Point readers at a file: a new generation that passed its checks, or at start the one that was there."""
        if not self._reader.ready:
            await self._check_generation_schema(path)
            self._reader.open(path)
            self._follower.start()
            self._publish_seq()
        else:
            # A position there means nothing in the file that the others still read.
            self._switching = True
            try:
                self._reader.open(path)
                self._follower.switched()
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

    async def _check_generation_schema(self, path: Path) -> None:
        """Refuse to begin with a file of another secret (the server stops) or of an older schema (a new copy is fetched).

        Where the primary has our secret, the file is of a time before, and a new copy is fetched as well.
        """
        ledger = await asyncio.to_thread(read_once, path, migrate.ledger_sql()[1])
        status = migrate.status_of(ledger)
        if status.pending:
            raise GenerationRefused(f"it has schema {status.version}, older than this version's")
        self._schema_version = status.version
        rows = await asyncio.to_thread(read_once, path, common_secret.SQL)
        try:
            common_secret.compare(rows, fingerprints(self._settings))
        except SettingsError as error:
            if not self._prepared:
                raise
            raise GenerationRefused("it is older than the secret of this deployment") from error


def _check_file(path: Path, ours: Sequence[str]) -> None:
    found = quick_check(path)
    if found != "ok":
        raise GenerationRefused(f"quick_check: {found}")
    try:
        migrate.status_of(read_once(path, migrate.ledger_sql()[1]))
        rows = read_once(path, common_secret.SQL)
        if not read_once(path, HEAD_SQL):
            raise GenerationRefused("its change feed is empty")
        common_secret.compare(rows, ours)
    except (apsw.Error, SettingsError) as error:
        raise GenerationRefused(str(error)) from error
