"""What browsers are told live about messages and read marks."""

from __future__ import annotations

from collections.abc import Mapping

from groupspaces.db.changes import Change
from groupspaces.db.database import Database
from groupspaces.errors import NotFound
from groupspaces.features.chat import messages, read_marks
from groupspaces.live import Rendered, Renderer
from groupspaces.live_stream import Event


def renderers(db: Database) -> Mapping[str, Renderer]:
    """Return who renders the changes of which noun. Each reads what it tells of once, as it is now."""

    async def message(change: Change) -> Rendered:
        if change.subject_id is None:
            return None
        try:
            return Event(change.kind, await messages.one(db.read, change.subject_id))
        except NotFound:
            return None

    async def read(change: Change) -> Rendered:
        if change.space_id is None or change.subject_id is None:
            return None
        try:
            return Event(change.kind, await read_marks.one(db.read, change.space_id, change.subject_id))
        except NotFound:
            return None

    return {"message": message, "read": read}
