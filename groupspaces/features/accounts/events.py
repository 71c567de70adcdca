"""What browsers are told live about accounts."""

from __future__ import annotations

from collections.abc import Mapping

from groupspaces.db.changes import Change
from groupspaces.db.database import Database
from groupspaces.features.accounts import users
from groupspaces.live import Rendered, Renderer
from groupspaces.live_stream import Event


def renderers(db: Database) -> Mapping[str, Renderer]:
    """Return who renders the changes of which noun."""

    async def user(change: Change) -> Rendered:
        if change.kind != "user.updated" or change.subject_id is None:
            return None
        return Event(change.kind, await users.own(db.read, change.subject_id))

    return {"user": user}
