"""Who may do what in a space.

Owns roles and their order, the check on the local file before a handler runs (`member`), and the SQL by which
each write decides the same again at the primary (`MAY`): a replica's yes never authorises a write. Strangers
get 404 for everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from groupspaces.errors import AppError, Forbidden, NotFound
from groupspaces.web.context import Context
from groupspaces.web.operations import ForTokens

Role = Literal["owner", "admin", "member"]

_RANK: dict[str, int] = {"member": 0, "admin": 1, "owner": 2}
_NEEDED: dict[Role, str] = {
    "member": "Only members of this space may do this.",
    "admin": "Only owners and admins of this space may do this.",
    "owner": "Only owners of this space may do this.",
}

ROLE_SQL = """
SELECT member.role FROM member JOIN space ON space.id = member.space_id
WHERE member.space_id = ? AND member.user_id = ? AND space.deleted_at_ms IS NULL"""


@dataclass(frozen=True, slots=True)
class MemberOfSpace:
    """Members of the space in the path (`space_id`) with at least this role."""

    role: Role
    for_tokens: ForTokens = "method"
    is_of_a_space: bool = True

    @property
    def name(self) -> str:
        return f"{self.role} of the space"

    async def check(self, ctx: Context) -> None:
        """Raise NotFound for strangers and Forbidden for members of a lower role. One read."""
        space_id = ctx.params["space_id"]
        row: Any = await ctx.read_one(ROLE_SQL, (space_id, ctx.user_id))
        require(row[0] if row and ctx.may_enter(space_id) else None, self.role)


def member(role: Role = "member") -> MemberOfSpace:
    """Return the access of members with at least this role."""
    return MemberOfSpace(role)


def require(role: str | None, needed: Role) -> None:
    """Raise what somebody of this role (None: a stranger) is answered when `needed` is asked for."""
    if role is None:
        raise no_such_space()
    if _RANK[role] < _RANK[needed]:
        raise forbidden(needed)


def may(needed: Role) -> str:
    """Return an SQL condition on (space_id, user_id): this person has at least this role there."""
    roles = ", ".join(f"'{role}'" for role, rank in _RANK.items() if rank >= _RANK[needed])
    return (
        "EXISTS (SELECT 1 FROM member AS actor JOIN space AS room ON room.id = actor.space_id"
        " WHERE actor.space_id = ? AND actor.user_id = ?"
        f" AND actor.role IN ({roles}) AND room.deleted_at_ms IS NULL)"
    )


def refusal(needed: Role) -> AppError:
    """Return what a write refused by `may` is answered: the access check passed on a state now past."""
    return no_such_space() if needed == "member" else forbidden(needed)


def forbidden(needed: Role) -> Forbidden:
    """Return the answer for members whose role is too low."""
    return Forbidden(_NEEDED[needed], code="ROLE_TOO_LOW")


def no_such_space() -> NotFound:
    """Return the answer for a space that is not there or not the caller's to see."""
    return NotFound("There is no such space, or you are not a member of it.")
