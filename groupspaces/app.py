"""The composition root: every part is made here, and only here does one part meet another.

Owns which features there are, what listens to the feed and in which order, and how parts start and stop. Injects sessions
and memberships where lower layers need them.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from groupspaces.assets import static_dir
from groupspaces.clock import SystemClock
from groupspaces.db.changes import Change
from groupspaces.db.database import Database
from groupspaces.db.doorbell import Doorbell
from groupspaces.db.folder import DataFolder, FolderError
from groupspaces.db.lease import Lease
from groupspaces.db.local_store import LocalStore
from groupspaces.db.peers import PeerClient
from groupspaces.db.staging import LEASE as RESTORE_LEASE
from groupspaces.db.status import Round
from groupspaces.deployment_secrets import with_secrets
from groupspaces.features.accounts import api as accounts
from groupspaces.features.accounts import events as account_events
from groupspaces.features.accounts import (
    factor_api,
    oauth_api,
    passkeys_api,
    password_api,
    profile_api,
    tokens_api,
)
from groupspaces.features.accounts.avatars import Pictures
from groupspaces.features.accounts.ceremonies import Ceremonies
from groupspaces.features.accounts.credentials import StoredCredentials
from groupspaces.features.accounts.deletion import Deletion
from groupspaces.features.accounts.export import Exports
from groupspaces.features.accounts.forgotten import ForgottenPasswords
from groupspaces.features.accounts.last_seen import LastSeen, Used
from groupspaces.features.accounts.last_way_in import LastWayIn
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.links import Links
from groupspaces.features.accounts.oauth_flow import Flows
from groupspaces.features.accounts.passwords import Passwords
from groupspaces.features.accounts.providers import Providers, providers_of
from groupspaces.features.accounts.resealing import reseal_line
from groupspaces.features.accounts.second_factor import SecondFactor
from groupspaces.features.accounts.sign_up import SignUpRules, setup_codes
from groupspaces.features.chat import api as chat
from groupspaces.features.chat import events as chat_events
from groupspaces.features.chat.export import ChatExport
from groupspaces.features.chat.pages import Pages
from groupspaces.features.spaces import api as spaces
from groupspaces.features.spaces import events as space_events
from groupspaces.features.spaces import invites, members
from groupspaces.features.spaces.export import SpacesExport
from groupspaces.features.spaces.leaving import SpacesLeft
from groupspaces.host.board import Seat
from groupspaces.host.channel import OPERATE, Line
from groupspaces.host.crew import Crew
from groupspaces.host.local_call import Answer, Call, perform
from groupspaces.host.pulse import Pulse
from groupspaces.identity import Identity, identify
from groupspaces.keys import KeyRing
from groupspaces.live import Hub
from groupspaces.logging_context import log
from groupspaces.mail import Mailer
from groupspaces.ops import api as ops
from groupspaces.ops import (
    audit_api,
    backups_api,
    command_line_api,
    doorbell_api,
    fleet_api,
    jobs_api,
    maintenance_api,
    metrics,
    replication_api,
    secrets_api,
    store,
    users_api,
    verification_api,
)
from groupspaces.ops.audit_own import AuditExport
from groupspaces.ops.audit_seals import AuditSeals
from groupspaces.ops.backups.assurance import Assurance
from groupspaces.ops.backups.before_migration import before_migrating
from groupspaces.ops.backups.bucket import Bucket
from groupspaces.ops.backups.fetching import Fetching
from groupspaces.ops.backups.keeping import Backups
from groupspaces.ops.backups.offsite import Offsite
from groupspaces.ops.backups.proving import Proofs
from groupspaces.ops.backups.restoring import Restoring
from groupspaces.ops.backups.space_restoring import SpaceRestoring
from groupspaces.ops.backups.works import Works
from groupspaces.ops.conditions import Conditions
from groupspaces.ops.draining import Draining
from groupspaces.ops.health import Lifecycle
from groupspaces.ops.instances import Fleet
from groupspaces.ops.jobs import JobControl, JobHistory
from groupspaces.ops.load import LoadMeter, Spent
from groupspaces.ops.metrics import Metrics
from groupspaces.ops.replication_history import ReplicationHistory
from groupspaces.ops.sync_pace import SyncPace
from groupspaces.ops.tally import WorkerReport
from groupspaces.ops.tuning import Tuning
from groupspaces.ops.upkeep import Upkeep
from groupspaces.ops.watch import Watch
from groupspaces.settings import Settings
from groupspaces.signing import Signer
from groupspaces.times import rfc3339
from groupspaces.web import maintenance, openapi, stream
from groupspaces.web.activity import Activity
from groupspaces.web.application import application
from groupspaces.web.bookmarks import Bookmarks
from groupspaces.web.context import LOCAL_OPERATOR, Services
from groupspaces.web.cookies import SessionCookies
from groupspaces.web.devices import DeviceCookies
from groupspaces.web.forward import Forwarding
from groupspaces.web.guesses import Guesses
from groupspaces.web.limits import Everywhere, Limiter, check_rules
from groupspaces.web.operations import Operation
from groupspaces.web.proxies import TrustedProxies
from groupspaces.web.sharing import Sharing
from groupspaces.web.static import ClientRoute
from groupspaces.web.traffic import Traffic
from scheduler.backup_jobs import OFFSITE, PROOF
from scheduler.jobs import job_table
from scheduler.scheduler import Scheduler

FEATURES = (
    accounts,
    password_api,
    factor_api,
    passkeys_api,
    oauth_api,
    profile_api,
    tokens_api,
    spaces,
    chat,
    stream,
    ops,
    doorbell_api,
    fleet_api,
    audit_api,
    jobs_api,
    backups_api,
    maintenance_api,
    replication_api,
    verification_api,
    secrets_api,
    users_api,
    command_line_api,
    metrics,
)
# How long who leads waits for what the other workers of its host have to tell.
_WORKERS_TIMEOUT_S = 1.0

EVENTS = (account_events, space_events, chat_events)

_log = logging.getLogger("groupspaces")


def operations() -> tuple[Operation, ...]:
    """Return every operation of this version."""
    return tuple(operation for feature in FEATURES for operation in feature.OPERATIONS)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of this version; needs no settings."""
    return openapi.document((*operations(), *openapi.documentation(operations())))


class Application:
    """One server's parts. `asgi` is what uvicorn calls between `start` and `stop`."""

    def __init__(self, settings: Settings, seat: Seat | None = None) -> None:
        """Make the parts. Raises `SettingsError` when the data folder or the secret cannot be used.

        `seat` is given to each of several workers.
        """
        self.settings = settings = with_secret(settings)
        self._crew = crew = Crew(settings.data_dir, seat)
        self._pulse = Pulse(self._look_at_others)
        keys = KeyRing(settings.auth.secret, settings.auth.previous_secrets)
        codes = setup_codes(keys, settings.public_url)
        self.setup_code = codes[0] if codes else None
        self._clock = clock = SystemClock()
        self._lifecycle = Lifecycle()
        identity = identify(settings, boot=crew.seat.boot)
        self._db = db = Database(
            settings, clock, crew, before_migrating=before_migrating(settings, identity.id, clock)
        )
        # The order of those who listen to the feed: first what is remembered is dropped, then people are told.
        pages = Pages(db)
        db.subscribe(pages.on_changes)
        self._hub = Hub(
            db,
            members=functools.partial(members.ids, db.read),
            notice=self._notice,
            on_subscribe=self._pulse.quicken,
        )
        for feature in EVENTS:
            for noun, renderer in feature.renderers(db).items():
                self._hub.render(noun, renderer)
        self._activity = Activity(on_arrival=self._somebody_arrived, seat=crew.seat)
        traffic = Traffic()
        conditions = Conditions(clock)
        self._draining = Draining(
            self._lifecycle,
            self._hub,
            conditions,
            tell_others=lambda on: crew.tell_all("drain", on),
        )
        self._fleet = Fleet(
            db,
            identity,
            settings,
            clock,
            conditions,
            load=LoadMeter(self._spent),
            people_here=self._people_here,
            open_streams=lambda: self._activity.open_streams(self._hub.open_streams),
        )
        signer = Signer(keys)
        seals = AuditSeals(db, self._fleet.write_as_leader, signer, conditions)
        self._peer_client = PeerClient()
        self._doorbell = Doorbell(
            db,
            identity.id,
            signer,
            self._peer_client,
            clock,
            enabled=settings.replica.doorbell,
            report=lambda peer_id, failing, reason: conditions.set(
                f"doorbell_failing:{peer_id}", failing, reason
            ),
        )
        self._fleet.subscribe(self._doorbell.follow)
        db.subscribe_writes(self._doorbell.ring)
        self._store = LocalStore(settings.data_dir / store.FILE, store.SCHEMA)
        self._tuning = Tuning(db, settings.replica, identity.id)
        self._tuning.subscribe(self._tuned)
        self._pace = SyncPace(
            self._tuning,
            people_here=self._people_here,
            primary_away=lambda: db.status().primary == "unreachable",
            resume=self._sync_soon,
        )
        db.subscribe_rounds(self._pace.tried)
        self._history = ReplicationHistory(
            db,
            self._store,
            clock,
            people_here=self._people_here,
            doorbell_on=lambda: self._tuning.now.doorbell,
        )
        self._doorbell.subscribe(self._history.announced)
        self._watch = watch = Watch(
            db,
            conditions,
            clock,
            interval_s=lambda: self._pace.meant_s,
            timeout_s=settings.replica.timeout_s,
            leader_silent_s=crew.leader_silent_s,
            wal_limit_bytes=settings.data.wal_limit_mb * 1_000_000,
        )
        self._works = Works(clock)
        backups = Backups(db, settings, identity.id, clock, self._works)
        bucket = Bucket(settings.backup)
        offsite = Offsite(db, identity.id, backups, bucket, conditions)
        backups.on_removed = offsite.forget
        credentials = StoredCredentials(db, clock, settings.auth)
        forwarding = Forwarding(identity.id, signer, self._peer_client, db, credentials, self._fleet.find)
        fetching = Fetching(backups, bucket, forwarding, lambda: self._fleet.peers)
        proofs = Proofs(db, settings, identity.id, clock, backups, fetching)
        restore_lease = Lease(RESTORE_LEASE, identity.id, identity.boot, monotonic_s=clock.monotonic_s)
        restoring = Restoring(db, settings, clock, backups, fetching, restore_lease)
        space_restoring = SpaceRestoring(db, settings, clock, backups, fetching, restore_lease)
        self._assurance = Assurance(db, conditions, clock, max_age_h=settings.backup.proof_max_age_h)
        self._last_seen = LastSeen(db, clock, settings.auth)
        self._scheduler = Scheduler(
            job_table(
                db,
                settings,
                self._fleet,
                watch,
                self._pace,
                seals,
                on_sync_due=self._history.scheduled,
                store_last_seen=self._store_last_seen,
                reseal=functools.partial(reseal_line, db.read, self._fleet.write_as_leader, keys),
                backups=backups,
                proofs=proofs,
                restoring=restoring,
                offsite=offsite,
                assurance=self._assurance,
                upkeep=Upkeep(db, settings, conditions),
            ),
            JobHistory(self._store),
            conditions,
            clock,
            self._fleet,
        )
        db.subscribe_doubts(self._doubted)
        for follows in (PROOF, OFFSITE):
            self._works.subscribe_ends(functools.partial(self._scheduler.run_soon, follows))
        db.subscribe(self._backups_changed)
        db.subscribe_verifications(watch.look)
        rules = SignUpRules(settings.auth.sign_up, codes, functools.partial(invites.find_admission, db))
        self._metrics = Metrics(db, self._hub, traffic, crew)
        db.subscribe_syncs(lambda duration_s, ok: self._metrics.synced(duration_s, ok=ok))
        links = Links(keys.itsdangerous_keys(), settings.public_url, clock)
        letters = Letters(settings.public_url)
        self._mailer = Mailer(settings.mail, settings.mail_sender)
        self._forgotten = ForgottenPasswords(db, clock, self._mailer, links, letters)
        is_secure = settings.public_url.startswith("https://")
        check_rules(settings.limits.rules, ((op.method, op.path) for op in operations()))
        self._limiter = limiter = Limiter(
            settings.limits, clock, crew.seat, _counted_everywhere(settings, keys, conditions)
        )
        devices = DeviceCookies(keys, secure=is_secure)
        providers = providers_of(settings.oauth)
        services = Services(
            settings=settings,
            clock=clock,
            db=db,
            hub=self._hub,
            credentials=credentials,
            cookies=SessionCookies(keys, secure=is_secure),
            bookmarks=Bookmarks(db, max_stale_s=settings.auth.max_stale_s, seat=crew.seat),
            limiter=limiter,
            proxies=TrustedProxies(settings.server.trusted_proxies, settings.server.forwarded_header),
            activity=self._activity,
            note_use=self._last_seen.note,
            parts={
                Pages: pages,
                Passwords: Passwords(),
                Providers: providers,
                LastWayIn: LastWayIn(settings.auth.password_sign_in, tuple(found.id for found in providers)),
                Flows: Flows(keys, clock, secure=is_secure),
                Pictures: Pictures(),
                Deletion: Deletion(db, SpacesLeft()),
                Exports: Exports(db, (SpacesExport(db).files, ChatExport(db).files, AuditExport(db).files)),
                Links: links,
                Letters: letters,
                Mailer: self._mailer,
                ForgottenPasswords: self._forgotten,
                SecondFactor: SecondFactor(keys, clock),
                Ceremonies: Ceremonies(settings.public_url, keys, clock),
                SignUpRules: rules,
                Lifecycle: self._lifecycle,
                Draining: self._draining,
                Metrics: self._metrics,
                Identity: identity,
                KeyRing: keys,
                Conditions: conditions,
                Fleet: self._fleet,
                Backups: backups,
                Proofs: proofs,
                Restoring: restoring,
                SpaceRestoring: space_restoring,
                Fetching: fetching,
                Assurance: self._assurance,
                Forwarding: forwarding,
                Doorbell: self._doorbell,
                Tuning: self._tuning,
                ReplicationHistory: self._history,
                Watch: watch,
                JobControl: self._scheduler,
                AuditSeals: seals,
                DeviceCookies: devices,
                Guesses: Guesses(limiter, keys, devices),
            },
        )
        client = ClientRoute(static_dir(), settings)
        shared = functools.partial(Sharing, db=db, crew=crew, timeout_s=settings.server.request_timeout_s)
        self.asgi = application(
            services, operations(), [client], traffic, shared=shared if crew.seat.is_shared else None
        )

    async def start(self) -> None:
        """Open the database and begin the jobs. Raises a `SettingsError` when serving would be wrong."""
        verbs = {
            "traffic": self._report_traffic,
            "counted": self._counted,
            "refresh": self._refresh,
            "seen": self._report_seen,
            "drain": self._drained_elsewhere,
        }
        await self._crew.join(verbs)
        await self._db.open()
        await self._limiter.open()
        self._tuning.start()
        self._metrics.loop_lag.start()
        if self._crew.is_elected:
            await self._start_duties()
        # Only now: what takes over needs all of the above.
        self._crew.succeed(self._take_over)
        if self._crew.seat.is_shared:
            self._pulse.start()

    def is_first(self) -> bool:
        """Tell whether this process is to say that the server runs: once, whatever the number of workers."""
        board = self._crew.board
        first, board.welcomed = self._crew.leads and not board.welcomed, True
        return first

    def drain(self) -> None:
        """Send traffic elsewhere: not ready any more, and streams end."""
        self._lifecycle.draining = True
        self._crew.retire()
        self._hub.drain()

    async def stop(self) -> None:
        """End jobs, then streams, then the database."""
        self._pulse.close()
        await self._crew.close()
        if self._crew.is_elected:
            await self._stop_duties()
        await self._hub.close()
        await self._last_seen.close()
        await self._forgotten.close()
        await self._mailer.close()
        await self._tuning.close()
        await self._metrics.loop_lag.close()
        await self._limiter.close()
        await self._db.close()
        self._crew.resign()

    # --- what one process of an instance does for all of them ---

    async def _start_duties(self) -> None:
        await self._store.open()
        if self._db.mode == "replica":
            self._history.start()
        await self._scheduler.start()
        verbs = {
            OPERATE: self._operate,
            "http": self._serve_passed_on,
            "sync": self._sync_for,
            "wrote": self._wrote_elsewhere,
            "damaged": self._damaged_elsewhere,
            "arrived": self._arrived_elsewhere,
        }
        try:
            await self._crew.lead(verbs)
        except OSError as error:
            if self._crew.seat.is_shared:
                raise FolderError(f"The workers cannot meet in the data folder: {error}") from error
            log(_log, logging.WARNING, "no control socket", error=str(error))

    async def _take_over(self) -> None:
        """Lead from now on, in the place of a worker that has gone."""
        await self._db.lead()
        await self._start_duties()

    async def _stop_duties(self) -> None:
        await self._db.end_verification()
        await self._works.close()
        await self._scheduler.stop()
        await self._history.close()
        await self._store.close()
        if self._crew.board.stopping or not self._crew.seat.is_shared:
            await self._fleet.leave()  # else the other workers go on, and one of them takes over
        await self._doorbell.close()
        await self._peer_client.close()

    async def _operate(self, line: Line, payload: Any) -> Answer:
        """Answer the command line: whoever may open the data folder's socket is the operator."""
        return await perform(self.asgi, msgspec.convert(payload, Call), **{LOCAL_OPERATOR: True})

    async def _serve_passed_on(self, line: Line, payload: Any) -> Answer:
        """Answer a call that another worker got from the network."""
        return await perform(self.asgi, msgspec.convert(payload, Call))

    # What the other workers ask of the one that leads, and it of them.

    async def _sync_for(self, line: Line, force: Any) -> Round:
        return await self._db.sync(force=bool(force))

    async def _wrote_elsewhere(self, line: Line, payload: Any) -> None:
        seq, began_s = payload
        self._db.wrote_elsewhere(int(seq), float(began_s))

    async def _damaged_elsewhere(self, line: Line, payload: Any) -> None:
        generation, reason = payload
        self._db.found_damaged(int(generation), str(reason))

    async def _arrived_elsewhere(self, line: Line, payload: Any) -> None:
        self._somebody_arrived()

    async def _drained_elsewhere(self, line: Line, payload: Any) -> None:
        self._draining.here(on=bool(payload))

    async def _report_traffic(self, line: Line, payload: Any) -> WorkerReport:
        return self._metrics.report()

    async def _counted(self, line: Line, payload: Any) -> None:
        self._metrics.inherit(payload)

    async def _report_seen(self, line: Line, payload: Any) -> list[Used]:
        return self._last_seen.taken()

    async def _store_last_seen(self) -> str:
        """Write when credentials were last used, at whichever worker of this host."""
        for used in await self._crew.ask_all("seen", timeout_s=_WORKERS_TIMEOUT_S):
            self._last_seen.add(used)
        return await self._last_seen.store()

    async def _refresh(self, line: Line, payload: Any) -> None:
        self._db.refresh()

    def _look_at_others(self) -> bool:
        """Tell other workers how it is here, notice what they did, and return whether to look again soon."""
        self._activity.say(self._hub.open_streams)
        self._watch.look_beside()
        self._db.refresh()
        return self._hub.open_streams > 0

    async def _spent(self) -> Spent:
        await self._metrics.gather()
        reports = self._metrics.totals()
        return Spent(
            cpu_s=sum(report.cpu_s for report in reports),
            rss_bytes=sum(report.rss_bytes for report in reports),
            requests=sum(report.total for report in reports),
        )

    def _people_here(self) -> bool:
        return self._activity.people_connected(
            now_s=self._clock.monotonic_s(), open_streams=self._hub.open_streams
        )

    def _somebody_arrived(self) -> None:
        if not self._crew.leads:
            # First the board: what the leader plans by it counts for a whole interval.
            self._activity.say(self._hub.open_streams)
            self._crew.tell("arrived")
        elif self._db.mode == "replica":
            self._scheduler.run_soon("replica_sync")
            self._scheduler.run_soon("heartbeat")

    async def _notice(self) -> Mapping[str, Any] | None:
        """Return what every page is to show at once: that nobody saves anything for now."""
        found = await maintenance.current(self._db)
        return None if found is None else {"message": found.message, "since": rfc3339(found.since_ms)}

    def _backups_changed(self, changes: Sequence[Change]) -> None:
        if self._assurance.on_changes(changes):
            self._scheduler.run_soon("backup_watch")

    def _doubted(self, reason: str) -> None:
        """Compare the replica with the primary soon: something happened after which it may differ."""
        if self.settings.replica.verify_hours:
            self._scheduler.run_soon("replica_verify")

    def _sync_soon(self) -> None:
        if self._db.mode == "replica":
            self._scheduler.run_soon("replica_sync")

    def _tuned(self) -> None:
        """Begin with the new intervals now: the next time may have been planned far ahead."""
        self._doorbell.enabled = self._tuning.now.doorbell
        self._sync_soon()


def _counted_everywhere(settings: Settings, keys: KeyRing, conditions: Conditions) -> Everywhere | None:
    """Return the place where all instances count together, if there is to be one."""
    if not settings.limits.enabled or not settings.limits.redis_url:
        return None
    # Importing the client takes 80 ms (measured 2026-11), which most never need.
    from groupspaces.web.redis_windows import RedisWindows

    namespace = keys.keys("rate limits namespace")[0].hex()[:16]
    return RedisWindows(
        settings.limits.redis_url,
        namespace,
        report=lambda is_away, why: conditions.set("limits_store_away", is_away, why),
    )


def with_secret(settings: Settings) -> Settings:
    """Return the settings with the secrets of a standalone instance filled in."""
    DataFolder(settings.data_dir).prepare()
    return with_secrets(settings, settings.data_dir)
