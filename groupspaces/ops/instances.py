"""The fleet: which instances there are, how they are, and which of them leads.

Owns the table `instance` and the heartbeat: one batch, one round trip, no row of the feed. It writes this instance's packed row,
claims or renews the leader's lease, and brings back the primary's clock and position and who else is there. Everything is shown
from the local replica, by the primary's clock. Standalone there is one instance, which leads, and nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextvars import Context

import msgspec

from groupspaces import __version__
from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Row, Statement, Written
from groupspaces.db.changes import FEED_RESET, NOBODY, NOW_MS, Change, record, record_if_changed
from groupspaces.db.database import Database
from groupspaces.db.lease import Lease, LeaseLost
from groupspaces.db.peers import Peer
from groupspaces.errors import Unavailable
from groupspaces.identity import Identity
from groupspaces.logging_context import log
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.fleet_view import GONE_BEATS, SILENT_BEATS, Instance, Packed, described, unpacked
from groupspaces.ops.load import Load, LoadMeter
from groupspaces.settings import Settings

_log = logging.getLogger("groupspaces.fleet")

LEASE_BEATS = 2.5
# More are not shown, and not rung.
MAX_INSTANCES = 200

# While the primary is away: an attempt fails at once and sends nothing.
_RETRY_S = 2.0
# `GET /api/ops/instances` fetches rows older than this, or than a beat, first.
_ROWS_MAX_AGE_S = 5.0
_LEAVE_TIMEOUT_S = 1.0
# Names of what is wrong there travel with each row, so that the fleet's view needs no call to every instance.
_CONDITIONS_TOLD = 8
_SKEW_MAX_MS = 5_000

_CHANGED = "instance.changed"
_INTERVAL_MS = "(1000 * coalesce(json_extract(instance.packed, '$.interval_s'), 60))"
_LEFT = "json_extract(instance.packed, '$.left') IS NOT NULL"

# ?5 is 1 at the first beat of a boot: whoever starts last has the id. Later the row is ours only while nobody else took it, or
# whoever did has fallen silent.
_BEAT_SQL = f"""INSERT INTO instance (id, boot, url, packed, seen_at_ms) VALUES (?1, ?2, ?3, ?4, {NOW_MS})
ON CONFLICT (id) DO UPDATE SET
  boot = excluded.boot, url = excluded.url, packed = excluded.packed, seen_at_ms = excluded.seen_at_ms
WHERE instance.boot = excluded.boot OR ?5 = 1 OR {_LEFT}
   OR instance.seen_at_ms < {NOW_MS} - {SILENT_BEATS} * {_INTERVAL_MS}
RETURNING 1"""
_ROW_IS_OURS = "EXISTS (SELECT 1 FROM instance WHERE id = ?5 AND boot = ?6)"
_PRIMARY_SQL = f"""SELECT {NOW_MS}, (SELECT max(seq) FROM change),
  (SELECT holder FROM lease WHERE name = ? AND expires_at_ms > {NOW_MS})"""
_PEERS_SQL = f"""SELECT id, boot, url, seen_at_ms < {{now}} - {SILENT_BEATS} * {_INTERVAL_MS} FROM instance
WHERE id <> ? AND NOT {_LEFT} AND seen_at_ms >= {{now}} - {GONE_BEATS} * {_INTERVAL_MS}
ORDER BY id LIMIT {MAX_INSTANCES}"""
_LEAVE_SQL = "UPDATE instance SET packed = json_set(packed, '$.left', json('true')) WHERE id = ? AND boot = ?"
_ROWS_SQL = f"SELECT id, boot, url, packed, seen_at_ms FROM instance ORDER BY id LIMIT {MAX_INSTANCES}"
_LEADER_SQL = "SELECT holder FROM lease WHERE name = ? AND expires_at_ms > ?"
_VACANT_SQL = "SELECT 1 FROM lease WHERE name = ? AND expires_at_ms = 0"  # released, not run out
_URL_SQL = "SELECT id, boot, url FROM instance WHERE id = ?"


class Fleet:
    """This instance among the others."""

    def __init__(
        self,
        db: Database,
        identity: Identity,
        settings: Settings,
        clock: Clock,
        conditions: Conditions,
        *,
        load: LoadMeter,
        people_here: Callable[[], bool],
        open_streams: Callable[[], int],
    ) -> None:
        self.identity = identity
        self._db = db
        self._settings = settings
        self._clock = clock
        self._conditions = conditions
        self._meter = load
        self._people_here = people_here
        self._open_streams = open_streams
        self._lease = Lease("leader", identity.id, identity.boot, monotonic_s=clock.monotonic_s)
        self._peers: tuple[Peer, ...] = ()
        self._listeners: list[Callable[[tuple[Peer, ...]], None]] = []
        self._announced = False
        self._left = False
        self._news = False
        self._holder = ""
        self._failed = False
        self._promise_s = (
            settings.instance.idle_heartbeat_s
        )  # by when others hear of us again, as we have told them
        self._load = Load()
        self._began_s = clock.monotonic_s()
        self._rows_at_s = float("-inf")
        self._ahead_ms: float | None = None  # the primary's Unix time minus our monotonic one
        self._learning: asyncio.Task[None] | None = None
        db.subscribe(self._on_changes)
        db.subscribe_syncs(self._synced)

    # --- what others ask ---

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The others that are not gone, as far as is known here; some have no `url`."""
        return self._peers

    @property
    def leads(self) -> bool:
        """True while this instance may do what must be done once: standalone always, else while its lease runs."""
        return self._db.mode == "standalone" or self._lease.held

    @property
    def leader(self) -> str | None:
        """The id of the instance that leads, as of our newest beat."""
        if self._db.mode == "standalone":
            return self.identity.id
        return self._holder.rpartition(":")[0] or None

    def subscribe(self, listener: Callable[[tuple[Peer, ...]], None]) -> None:
        """Tell `listener` of the peers whenever they change, on the loop."""
        self._listeners.append(listener)

    def interval_s(self) -> float:
        """Return the seconds until the next beat is due."""
        return min(self._due_in_s(), _RETRY_S) if self._failed else self._due_in_s()

    async def write_as_leader(self, batch: Batch) -> Written:
        """Commit only if this instance leads by the primary's own word, whatever is believed here.

        Raises `LeaseLost`, and what `Database.write` raises.
        """
        if self._db.mode == "standalone":
            return await self._db.write(batch)
        if not self._lease.held:
            raise LeaseLost
        fenced = Batch(batch.statements, batch.conflicts, (*batch.requires, self._lease.standing()))
        try:
            return await self._db.write(fenced)
        except LeaseLost:
            self._lease.lost()
            raise

    async def find(self, instance_id: str) -> Peer | None:
        """Return an instance that ever was part of this fleet and is not forgotten, or None; looks again before that."""
        rows = await self._db.read(_URL_SQL, (instance_id,))
        if not rows and await self._refresh(0.0):
            rows = await self._db.read(_URL_SQL, (instance_id,))
        return _peer(rows[0]) if rows else None

    async def refresh(self) -> None:
        """Fetch the others' newest rows, unless what is here is a few seconds old or the primary is away."""
        await self._refresh(min(_ROWS_MAX_AGE_S, self._due_in_s()))

    async def rows(self) -> list[Instance]:
        """Return the whole fleet as the local replica knows it, in the order of ids. Two short reads."""
        now_ms = self._now_ms()
        row = await self._db.read_one(_LEADER_SQL, (self._lease.name, now_ms))
        leader = self._lease.holder if self._lease.held else str(row[0]) if row else ""
        found = {}
        for instance_id, boot, url, packed, seen_at_ms in await self._db.read(_ROWS_SQL):
            known = Peer(str(instance_id), str(boot), str(url))
            found[known.id] = described(
                known,
                unpacked(packed),
                seen_at_ms=int(str(seen_at_ms)),
                leads=leader == f"{known.id}:{known.boot}",
                now_ms=now_ms,
            )
        us = self.identity
        found[us.id] = described(
            Peer(us.id, us.boot, us.url),
            self._packed(self._load),
            seen_at_ms=now_ms,
            leads=self._db.mode == "standalone" or leader == self._lease.holder,
            now_ms=now_ms,
            is_self=True,
        )
        return [found[instance_id] for instance_id in sorted(found)]

    # --- the heartbeat ---

    async def beat(self) -> None:
        """Write our row, claim or renew the lease, and learn who else is there: one round trip. Never raises `Unavailable`."""
        if self._db.mode == "standalone" or self._left:
            return
        # Before anything is awaited: the next beat has just been planned by the same number.
        self._promise_s = self._due_in_s()
        await self._beat()

    async def _beat(self) -> None:
        lifetime_s = self._promise_s * LEASE_BEATS
        first = not self._announced
        self._load = await self._meter.measure()
        started_s, started_at_ms = self._clock.monotonic_s(), self._clock.now_ms()
        try:
            written = await self._db.write(Batch(self._beating(first, lifetime_s)))
        except Unavailable:
            self._failed = True
            return
        self._failed = False
        ours, claimed, [(now_ms, seq, holder)], others = written.rows[:4]
        self._announced = True
        self._holder = str(holder or "")
        if ours:
            self._lease.claimed(claimed, started_s=started_s, lifetime_s=lifetime_s)
        else:
            self._lease.lost()
        self._learn_time(int(str(now_ms)), started_s, started_at_ms)
        self._db.known_equal(int(str(seq)), started_s, started_at_ms)
        if int(str(seq)) > self._db.status().seq:
            self._db.sync_soon(int(str(seq)))
        self._learn_peers(others)
        self._conditions.set(
            "instance_id_taken",
            not ours,
            f"Another server has written heartbeats as {self.identity.id} since this one started.",
        )

    async def leave(self) -> None:
        """Say goodbye, so that nobody waits for us to fall silent. Does nothing when the primary is away."""
        self._left = True
        if self._learning is not None:
            self._learning.cancel()
        if not self._announced or self._db.status().primary == "unreachable":
            return
        statements = [
            Statement(_LEAVE_SQL, (self.identity.id, self.identity.boot)),
            record_if_changed(_CHANGED, actor_id=None, audience=NOBODY),
            self._lease.release(),
        ]
        self._lease.lost()
        try:
            await asyncio.wait_for(self._db.write(Batch(statements)), _LEAVE_TIMEOUT_S)
        except (Unavailable, TimeoutError) as error:
            log(_log, logging.WARNING, "left without a word", reason=str(error) or "no answer in time")

    def _beating(self, first: bool, lifetime_s: float) -> list[Statement]:
        us = self.identity
        packed = msgspec.json.encode(self._packed(self._load)).decode()
        statements = [
            Statement(_BEAT_SQL, (us.id, us.boot, us.url, packed, int(first))),
            self._lease.claim(lifetime_s, condition=_ROW_IS_OURS, params=(us.id, us.boot)),
            Statement(_PRIMARY_SQL, (self._lease.name,)),
            Statement(_PEERS_SQL.format(now=NOW_MS), (us.id,)),
        ]
        if first:
            # Peers ring a new boot at once, and at its new address.
            statements.append(record(_CHANGED, actor_id=None, audience=NOBODY, data={"instance": us.id}))
        return statements

    def _due_in_s(self) -> float:
        given = self._settings.instance
        return given.heartbeat_s if self._people_here() else given.idle_heartbeat_s

    # --- what a beat brings back ---

    def _learn_time(self, primary_ms: int, started_s: float, started_at_ms: int) -> None:
        half_ms = (self._clock.monotonic_s() - started_s) * 500
        self._ahead_ms = primary_ms - (started_s * 1000 + half_ms)
        skew_ms = started_at_ms + half_ms - primary_ms
        detail = f"It is {abs(skew_ms) / 1000:.0f} s {'ahead' if skew_ms > 0 else 'behind'}. Run a time service on this machine."
        self._conditions.set("clock_skew", abs(skew_ms) > _SKEW_MAX_MS, detail)

    def _learn_peers(self, rows: Sequence[Row]) -> None:
        silent = {str(row[0]) for row in rows if row[3]}
        for instance_id in silent:
            self._conditions.set(f"peer_silent:{instance_id}", active=True)
        self._conditions.withdraw("peer_silent", besides=silent)
        peers = tuple(map(_peer, rows))
        if peers != self._peers:
            self._peers = peers
            for listener in self._listeners:
                listener(peers)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """Somebody came or left: learn of it from the replica, and see whether a leader is needed, before our own beat is due."""
        if self._left or not any(change.kind in (_CHANGED, FEED_RESET) for change in changes):
            return
        self._news = self._announced
        if self._news and (self._learning is None or self._learning.done()):
            # In a context of its own: what it logs does not belong to the request that happened to bring the news.
            self._learning = asyncio.create_task(self._learn_from_replica(), name="fleet", context=Context())

    async def _learn_from_replica(self) -> None:
        while self._news:
            self._news = False
            try:
                rows = await self._db.read(_PEERS_SQL.format(now=self._now_ms()), (self.identity.id,))
                vacant = await self._db.read(_VACANT_SQL, (self._lease.name,))
            except Unavailable as error:
                log(_log, logging.WARNING, "fleet not read", reason=str(error))
                return
            self._learn_peers(rows)
            if vacant:
                await self._beat()  # the next one stays where it was planned

    def _synced(self, duration_s: float, ok: bool) -> None:
        if ok:
            self._rows_at_s = self._clock.monotonic_s() - duration_s

    async def _refresh(self, max_age_s: float) -> bool:
        """Fetch what heartbeats wrote, when what is here is older; tell whether the rows are that fresh now."""
        if self._db.mode == "standalone" or self._db.status().primary == "unreachable":
            return False
        if self._clock.monotonic_s() - self._rows_at_s > max_age_s:
            try:
                await self._db.sync(force=True)
            except Unavailable:
                return False
        return True

    # --- what we and others look like ---

    def _now_ms(self) -> int:
        """Return the primary's time, or our own before its was ever heard."""
        if self._ahead_ms is None:
            return self._clock.now_ms()
        return int(self._clock.monotonic_s() * 1000 + self._ahead_ms)

    def _packed(self, load: Load) -> Packed:
        status = self._db.status()
        synced_at_ms = status.last_sync_at_ms
        return Packed(
            region=self.identity.region,
            version=__version__,
            mode=self._db.mode,
            up_ms=int((self._clock.monotonic_s() - self._began_s) * 1000),
            schema=status.schema_version,
            seq=status.seq,
            lag_ms=status.lag_ms,
            sync_age_ms=None if synced_at_ms is None else max(0, self._clock.now_ms() - synced_at_ms),
            people=self._people_here(),
            streams=self._open_streams(),
            workers=self._settings.server.workers,
            load=load,
            interval_s=self._promise_s,
            conditions=[condition.name for condition in self._conditions.active()[:_CONDITIONS_TOLD]],
        )


def _peer(row: Row) -> Peer:
    return Peer(str(row[0]), str(row[1]), str(row[2]))
