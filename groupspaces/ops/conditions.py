"""Conditions: what is wrong right now, since when, and in words an operator can act on.

Owns the list of conditions this version knows and which of them are active. Parts set theirs as often as they like;
only changes count: each is logged once. Some concern one thing of many and carry its name: `job_failed:retention`.
Names and times are public (health shows them); details are for operators. Never decides what to do about one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import msgspec

from groupspaces.clock import Clock
from groupspaces.logging_context import log
from groupspaces.times import rfc3339

_log = logging.getLogger("groupspaces.conditions")

# What comes before the colon of a name → what it means.
TITLES = {
    "primary_unreachable": "The primary cannot be reached: people can read, and nothing can be saved.",
    "primary_wiped": "The primary is empty: people can read what this instance has, and nothing can be saved.",
    "primary_foreign": "The primary belongs to another deployment: people can read what this instance has, and nothing can be saved.",
    "primary_superseded": "The primary was replaced and has come back: people can read what this instance has, and nothing can be saved.",
    "primary_split": "Two primaries were promoted, and this is the other one: people can read what this instance has, and nothing can be saved.",
    "primary_moving": "A move of all data into the primary or away from it has not finished: nothing is fetched from it, and nothing can be saved.",
    "replica_behind": "This instance has not been equal to the primary for too long.",
    "position_stuck": "The primary has moved on and this instance has not, although fetching succeeds: people here read old state.",
    "replica_child_idle": "The process that fetches from the primary lives and brings nothing.",
    "wal_grows": "The write-ahead log of the database grows and cannot be emptied: something reads for very long.",
    "clock_jumped": "The clock of this machine has jumped.",
    "replica_rebuilding": "This instance is fetching a new copy of all data and serves the old one meanwhile.",
    "rebuild_blocked": "There is no room on the disk for a new copy of the data; the old one goes on serving.",
    "replica_differs": "The copy of this instance is not what the primary has: it is fetched anew.",
    "replica_rescues": "An old copy at this instance may hold what the primary has lost.",
    "job_failed": "The newest run of a job failed.",
    "job_missed": "A job did not run when it was due, or does not come to an end.",
    "database_damaged": "The database file of this instance is damaged.",
    "certificate_expires": "The certificate of this place expires soon, or is not right.",
    "disk_low": "The disk of this instance is nearly full.",
    "job_paused": "A job is paused: nothing does its work until it is resumed.",
    "doorbell_failing": "Another instance does not answer when it is told of changes.",
    "instance_id_taken": "Another server uses this instance's id: give each its own instance.id and data folder.",
    "clock_skew": "This machine's clock differs from the primary's.",
    "worker_silent": "The process of this instance that keeps its data equal to the primary's and runs its jobs does not answer.",
    "audit_broken": "Somebody has changed the audit record: check it with `groupspaces audit verify`.",
    "peer_silent": "An instance of the fleet has not been heard of.",
    "draining": "This instance is drained: load balancers send people elsewhere.",
    "maintenance": "Maintenance is on: nobody but operators saves anything.",
    "backup_old": "No backup has been made for too long.",
    "proof_old": "No backup has been proved to be good for too long.",
    "proof_failed": "The newest backup is not good: it could not be restored.",
    "offsite_failed": "Backups cannot be copied to object storage.",
    "limits_store_away": "The Redis of the rate limits does not answer: each instance counts for itself.",
}
_LIMIT = 200
_DETAIL_CHARS = 500
_SUBJECT_CHARS = 64


class Condition(msgspec.Struct, frozen=True):
    """One thing that is wrong: `since_ms` is when it was first seen, by this machine's clock."""

    name: str
    title: str
    since_ms: int
    detail: str


class ConditionShown(msgspec.Struct, frozen=True):
    """One thing that is wrong, for operators: `title` says what it means, `detail` what was seen last."""

    name: str
    title: str
    since: str
    detail: str


class Conditions:
    """What is wrong at this instance. For the event loop alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: dict[str, Condition] = {}

    def set(self, name: str, active: bool, detail: str = "", *, since_ms: int | None = None) -> None:
        """Say that a condition holds or does not; `name` is a key of TITLES, or one with `:` and the thing it concerns.

        While it holds its time stays and its detail follows; `since_ms` is for one that began before this process did.
        Raises KeyError for a kind that TITLES does not know.
        """
        kind, _, subject = name.partition(":")
        title = TITLES[kind]
        name = f"{kind}:{subject[:_SUBJECT_CHARS]}" if subject else kind
        before = self._active.get(name)
        if not active:
            if before is not None:
                del self._active[name]
                lasted_ms = max(0, self._clock.now_ms() - before.since_ms)
                log(_log, logging.INFO, "condition over", condition=name, lasted_ms=lasted_ms)
            return
        detail = detail[:_DETAIL_CHARS]
        if before is None:
            if len(self._active) >= _LIMIT:
                return
            log(_log, logging.WARNING, "condition", condition=name, detail=detail)
        if before is not None:
            since_ms = before.since_ms
        self._active[name] = Condition(name, title, since_ms or self._clock.now_ms(), detail)

    def active(self) -> list[Condition]:
        """List what is wrong, the longest first."""
        return sorted(self._active.values(), key=lambda condition: (condition.since_ms, condition.name))

    def shown(self) -> list[ConditionShown]:
        """List the same for operators."""
        return [
            ConditionShown(active.name, active.title, rfc3339(active.since_ms), active.detail)
            for active in self.active()
        ]

    def withdraw(self, kind: str, *, besides: Collection[str] = ()) -> None:
        """End all conditions of one kind whose subject is not in `besides`, such as of peers that are gone for good."""
        for name in [*self._active]:
            known_kind, _, subject = name.partition(":")
            if known_kind == kind and subject not in besides:
                self.set(name, active=False)
