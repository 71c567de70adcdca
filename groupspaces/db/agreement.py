"""What an instance and a primary must agree on before data moves between them: history, schema, secret.

Owns the question (one request), what its answer means here, and asking again, more and more rarely, a primary that must not be touched:
one that was wiped, belongs to another deployment, or is still being filled. Until it says otherwise nothing is fetched, migrated
or written. Never fetches or serves anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

from groupspaces.clock import Clock
from groupspaces.deployment_secrets import fingerprints
from groupspaces.errors import SettingsError, Unavailable
from groupspaces.logging_context import log
from groupspaces.settings import Settings

from . import common_secret, lineage, migrate
from .batch import Row, Statement
from .lineage import Holding
from .remote_primary import RemotePrimary

_log = logging.getLogger("groupspaces.db")

_PAUSE_S, _PAUSE_MAX_S = 0.5, 10.0
_PROMPT_S = 1.0


class Agreement:
    """With one primary. For the event loop alone."""

    def __init__(
        self,
        remote: RemotePrimary,
        settings: Settings,
        clock: Clock,
        *,
        holding: Callable[[], Awaitable[Holding | None]],
        on_change: Callable[[], None],
        on_return: Callable[[], None],
        before_migrating: migrate.BeforeChange | None = None,
    ) -> None:
        """`holding` returns what this instance has a copy of.

        `on_change` hears of each new `state`, and `on_return` that a refused primary is refused no more.
        """
        self._remote = remote
        self._settings = settings
        self._clock = clock
        self._holding = holding
        self._on_change = on_change
        self._on_return = on_return
        self._before_migrating = before_migrating
        self._asking: asyncio.Task[bool] | None = None
        self._asking_again: asyncio.Task[None] | None = None
        self._ask_now = asyncio.Event()
        self._unsuitable = ""
        self._was_ours_s = float("-inf")
        self.state: lineage.State = "unknown"
        self.since_ms: int | None = None
        self.reason = ""
        self.complete = False
        self.schema_version = 0

    @property
    def refused(self) -> bool:
        """Whether the primary is one to keep away from."""
        return self.state in lineage.REFUSED

    def why_not_fetch(self) -> str | None:
        """Say why nothing may be fetched now; None when it may."""
        if self.state == "unknown":
            return "the primary has not been recognised yet"
        return self.reason if self.refused else None

    async def reach(self) -> bool:
        """Ask what the primary is, and make schema and secret agree; tell whether it has another history, to be fetched anew.

        One round trip (shared with whoever asks meanwhile) unless something has to be changed there. Raises Unavailable for a primary that is away
        or refused, and SettingsError (`SchemaError`) for one that does not fit this version or this secret.
        """
        if self._asking is None or self._asking.done():
            # In a context of its own: what it logs belongs to no request. Who stops waiting does not stop it for others.
            self._asking = asyncio.create_task(self._reach(), name="agreement", context=Context())
            self._asking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._asking)

    async def reach_or_wait(self) -> bool:
        """Do the same while serving: a primary that does not fit us counts as away, with the reason logged. Raises Unavailable."""
        try:
            return await self.reach()
        except SettingsError as error:
            if str(error) != self._unsuitable:
                self._unsuitable = str(error)
                log(_log, logging.ERROR, "primary unsuitable", reason=self._unsuitable)
            raise Unavailable(
                "The primary does not fit this instance; its operator can see why in the log. Nothing was saved.",
                code="PRIMARY_UNAVAILABLE",
                retry_after_s=30,
            ) from error

    def require(self) -> None:
        """Raise Unavailable while the primary is refused."""
        if self.refused:
            raise refused(self.reason)

    def confirm(self, asked_s: float) -> None:
        """Take note that the primary, asked then (monotonic), has proved to have our history."""
        self._enter("ours", "")
        self.heard(asked_s)

    def heard(self, asked_s: float) -> None:
        """Take note that it was ours then, which says nothing of one that has been doubted since."""
        if self.state == "ours":
            # An answer that took its time is as old as the question: perhaps we were stopped meanwhile.
            now_s = time.monotonic()
            self._was_ours_s = max(self._was_ours_s, now_s if now_s - asked_s < _PROMPT_S else asked_s)

    def was_ours_after(self, at_s: float) -> bool:
        """Tell whether it is known to have been ours later than that (monotonic)."""
        return self.state == "ours" and self._was_ours_s >= at_s

    def doubt(self) -> None:
        """Ask again before anything is fetched: the connection was lost, or something did not match."""
        if not self.refused:
            self._enter("unknown", "")

    def ask_again(self) -> None:
        """Ask a refused primary at once: it may be another one by now."""
        self._ask_now.set()

    async def close(self) -> None:
        """Ask nothing any more."""
        tasks = [task for task in (self._asking, self._asking_again) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _reach(self) -> bool:
        holding = await self._holding()
        traits, ledger, secret = await self._remote.snapshot(
            (
                lineage.question(holding),
                Statement(migrate.ledger_sql()[1]),
                Statement(common_secret.SQL),
            )
        )
        verdict = lineage.judge(lineage.traits_of(traits) if ledger else None, holding)
        if verdict != "ours":
            self.complete = False
        if verdict != "ours" and verdict != "other_history":
            self._refuse(verdict, holding)
        if self.refused:
            self._enter("unknown", "")
        await self._make_agree(migrate.status_of(ledger or []), secret or [])
        self._enter("ours", "")
        return verdict == "other_history"

    def _refuse(self, state: lineage.State, holding: Holding | None) -> None:
        self._enter(state, lineage.explain(state, self._settings.primary.url, holding))
        if self._asking_again is None or self._asking_again.done():
            self._asking_again = asyncio.create_task(
                self._ask_until_ours(), name="refused primary", context=Context()
            )
        raise refused(self.reason)

    async def _make_agree(self, schema: migrate.SchemaStatus, secret: list[Row]) -> None:
        if schema.pending:
            await self._migrate_or_refuse(schema)
            schema = await migrate.status(self._remote)
            secret = await self._remote.read(common_secret.SQL)
        self.schema_version = schema.version
        await common_secret.agree(self._remote, fingerprints(self._settings), secret)
        self.complete = True
        self._unsuitable = ""

    async def _migrate_or_refuse(self, status: migrate.SchemaStatus) -> None:
        if not self._settings.primary.migrate:
            names = ", ".join(migration.label for migration in status.pending)
            raise migrate.SchemaError(
                f"The primary has schema {status.version}; these migrations are pending: {names}. "
                "Run `groupspaces migrate up`, or start with `--migrate`."
            )
        for migration in await migrate.up(self._remote, before=self._before_migrating):
            log(_log, logging.INFO, "migration applied", migration=migration.label)

    async def _ask_until_ours(self) -> None:
        pause_s = _PAUSE_S
        while self.refused:
            self._ask_now.clear()
            try:
                await asyncio.wait_for(self._ask_now.wait(), pause_s * random.uniform(0.5, 1))  # noqa: S311
                pause_s = _PAUSE_S
            except TimeoutError:
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            try:
                await self.reach_or_wait()
            except Unavailable:
                continue
        self._on_return()

    def _enter(self, state: lineage.State, reason: str) -> None:
        before, self.state, self.reason = self.state, state, reason
        if before == state:
            return
        self.since_ms = self._clock.now_ms()
        if self.refused:
            log(_log, logging.ERROR, "primary refused", lineage=state, reason=reason)
        elif before in lineage.REFUSED:
            log(_log, logging.INFO, "primary accepted again", lineage=state)
        self._on_change()


def refused(reason: str = "") -> Unavailable:
    """Return what people are told who want something of a refused primary; `reason` is for operators."""
    error = Unavailable(
        "The primary does not hold this deployment's data right now, so nothing was saved. "
        "What is here can be read; the operators can see what has to be done.",
        code="PRIMARY_UNAVAILABLE",
        retry_after_s=10,
    )
    if reason:
        error.add_note(reason)
    return error
