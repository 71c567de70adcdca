"""Several people who post without giving up, and an account of what they were promised.

Each posts one message after the other, under a key of its own, and repeats it with the same key until somebody acknowledges
it, whatever happens in between: refused connections, half answers, 503. So afterwards every text must be there exactly
once, under the id that was acknowledged, and each person's in the order they were written.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.client import Participant, new_key
from tests.support.wait import wait_until

# What an instance in trouble may answer; anything else is a mistake and ends the test.
_TRIES_AGAIN = {502, 503}


@dataclass
class Account:
    """What was acknowledged: text to message id, in the order of the acknowledgements."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    refusals: int = 0
    broken: int = 0

    def differences(self, messages: Sequence[dict[str, Any]]) -> list[str]:
        """Say what is wrong with the messages that are really there, given oldest first."""
        found = [(str(message["content"]), int(message["id"])) for message in messages]
        texts = [text for text, _ in found]
        missing = [text for text in self.acknowledged if text not in set(texts)]
        doubled = sorted({text for text in texts if texts.count(text) > 1})
        unknown = [text for text in texts if text not in self.acknowledged]
        moved = [text for text, id_ in found if self.acknowledged.get(text, id_) != id_]
        return [
            f"{what}: {which[:5]}"
            for what, which in (
                ("acknowledged but missing", missing),
                ("there twice", doubled),
                ("there but never acknowledged", unknown),
                ("acknowledged under another id", moved),
                ("not in the order of their ids", [] if _ascending([id_ for _, id_ in found]) else texts),
                ("not in the order they were written", _out_of_order(texts)),
            )
            if which
        ]


@asynccontextmanager
async def posting(people: Sequence[Participant], space_id: int) -> AsyncIterator[Account]:
    """Let these people post at their instances as long as the context lasts; on leaving, all get their last answer."""
    account = Account()
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number, person in enumerate(people):
            tasks.create_task(_post_until(stopped, person, space_id, number, account))
        try:
            yield account
        finally:
            stopped.set()


async def _post_until(
    stopped: asyncio.Event, person: Participant, space_id: int, number: int, account: Account
) -> None:
    for count in itertools.count():
        if stopped.is_set():
            return
        text = f"writer {number} message {count}"
        account.acknowledged[text] = await _post_at_last(person, space_id, text, account)


async def _post_at_last(person: Participant, space_id: int, text: str, account: Account) -> int:
    key = new_key()
    answer: dict[str, int] = {}

    async def acknowledged() -> bool:
        account.attempts += 1
        try:
            response = await person.post_message(space_id, text, key)
        except httpx2.TransportError:
            account.broken += 1
            return False
        if response.status_code in _TRIES_AGAIN:
            account.refusals += 1
            return False
        assert response.status_code == 201, response.text
        answer["id"] = response.json()["id"]
        return True

    await wait_until(acknowledged, 60.0, f"{text!r} is acknowledged")
    return answer["id"]


def _ascending(ids: Sequence[int]) -> bool:
    return all(before < after for before, after in itertools.pairwise(ids))


def _out_of_order(texts: Sequence[str]) -> list[str]:
    last: dict[str, int] = {}
    wrong = []
    for text in texts:
        writer, _, count = text.rpartition(" ")
        if int(count) <= last.get(writer, -1):
            wrong.append(text)
        last[writer] = int(count)
    return wrong
