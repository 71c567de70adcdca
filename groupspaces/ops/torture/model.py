"""What people were promised: each write as acknowledged, refused or not known, and everything they did in its order.

Owns the `Model` (what must, may and must not be there), the `History` of operations, and eras: a primary that was restored or
lost begins another one, in which what was acknowledged above the cut may be gone. Never talks to anybody and never judges:
`checks.py` does.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["acknowledged", "refused", "unknown"]

# What a long run remembers; enough for an hour.
_REMEMBERED = 500_000
_SHOWN_AROUND = 14
_AROUND_S = 2.0
_FAULTS_S = 15.0

# Who does what nobody does.
FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that somebody did, or that came to them, and what came of it. Times are seconds since the start."""

    started_s: float
    ended_s: float
    person: str
    kind: str
    instance: str
    outcome: Outcome
    subject: str
    status: int = 0
    seq: int = 0
    note: str = ""

    def line(self) -> str:
        """Return it for people to read."""
        if self.person == FAULT:
            return f"{self.started_s:8.3f} {FAULT} {self.kind} at {self.instance}: {self.note}"
        answer = self.status or "no answer"
        seq = f" seq {self.seq}" if self.seq else ""
        note = f" ({self.note})" if self.note else ""
        return (
            f"{self.started_s:8.3f}-{self.ended_s:.3f} {self.person} {self.kind} {self.subject!r} at {self.instance}: "
            f"{self.outcome} {answer}{seq}{note}"
        )


class History:
    """All operations in the order in which they ended."""

    def __init__(self) -> None:
        self._operations: deque[Operation] = deque(maxlen=_REMEMBERED)
        self.kinds: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many there were, also of those that are forgotten by now."""
        return self.kinds.total()

    def add(self, operation: Operation) -> None:
        """Remember one."""
        self._operations.append(operation)
        self.kinds[operation.kind] += 1

    def mark(self, fault: Operation) -> None:
        """Remember a fault: it explains what is around it, and is nothing that somebody did."""
        self._operations.append(fault)

    def around(self, at_s: float, subject: str = "") -> list[str]:
        """Return the lines of what was done to a subject, and of what else happened shortly before a moment."""
        about = [op for op in self._operations if subject and op.subject == subject]
        near: list[Operation] = []
        for op in reversed(self._operations):
            if op.ended_s < at_s - _AROUND_S or len(near) == _SHOWN_AROUND:
                break
            near.append(op)
        faults = [op for op in self._operations if op.person == FAULT and op.ended_s >= at_s - _FAULTS_S]
        chosen = {id(op): op for op in (*faults, *about[-_SHOWN_AROUND:], *near)}
        return [op.line() for op in sorted(chosen.values(), key=lambda op: op.ended_s)]


@dataclass(slots=True)
class Post:
    """One message that somebody set out to write. `text` is its first content, which nobody else's is."""

    text: str
    author: str
    space_id: int
    state: Outcome = "unknown"
    message_id: int = 0
    seq: int = 0
    # Contents with the position of their acknowledgement (0: none yet), in the order they were tried.
    contents: list[tuple[str, int]] = field(default_factory=list)

    def possible(self) -> set[str]:
        """Return the contents it may have now: the last acknowledged one, or one that was tried after it."""
        last = max((place for place, (_, seq) in enumerate(self.contents) if seq), default=0)
        return {content for content, _ in self.contents[last:]}


@dataclass(slots=True)
class Membership:
    """Whether somebody belongs to a space. `seq` is where that was acknowledged."""

    state: Literal["in", "out", "unknown"] = "unknown"
    seq: int = 0


class Model:
    """What was promised so far."""

    def __init__(self) -> None:
        self.era = 0
        self.is_turbulent = False
        self._posts: dict[str, Post] = {}
        self._by_content: dict[str, Post] = {}
        self._acknowledged: dict[int, list[tuple[int, str]]] = {}
        self._memberships: dict[tuple[str, int], Membership] = {}
        self._updates: list[tuple[int, int, int]] = []

    # --- histories that end ---

    def cut(self, kept_seq: int) -> None:
        """Take note that the primary has lost everything after a position; until `settled`, instances may show either history."""
        self.era += 1
        self.is_turbulent = True
        for post in self._posts.values():
            if post.state == "acknowledged" and post.seq > kept_seq:
                self._forget(post)
            post.contents = [(text, seq if seq <= kept_seq else 0) for text, seq in post.contents]
        for membership in self._memberships.values():
            membership.state = "unknown"
        self._updates.clear()

    def settled(self) -> None:
        """Take note that all instances show the history that was begun with the last cut."""
        if self.is_turbulent:
            self.era += 1
            self.is_turbulent = False

    def holds(self, era: int) -> bool:
        """Tell whether what began in this era may be judged by what was promised: nothing was cut meanwhile."""
        return era == self.era and not self.is_turbulent

    # --- messages ---

    def post_begun(self, author: str, space_id: int, text: str) -> Post:
        """Take note of a message before it is sent."""
        post = Post(text, author, space_id, contents=[(text, 0)])
        self._posts[text] = post
        self._by_content[text] = post
        return post

    def post_acknowledged(self, post: Post, message_id: int, seq: int, *, era: int) -> None:
        """Take note of its acknowledgement; one that was begun before a cut promises nothing any more."""
        if era != self.era:
            return
        post.state, post.message_id, post.seq = "acknowledged", message_id, seq
        post.contents[0] = (post.text, seq)
        bisect.insort(self._acknowledged.setdefault(post.space_id, []), (message_id, post.text))
        self._note_event(seq, post.space_id, message_id, era)

    def post_refused(self, post: Post) -> None:
        """Take note that it was refused at the first try."""
        post.state = "refused"

    def edit_begun(self, post: Post, content: str) -> None:
        """Take note of another content before it is sent."""
        post.contents.append((content, 0))
        self._by_content[content] = post

    def edit_acknowledged(self, post: Post, content: str, seq: int, *, era: int) -> None:
        """Take note of its acknowledgement: what was tried before it can no longer come."""
        if era == self.era:
            post.contents = [*(old for old in post.contents if old[0] != content), (content, seq)]
            self._note_event(seq, post.space_id, post.message_id, era)

    def edit_refused(self, post: Post, content: str) -> None:
        """Take note that it was refused at the first try."""
        post.contents = [old for old in post.contents if old[0] != content]

    def post_of(self, content: str) -> Post | None:
        """Return the message that was ever to have this content."""
        return self._by_content.get(content)

    def posts(self, space_id: int) -> Iterator[Post]:
        """Yield all messages that were ever to be in a space."""
        return (post for post in self._posts.values() if post.space_id == space_id)

    def acknowledged(self, space_id: int, from_id: int = 0) -> Iterable[Post]:
        """Return the acknowledged messages of a space from an id on."""
        known = self._acknowledged.get(space_id, [])
        return [self._posts[text] for _, text in known[bisect.bisect_left(known, (from_id, "")) :]]

    def events(self, space_id: int) -> Iterable[tuple[int, int]]:
        """Return `(seq, message_id)` of each acknowledged write to messages of a space since the last cut."""
        return [(seq, message_id) for seq, place, message_id in self._updates if place == space_id]

    # --- membership ---

    def membership(self, person: str, space_id: int) -> Membership:
        """Return what is known of somebody's membership."""
        return self._memberships.setdefault((person, space_id), Membership())

    def membership_acknowledged(
        self, person: str, space_id: int, state: Literal["in", "out"], seq: int, *, era: int
    ) -> None:
        """Take note of a join or leave that was acknowledged."""
        if self.holds(era):
            membership = self.membership(person, space_id)
            membership.state, membership.seq = state, seq

    # --- helpers ---

    def _note_event(self, seq: int, space_id: int, message_id: int, era: int) -> None:
        if self.holds(era):
            self._updates.append((seq, space_id, message_id))

    def _forget(self, post: Post) -> None:
        self._acknowledged[post.space_id].remove((post.message_id, post.text))
        post.state, post.message_id, post.seq = "unknown", 0, 0
