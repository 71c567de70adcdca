"""People without a browser: somebody who talks to instances over HTTP, and the event stream they keep open.

A `Participant` carries a session cookie and the highest bookmark it has seen, as the browser client does, but sends that only
when a test asks for it. Answers come back as they are; verbs with a noun in their name insist on success and return the resource.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from tests.support import wait
from tests.support.wait import wait_until

PASSWORD = "correct horse battery"
TIMEOUT_S = 30.0

_numbers = itertools.count(1)


def new_key() -> str:
    """Return an Idempotency-Key nobody has used."""
    return secrets.token_hex(16)


class Participant:
    """One person at one instance. Use `async with`, or call `close`."""

    def __init__(
        self, url: str, *, cookies: httpx2.Cookies | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.url = url
        self.id = 0
        self.name = ""
        self.email = ""
        self.bookmark = 0
        self._elsewhere: list[Participant] = []
        self.http = httpx2.AsyncClient(base_url=url, cookies=cookies, timeout=timeout_s, trust_env=False)

    # --- being somebody ---

    async def sign_up(self, name: str = "", **fields: Any) -> Self:
        """Open an account under an address of its own and be signed in."""
        number = next(_numbers)
        self.name = name or f"Person {number}"
        self.email = f"person{number}@example.org"
        body = {"email": self.email, "password": PASSWORD, "name": self.name} | fields
        answer = expect(await self.post("/api/auth/sign-up", body), 201)
        self.id = answer["user"]["id"]
        return self

    async def sign_in(self, email: str) -> Self:
        """Be signed in to an account that `sign_up` opened."""
        answer = expect(await self.post("/api/auth/sign-in", {"email": email, "password": PASSWORD}), 200)
        self.id, self.name, self.email = answer["user"]["id"], answer["user"]["name"], email
        return self

    def at(self, url: str, *, timeout_s: float = TIMEOUT_S) -> Participant:
        """Return the same person, with the same session, at another instance; closed together with this one."""
        other = Participant(url, cookies=self.http.cookies, timeout_s=timeout_s)
        other.id, other.name, other.email, other.bookmark = self.id, self.name, self.email, self.bookmark
        self._elsewhere.append(other)
        return other

    @property
    def cookie(self) -> str:
        """The session cookie's value, empty when signed out."""
        return self.http.cookies.get("gs_session") or ""

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()
        for other in self._elsewhere:
            await other.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- calls; their answers are for the test to judge ---

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """GET; header names are given with underscores."""
        return await self._call("GET", path, None, headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """POST a JSON body, or none."""
        return await self._call("POST", path, body, headers)

    async def put(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """PUT a JSON body."""
        return await self._call("PUT", path, body, headers)

    async def patch(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """PATCH with a JSON body."""
        return await self._call("PATCH", path, body, headers)

    async def delete(self, path: str, **headers: str) -> httpx2.Response:
        """DELETE."""
        return await self._call("DELETE", path, None, headers)

    async def post_message(self, space_id: int, content: str, key: str | None = None) -> httpx2.Response:
        """Post a message, under an Idempotency-Key when one is given."""
        headers = {"idempotency_key": key} if key else {}
        return await self.post(f"/api/spaces/{space_id}/messages", {"content": content}, **headers)

    async def messages(self, space_id: int, **headers: str) -> httpx2.Response:
        """Ask for the latest page of messages."""
        return await self.get(f"/api/spaces/{space_id}/messages", **headers)

    # --- nouns; anything but success fails the test ---

    async def space(self, name: str = "Garden", **fields: Any) -> int:
        """Create a space and return its id."""
        answer = expect(await self.post("/api/spaces", {"name": name} | fields), 201)
        return int(answer["id"])

    async def invite(self, space_id: int, **fields: Any) -> str:
        """Make an invite and return its code."""
        answer = expect(await self.post(f"/api/spaces/{space_id}/invites", fields), 201)
        return str(answer["code"])

    async def accept(self, code: str) -> None:
        """Join the space that an invite leads to."""
        expect(await self.post(f"/api/invites/{code}/accept"), 200)

    async def message(self, space_id: int, content: str, key: str | None = None) -> dict[str, Any]:
        """Post a message and return it."""
        return expect(await self.post_message(space_id, content, key), 201)

    async def all_messages(self, space_id: int, *, bookmark: int = 0) -> list[dict[str, Any]]:
        """Return every message of a space, oldest first, from a state that includes `bookmark`."""
        headers = {"gs_bookmark": str(bookmark)} if bookmark else {}
        found: list[dict[str, Any]] = []
        path = f"/api/spaces/{space_id}/messages?limit=200"
        before: int | None = None
        while True:
            page = expect(
                await self.get(path if before is None else f"{path}&before={before}", **headers), 200
            )
            found = page["items"] + found
            before = page["next"]
            if before is None:
                return found

    @asynccontextmanager
    async def events(self, last_event_id: int | None = None) -> AsyncIterator[EventStream]:
        """Keep an event stream open, resumed after `last_event_id` if given."""
        stream = EventStream(self.http, last_event_id)
        try:
            await stream.open()
            yield stream
        finally:
            await stream.close()

    async def _call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.http.request(method, path, json=body, headers=named)
        self.bookmark = max(self.bookmark, int(answer.headers.get("gs-bookmark", 0)))
        return answer


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream. `id` is its feed position, None for those that have none."""

    id: int | None
    kind: str
    data: Any


class EventStream:
    """An open `GET /api/events`: what has arrived so far, in order."""

    def __init__(self, http: httpx2.AsyncClient, last_event_id: int | None) -> None:
        self.events: list[Event] = []
        self.last_id = last_event_id
        self.ended = False
        self.broken = False  # ended, and not by the instance's own last word
        self._http = http
        self._reader: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        """Connect. Fails the test unless the answer is 200."""
        self._reader = asyncio.create_task(self._read(), name="event stream")
        status = await asyncio.wait_for(self._opened, TIMEOUT_S)
        assert status == 200, f"the event stream was answered with {status}"
        await wait_until(lambda: self.last_id is not None or self.ended, what="the stream says its position")

    async def close(self) -> None:
        """Hang up."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of one kind so far."""
        return [event for event in self.events if event.kind == kind]

    def contents(self) -> list[str]:
        """Return the texts of the messages that were announced so far."""
        return [event.data["content"] for event in self.of_kind("message.created")]

    async def wait_for(
        self, kind: str, matches: Callable[[Any], bool] = lambda _: True, timeout_s: float = wait.TIMEOUT_S
    ) -> Event:
        """Return the first event of a kind whose data matches, now or when it comes."""

        def found() -> Event | None:
            return next((event for event in self.of_kind(kind) if matches(event.data)), None)

        event = await wait_until(found, timeout_s, f"{kind} arrives (have {self.events[-5:]})")
        assert event is not None
        return event

    async def wait_for_messages(self, count: int, timeout_s: float = wait.TIMEOUT_S) -> None:
        """Return when this many messages were announced here."""
        await wait_until(lambda: len(self.contents()) >= count, timeout_s, f"{count} messages arrive")

    async def _read(self) -> None:
        headers = {} if self.last_id is None else {"Last-Event-ID": str(self.last_id)}
        timeout = httpx2.Timeout(TIMEOUT_S, read=60.0)
        try:
            async with self._http.stream("GET", "/api/events", headers=headers, timeout=timeout) as answer:
                self._opened.set_result(answer.status_code)
                if answer.status_code == 200:
                    async for event in httpx2.EventSource(answer):
                        self._take(event)
        except httpx2.TransportError as error:
            self.broken = True
            if not self._opened.done():
                self._opened.set_exception(error)
        finally:
            self.ended = True

    def _take(self, event: httpx2.ServerSentEvent) -> None:
        # The parser repeats the last id on events that have none; only a change of it is an id of this event.
        moved = bool(event.id) and int(event.id) != self.last_id
        if moved:
            self.last_id = int(event.id)
        if event.data:
            self.events.append(Event(self.last_id if moved else None, event.event, event.json()))


def expect(answer: httpx2.Response, status: int) -> Any:
    """Return the answer's JSON (None without a body). Fails with its text when the status is another."""
    request = answer.request
    assert answer.status_code == status, (
        f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:500]}"
    )
    return answer.json() if answer.content else None


def refused(answer: httpx2.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Return the problem an answer carries. Fails unless it is one, with this status (and code)."""
    request = answer.request
    shown = f"{request.method} {request.url.path}: {answer.status_code} {answer.text[:500]}"
    assert answer.status_code == status, shown
    assert answer.headers["content-type"] == "application/problem+json", shown
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status, shown
    assert problem["request_id"] == answer.headers["x-request-id"], shown
    assert code is None or problem["code"] == code, shown
    return problem
