"""What an instance lends to its attestation: its replica, its primary, and when comparing them makes sense.

Owns the refusals. Two sides that are being changed as a whole (a new copy is fetched, a migration runs) are not compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from groupspaces.errors import Conflict

from . import digests, migrate
from .attest import REBUILD_REASON, Subject
from .follower import Follower
from .reader import Reader
from .remote_primary import RemotePrimary
from .replica import Replica
from .staging import STAGED_SQL


def subject(
    remote: RemotePrimary,
    replica: Replica,
    reader: Reader,
    follower: Follower,
    *,
    fetch: Callable[[], Awaitable[object]],
) -> Subject:
    """Describe the replica of an instance; `fetch` brings all that the primary has, also what is not in its feed."""

    async def tables() -> list[str]:
        return [str(name) for name, _ in await reader.rows(digests.tables_sql(), ())]

    async def check() -> None:
        if (reason := replica.state.rebuild_reason) is not None:
            raise Conflict(
                f"This instance is fetching a new copy of all data ({reason}). Verify it when it is there.",
                code="REPLICA_REBUILDING",
            )
        if await remote.read(STAGED_SQL):
            raise Conflict(
                "A backup is being restored: all data will be exchanged. Verify the replica when that has ended.",
                code="RESTORING",
            )
        # Migrations are not in the feed: what the primary has got meanwhile must be here before it is compared.
        await fetch()
        sql = migrate.ledger_sql()[1]
        theirs = migrate.status_of(await remote.read(sql))
        ours = migrate.status_of(await reader.rows(sql, ()))
        if theirs.pending or theirs != ours:
            raise Conflict(
                f"The primary has schema {theirs.version} and this replica {ours.version}: a migration is under way. "
                "Verify the replica when it has ended.",
                code="MIGRATING",
            )

    return Subject(
        path=replica.path,
        generation=lambda: replica.state.generation,
        tables=tables,
        seq=lambda: follower.seq,
        read=remote.attest,
        fetch=fetch,
        rebuild=lambda: replica.rebuild(REBUILD_REASON, cause="differs"),
        check=check,
        proved=lambda path: replica.proved(int(path.parent.name)),
    )
