"""What must hold whatever happens: each answer is compared with what was promised, and what does not fit is a violation.

Owns the rules for reads and for the end: nothing acknowledged is lost or doubled, nobody goes back in time, everybody reads their
own writes, and nobody reads what they may not. Streams have rules of their own (`hearing.py`), machines too (`vitals.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .model import History, Model, Post

# The same fault shows again and again; so many of a kind tell enough.
_REPORTED_OF_A_KIND = 5


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never happen, with the history around it."""

    kind: str
    detail: str
    at_s: float
    history: list[str]


@dataclass(slots=True)
class Reader:
    """What one person was shown, by which their next answer is judged.

    `position` goes along as GS-Bookmark, as the browser's client does it; it was given out in the era `position_era`.
    """

    name: str
    position: int = 0
    position_era: int = 0
    era: int = 0
    newest: dict[int, int] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)

    def enter(self, era: int) -> None:
        """Forget what was shown of a history that has ended."""
        if era != self.era:
            self.era = era
            self.newest.clear()
            self.versions.clear()

    def note(self, position: int, era: int) -> None:
        """Carry a position from now on, if it is the highest."""
        if position > self.position:
            self.position, self.position_era = position, era


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to a read of the latest messages of a space, oldest first, and the era in which it was asked for."""

    space_id: int
    messages: Sequence[Mapping[str, Any]]
    has_older: bool
    feed_seq: int
    asked_position: int
    era: int
    at_s: float


class Checks:
    """Compare answers with the model."""

    def __init__(self, model: Model, history: History) -> None:
        self.model = model
        self.history = history
        self.violations: list[Violation] = []
        self.suppressed = 0
        self._kinds: Counter[str] = Counter()

    def violated(self, kind: str, detail: str, at_s: float, subject: str = "") -> None:
        """Report a violation; only the first few of a kind are kept in full."""
        self._kinds[kind] += 1
        if self._kinds[kind] > _REPORTED_OF_A_KIND:
            self.suppressed += 1
            return
        self.violations.append(Violation(kind, detail, at_s, self.history.around(at_s, subject)))

    # --- while it runs ---

    def shown(self, reader: Reader, page: Page) -> None:
        """Judge what somebody who may read a space was shown of it."""
        if not self.model.holds(page.era):
            return
        reader.enter(page.era)
        if page.feed_seq < page.asked_position:
            self.violated(
                "bookmark_ignored",
                f"{reader.name} asked for position {page.asked_position} and was answered from {page.feed_seq}",
                page.at_s,
            )
        for message in page.messages:
            self._known(message, page.at_s)
        self._no_doubles(page.messages, page.at_s)
        self._not_backwards(reader, page)
        self._nothing_missing(reader, page)

    def trespassed(self, name: str, what: str, status: int, *, era: int | None, at_s: float) -> None:
        """Judge the answer to somebody who may not read, or (`era` of None) never may: anything with a content is a violation."""
        if status < 300 and (era is None or self.model.holds(era)):
            self.violated("forbidden_read", f"{name} was answered with {status} to {what}", at_s, what)

    def failed(self, name: str, what: str, status: int, text: str, *, era: int, at_s: float) -> None:
        """Judge a refusal of what should have been possible: a server's own fault, or a right that went away by itself."""
        if status == 500:
            self.violated("internal_error", f"{name}, {what}: {text[:200]}", at_s, what)
        elif status in (401, 403, 404) and self.model.holds(era):
            self.violated("right_lost", f"{name}, {what}: {status} {text[:200]}", at_s, what)

    def position_unknown(self, reader: Reader, *, era: int, at_s: float) -> None:
        """Judge that a position was called unknown which somebody had been given, and forget it: only a cut may do that."""
        if self.model.holds(era) and reader.position_era == era:
            self.violated(
                "position_unknown", f"{reader.name} had been given position {reader.position}", at_s
            )
        reader.position = 0

    # --- at the end ---

    def all_there(
        self, instance: str, space_id: int, messages: Sequence[Mapping[str, Any]], at_s: float
    ) -> None:
        """Judge all messages of a space, oldest first, as an instance that has caught up shows them."""
        for message in messages:
            self._known(message, at_s)
        self._no_doubles(messages, at_s)
        shown = {int(message["id"]): str(message["content"]) for message in messages}
        for post in self.model.acknowledged(space_id):
            content = shown.get(post.message_id)
            if content is None:
                self.violated(
                    "write_lost",
                    f"message {post.message_id} {post.text!r} was acknowledged at {post.seq}; {instance} does not have it",
                    at_s,
                    post.text,
                )
            elif content not in post.possible():
                self.violated(
                    "write_lost",
                    f"message {post.message_id} is {content!r} at {instance}, and should be one of {sorted(post.possible())}",
                    at_s,
                    post.text,
                )

    def equal(self, space_id: int, views: Mapping[str, Sequence[Mapping[str, Any]]], at_s: float) -> None:
        """Judge that all instances show the same of a space."""
        facts = {
            name: [(m["id"], m["content"], m["version"]) for m in messages]
            for name, messages in views.items()
        }
        first, *others = facts
        for name in others:
            if different := set(facts[first]) ^ set(facts[name]):
                self.violated(
                    "instances_differ",
                    f"{first} and {name} show different messages of space {space_id}: {sorted(different)[:4]}",
                    at_s,
                )

    # --- rules ---

    def _known(self, message: Mapping[str, Any], at_s: float) -> None:
        """Nothing is there that nobody wrote or that was refused, and nothing under another id than was promised."""
        content, message_id = str(message["content"]), int(message["id"])
        post = self.model.post_of(content)
        if post is None:
            self.violated("ghost", f"message {message_id} {content!r} was never written", at_s, content)
        elif post.state == "refused":
            self.violated(
                "refused_write_kept", f"message {message_id} {content!r} was refused", at_s, post.text
            )
        elif post.message_id and post.message_id != message_id:
            self.violated(
                "write_doubled",
                f"{post.text!r} was acknowledged as message {post.message_id} and is there as {message_id}",
                at_s,
                post.text,
            )

    def _no_doubles(self, messages: Sequence[Mapping[str, Any]], at_s: float) -> None:
        ids = [int(message["id"]) for message in messages]
        if ids != sorted(set(ids)):
            self.violated("disordered", f"message ids are not ascending: {ids[:20]}", at_s)
        posts = Counter(
            post.text
            for message in messages
            if (post := self.model.post_of(str(message["content"]))) is not None
        )
        for text, count in posts.items():
            if count > 1:
                self.violated("write_doubled", f"{text!r} is there {count} times", at_s, text)

    def _not_backwards(self, reader: Reader, page: Page) -> None:
        newest = max((int(message["id"]) for message in page.messages), default=0)
        before = reader.newest.get(page.space_id, 0)
        if newest < before:
            self.violated(
                "read_backwards",
                f"{reader.name} was shown message {before} of space {page.space_id}, then {newest} as the newest",
                page.at_s,
            )
        reader.newest[page.space_id] = max(newest, before)
        for message in page.messages:
            message_id, version = int(message["id"]), int(message["version"])
            if version < reader.versions.get(message_id, 0):
                self.violated(
                    "read_backwards",
                    f"{reader.name} was shown version {reader.versions[message_id]} of message {message_id}, then {version}",
                    page.at_s,
                    str(message["content"]),
                )
            reader.versions[message_id] = max(version, reader.versions.get(message_id, 0))

    def _nothing_missing(self, reader: Reader, page: Page) -> None:
        """Everything acknowledged up to the position the answer was made at is on the page."""
        first = int(page.messages[0]["id"]) if page.has_older and page.messages else 0
        shown = {int(message["id"]): str(message["content"]) for message in page.messages}
        for post in self.model.acknowledged(page.space_id, first):
            is_own = post.author == reader.name
            if post.message_id not in shown:
                if post.seq <= max(page.feed_seq, page.asked_position):
                    self._missing(reader, page, post, is_own=is_own)
            elif is_own and shown[post.message_id] not in post.possible():
                self.violated(
                    "own_write_missing",
                    f"{reader.name} was shown {shown[post.message_id]!r} after writing one of {sorted(post.possible())}",
                    page.at_s,
                    post.text,
                )

    def _missing(self, reader: Reader, page: Page, post: Post, *, is_own: bool) -> None:
        self.violated(
            "own_write_missing" if is_own else "write_lost",
            f"message {post.message_id} {post.text!r}, acknowledged at {post.seq}, is not in the answer to {reader.name} "
            f"of position {page.feed_seq}",
            page.at_s,
            post.text,
        )
