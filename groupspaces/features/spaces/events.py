"""What browsers are told live about spaces and members."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from groupspaces.db.changes import Change
from groupspaces.db.database import Database
from groupspaces.features.spaces import members, spaces
from groupspaces.features.spaces.access import Role
from groupspaces.features.spaces.members import MemberUser
from groupspaces.live import Rendered, Renderer
from groupspaces.live_stream import Event


class MemberEvent(msgspec.Struct):
    """Somebody joined a space or got another role."""

    space_id: int
    user: MemberUser
    role: Role
    joined_at: str


class MemberLeftEvent(msgspec.Struct):
    space_id: int
    user_id: int


class SpaceDeletedEvent(msgspec.Struct):
    id: int


def renderers(db: Database) -> Mapping[str, Renderer]:
    """Return who renders the changes of which noun. Each reads what it tells of once, as it is now."""

    async def space(change: Change) -> Rendered:
        if change.space_id is None and change.subject_id is None:
            return None
        space_id = change.space_id or change.subject_id or 0
        if change.kind == "space.deleted":
            return Event(change.kind, SpaceDeletedEvent(space_id))
        facts = await spaces.facts(db.read, space_id)
        return Event(change.kind, facts) if facts is not None else None

    async def member(change: Change) -> Rendered:
        space_id, user_id = change.space_id, change.subject_id
        if space_id is None or user_id is None:
            return None
        if change.kind == "member.left":
            # Nobody can tell the person who left but by name: they are no member any more.
            told = await members.ids(db.read, space_id) | {user_id}
            return Event(change.kind, MemberLeftEvent(space_id, user_id), to=frozenset(told))
        found = await members.one(db.read, space_id, user_id)
        if found is None:
            return None
        return Event(change.kind, MemberEvent(space_id, found.user, found.role, found.joined_at))

    return {"space": space, "member": member}
