"""What is sown: who there is, which spaces, and who says what when. The same numbers give the same plan, whatever machine and year.

Owns the dice. Everything is decided here and nothing is written: `sowing.py` brings it to a primary. Times are Unix milliseconds and end at
`at_ms`; people come first, join spaces after they came, and speak after they joined, mostly by day.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

from groupspaces.ops.seed import words

Size = Literal["small", "demo", "large"]

_DAY_MS, _HOUR_MS, _MINUTE_MS = 86_400_000, 3_600_000, 60_000
_DAYS = 60
# How much is said in each hour of the day, UTC.
_HOURS = (1, 1, 1, 1, 1, 2, 5, 10, 14, 16, 15, 13, 11, 13, 15, 16, 15, 14, 13, 14, 13, 9, 5, 2)
_THREAD = 9
_EDITED, _DELETED = 0.03, 0.01


class Amounts(NamedTuple):
    people: int
    spaces: int
    messages: int


AMOUNTS: dict[Size, Amounts] = {
    "small": Amounts(8, 3, 200),
    "demo": Amounts(40, 12, 5_000),
    "large": Amounts(2_000, 200, 1_000_000),
}


class Person(NamedTuple):
    """Somebody; `handle` is what their username and address are made of."""

    name: str
    handle: str
    emoji: str | None
    came_at_ms: int


class Space(NamedTuple):
    """A space with its members, the owner first; `roles` and `joined_at_ms` go along with them."""

    name: str
    slug: str
    emoji: str
    color: str
    description: str
    is_public: bool
    came_at_ms: int
    members: tuple[int, ...]
    roles: tuple[str, ...]
    joined_at_ms: tuple[int, ...]
    subjects: tuple[str, ...]


class Said(NamedTuple):
    """A message of `author` in `space`, both by their place in the plan; `mentioned` is somebody whom it names."""

    space: int
    author: int
    at_ms: int
    content: str
    mentioned: int | None
    edited_at_ms: int | None
    deleted_at_ms: int | None


class Plan:
    """A plan of one size; `seed` draws everything."""

    def __init__(self, size: Size, *, seed: int, at_ms: int) -> None:
        self.amounts = AMOUNTS[size]
        self._seed = seed
        self._at_ms = at_ms
        self._began_ms = at_ms - _DAYS * _DAY_MS
        dice = random.Random(f"{seed} {size}")  # noqa: S311  (no secret comes of it)
        self.people = [self._person(dice, number) for number in range(self.amounts.people)]
        self.spaces = [self._space(dice, number) for number in range(self.amounts.spaces)]

    def messages(self) -> Iterator[Said]:
        """Yield everything that is said, the oldest first. Each call yields the same."""
        dice = random.Random(f"{self._seed} talk {self.amounts}")  # noqa: S311
        weights = [1.0 / (1 + number) ** 0.5 for number in range(len(self.spaces))]
        totals = list(itertools.accumulate(weights))
        talks = [_Talk(space) for space in self.spaces]
        for at_ms in self._times(dice):
            number = bisect.bisect(totals, dice.random() * totals[-1])
            yield talks[number].next(dice, number, at_ms, self.people, self._at_ms)

    def _person(self, dice: random.Random, number: int) -> Person:
        first, last = words.FIRST[number % len(words.FIRST)], dice.choice(words.LAST)
        handle = f"{first}.{last}".lower() if number < len(words.FIRST) else f"{first}.{last}{number}".lower()
        emoji = dice.choice(words.EMOJI) if dice.random() < 0.3 else None
        return Person(f"{first} {last}", handle, emoji, self._began_ms - dice.randrange(30 * _DAY_MS))

    def _space(self, dice: random.Random, number: int) -> Space:
        name, emoji, color, description, subjects = words.SPACES[number % len(words.SPACES)]
        round_number = number // len(words.SPACES)
        if round_number:
            name = f"{name} {round_number + 1}"
        most = min(len(self.people), 60)
        members = dice.sample(range(len(self.people)), k=dice.randint(min(5, most), most))
        roles = ["owner", *("admin" if dice.random() < 0.1 else "member" for _ in members[1:])]
        came_at_ms = self._began_ms - dice.randrange(_DAY_MS)
        joined = [came_at_ms, *(came_at_ms + dice.randrange(_DAY_MS) for _ in members[1:])]
        slug = name.lower().replace(" ", "-")
        return Space(
            name,
            slug,
            emoji,
            color,
            description,
            dice.random() < 0.5,
            came_at_ms,
            tuple(members),
            tuple(roles),
            tuple(joined),
            tuple(subjects.split("|")),
        )

    def _times(self, dice: random.Random) -> list[int]:
        days, hours = range(1, _DAYS), range(24)
        times = []
        for _ in range(self.amounts.messages):
            hour = dice.choices(hours, _HOURS)[0]
            times.append(
                self._began_ms + dice.choice(days) * _DAY_MS + hour * _HOUR_MS + dice.randrange(_HOUR_MS)
            )
        return sorted(times)


class _Talk:
    """What goes on in one space: somebody begins with a subject, some answer."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._left = 0
        self._last = space.members[0]

    def next(self, dice: random.Random, number: int, at_ms: int, people: list[Person], end_ms: int) -> Said:
        members = self._space.members
        author = dice.choice(members)
        if self._left <= 0:
            self._left = dice.randrange(_THREAD)
            template = dice.choice(words.OPENERS)
        else:
            self._left -= 1
            template = dice.choice(words.REPLIES)
        mentioned = dice.choice(members) if "{mention}" in template else None
        if mentioned == author:
            template, mentioned = words.REPLIES[0], None
        subject = dice.choice(self._space.subjects)
        content = template.format(
            it=subject,
            It=subject[:1].upper() + subject[1:],
            hour=dice.randint(8, 20),
            number=dice.randint(1000, 9999),
            name=people[self._last].name.split()[0],
            # The username that this person really gets is known when they have it.
            mention=MENTION,
        )
        self._last = author
        chance = dice.random()
        later_ms = min(end_ms, at_ms + dice.randint(1, 30) * _MINUTE_MS)
        if chance < _DELETED:
            return Said(number, author, at_ms, "", None, None, later_ms)
        return Said(number, author, at_ms, content, mentioned, later_ms if chance < _EDITED else None, None)


# Stands in a text for the username of whoever is mentioned.
MENTION = "\x00"
