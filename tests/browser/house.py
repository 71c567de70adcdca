"""A house full of people for browser tests: an instance, accounts, spaces, and browsers signed in to them.

People and spaces are made over HTTP, because the tests that use them are about what comes after; signing up and creating
by hand has its own test.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from playwright.async_api import Locator, Page, expect

from tests.support.browser import Person
from tests.support.client import Participant
from tests.support.server import Server

OpenProfile = Callable[..., Awaitable[Person]]

# What a browser writes on its console by itself when a server is away, refuses, or is asked who is signed in.
NO_ANSWER = r"Failed to load resource: (net::ERR_|the server responded with a status of 503)"
SIGNED_OUT = r"Failed to load resource: the server responded with a status of 401"


class House:
    """One instance and everybody in it."""

    def __init__(self, server: Server, open_profile: OpenProfile) -> None:
        self.server = server
        self.people: dict[str, Participant] = {}
        self._open_profile = open_profile
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        """Hang up for everybody."""
        await self._stack.aclose()

    async def member(self, name: str) -> Participant:
        """Return the person of this name, with an account made at the first call."""
        if name not in self.people:
            participant = await self._stack.enter_async_context(Participant(self.server.url))
            self.people[name] = await participant.sign_up(name)
        return self.people[name]

    async def space(self, owner: str, *members: str, **fields: Any) -> int:
        """Make a space with these members and return its id."""
        host = await self.member(owner)
        space_id = await host.space(**({"name": "Kebun Kota", "emoji": "🌱", "theme_color": "leaf"} | fields))
        code = await host.invite(space_id)
        for name in members:
            await (await self.member(name)).accept(code)
        return space_id

    async def say(self, space_id: int, name: str, *contents: str) -> list[int]:
        """Post messages as somebody and return their ids."""
        member = await self.member(name)
        return [int((await member.message(space_id, content))["id"]) for content in contents]

    async def browser(self, name: str, path: str = "/", *, at: str = "", **options: Any) -> Person:
        """Open a browser of somebody's, signed in, on a page.

        `at` is another address of the house; `options` are those of `tests.support.browser.person`.
        """
        url = at or self.server.url
        person = await self._open_profile(url, **options)
        cookie = (await self.member(name)).cookie
        await person.context.add_cookies(
            [
                {
                    "name": "gs_session",
                    "value": cookie,
                    "url": url,
                    "httpOnly": True,
                    "sameSite": "Lax",
                }
            ]
        )
        await person.page.goto(path)
        return person

    async def chat(self, name: str, space_id: int, **options: Any) -> Page:
        """Open a browser of somebody's in the chat of a space, with its messages shown."""
        page = (await self.browser(name, f"/spaces/{space_id}", **options)).page
        await expect(page.locator(".msg, .empty-card").first).to_be_visible()
        return page


def messages(page: Page, text: str | re.Pattern[str]) -> Locator:
    """Find messages in the feed by what they say."""
    return page.get_by_role("log").get_by_role("article").filter(has_text=text)


def composer(page: Page) -> Locator:
    """Find the field in which messages are written."""
    return page.locator("#composer-text")


async def send(page: Page, text: str) -> None:
    """Write a message and press Enter."""
    await composer(page).fill(text)
    await composer(page).press("Enter")


async def contents(participant: Participant, space_id: int) -> Sequence[str]:
    """Return what is stored in a space, oldest first."""
    return [message["content"] for message in await participant.all_messages(space_id)]
