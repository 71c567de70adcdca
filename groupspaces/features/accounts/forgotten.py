"""Forgotten passwords: a link by mail, or a note for the operator where no mail is sent.

Everything that differs between addresses somebody has and addresses nobody has happens in the background, so that neither the answer
nor its time tells them apart. Owns `reset_asked_at_ms`. Hides how often one person is written to.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from groupspaces.clock import Clock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOBODY, NOW_MS, record
from groupspaces.db.database import Database
from groupspaces.errors import Unavailable
from groupspaces.features.accounts.letters import Letters
from groupspaces.features.accounts.links import Links
from groupspaces.logging_context import log
from groupspaces.mail import Mailer

# One letter may be lost or overlooked; more than this would only annoy somebody who never asked.
_LETTER_EVERY_S = 60.0
_NOTE_EVERY_MS = 600_000
# Whoever asks more than the limits allow waits in vain.
_MAX_WAITING = 200

_HOLDER_SQL = """
SELECT id, credentials_version, reset_asked_at_ms FROM user
WHERE email = ? AND suspended_at_ms IS NULL AND deleted_at_ms IS NULL"""
_NOTE_SQL = f"""
UPDATE user SET reset_asked_at_ms = {NOW_MS}
WHERE id = ? AND coalesce(reset_asked_at_ms, 0) < {NOW_MS} - {_NOTE_EVERY_MS}"""

_log = logging.getLogger("groupspaces.accounts")


class ForgottenPasswords:
    """Take care of those who ask. For one event loop."""

    def __init__(self, db: Database, clock: Clock, mailer: Mailer, links: Links, letters: Letters) -> None:
        self._db = db
        self._clock = clock
        self._mailer = mailer
        self._links = links
        self._letters = letters
        self._waiting: set[asyncio.Task[None]] = set()
        self._written_s: dict[int, float] = {}

    def asked(self, email: str) -> None:
        """See to it that whoever has this address, in its canonical spelling, can choose a new password; returns at once."""
        if len(self._waiting) >= _MAX_WAITING:
            log(_log, logging.WARNING, "forgotten password dropped: too many wait")
            return
        task = asyncio.create_task(self._answer(email), name="forgotten password")
        self._waiting.add(task)
        task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Give up what has not been answered."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _answer(self, email: str) -> None:
        try:
            # A link by credentials that are no longer theirs would open nothing.
            await self._db.catch_up()
            holder: Any = await self._db.read_one(_HOLDER_SQL, (email,))
            if holder is None:
                return
            user_id, credentials_version, asked_at_ms = holder
            if self._mailer.is_configured:
                self._write_to(user_id, credentials_version, email)
            elif (asked_at_ms or 0) < self._clock.now_ms() - _NOTE_EVERY_MS:
                await self._note(user_id)
        except Unavailable as error:
            log(_log, logging.WARNING, "forgotten password not answered", reason=error.code)

    def _write_to(self, user_id: int, credentials_version: int, email: str) -> None:
        now_s = self._clock.monotonic_s()
        self._written_s = {
            id_: written_s
            for id_, written_s in self._written_s.items()
            if now_s - written_s < _LETTER_EVERY_S
        }
        if user_id not in self._written_s:
            self._written_s[user_id] = now_s
            link = self._links.make("reset", user_id, credentials_version, email=email)
            self._mailer.send(self._letters.reset(email, link))

    async def _note(self, user_id: int) -> None:
        told = record(
            "account.reset_asked",
            actor_id=None,
            audience=NOBODY,
            subject_id=user_id,
            where="WHERE changes() > 0",
        )
        await self._db.write(Batch([Statement(_NOTE_SQL, (user_id,)), told]))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(_log, logging.ERROR, "forgotten password failed", exc_info=error)
