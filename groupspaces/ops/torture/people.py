"""Virtual people: accounts with a session, who call instances over HTTP as the browser client does, and never give up at once.

Owns one call (deadline, bookmark, session, its line in the history) and the world that they meet in: two spaces, those who belong to
them, one who comes and goes and one who belongs to neither. What they do all day is in `lives.py`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol, Self

import httpx2
import orjson

from .checks import Checks, Reader
from .model import Operation, Outcome
from .program import Failed

PASSWORD = "correct horse battery staple torture"  # noqa: S105  (of accounts that live for minutes on this machine)
CALL_TIMEOUT_S = 6.0
# Before any fault nothing is tried twice, and somebody's machine may be busy.
_MEETING_TIMEOUT_S = 60.0
# How long somebody tries to have one thing done.
PATIENCE_S = 12.0

# What an instance in trouble may answer: come again.
PASSING = (0, 429, 502, 503, 504)
DENIED = (403, 404)


class Instance(Protocol):
    """Somewhere to call."""

    id: str

    @property
    def url(self) -> str:
        """Its base URL."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 when nothing did. `era` and `started_s` are of the question."""

    status: int
    data: Any
    seq: int
    bookmark: int
    code: str
    text: str
    instance: str
    era: int
    started_s: float
    ended_s: float

    @property
    def is_passing(self) -> bool:
        """Whether the same may work later."""
        return self.status in PASSING


class Stage:
    """What all people share: the instances, the checks, the clock of the run, and whether it is over."""

    def __init__(self, instances: Sequence[Instance], checks: Checks, *, seed: int) -> None:
        self.instances = instances
        self.checks = checks
        self.model = checks.model
        self.seed = seed
        self.is_over = asyncio.Event()
        self.garden_id = 0
        self.park_id = 0
        self._begun_s = time.monotonic()

    def now_s(self) -> float:
        """Return seconds since the start."""
        return time.monotonic() - self._begun_s

    async def pause(self, duration_s: float) -> None:
        """Wait, but not beyond the end."""
        try:
            await asyncio.wait_for(self.is_over.wait(), duration_s)
        except TimeoutError:
            pass


class Person:
    """Somebody with an account. Their dice come from the seed and their name; a context that closes their connections."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self.stage = stage
        self.chance = random.Random(f"{stage.seed}:{name}")  # noqa: S311  (to be repeatable)
        self.reader = Reader(name)
        self.id = 0
        self._home = self.chance.choice(stage.instances)
        self._stack = AsyncExitStack()
        # How long an answer is waited for.
        self.patience_s = _MEETING_TIMEOUT_S
        self.http = httpx2.AsyncClient(timeout=None, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.http)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def somewhere(self) -> Instance:
        """Choose an instance: mostly the nearest."""
        return self._home if self.chance.random() < 0.6 else self.chance.choice(self.stage.instances)

    async def call(
        self,
        kind: str,
        subject: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        at: Instance | None = None,
        key: str = "",
        version: int | None = None,
        bookmark: int = 0,
    ) -> Answer:
        """Ask once, and write it into the history."""
        instance = at or self.somewhere()
        headers = {"Idempotency-Key": key} if key else {}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        if bookmark:
            headers["GS-Bookmark"] = str(bookmark)
        era, started_s = self.stage.model.era, self.stage.now_s()
        try:
            # Not the client's own timeouts: they are for single steps, of which a slow drip takes none too long.
            async with asyncio.timeout(self.patience_s):
                response = await self.http.request(method, instance.url + path, json=body, headers=headers)
            answer = _answer(response, instance.id, era, started_s, self.stage.now_s())
        except (httpx2.TransportError, TimeoutError) as error:
            said = type(error).__name__
            answer = Answer(0, None, 0, 0, "", said, instance.id, era, started_s, self.stage.now_s())
        self._remember(kind, subject, answer, asked=bookmark)
        return answer

    async def until_answered(
        self,
        ask: Callable[[Instance], Any],
        *,
        patience_s: float = PATIENCE_S,
    ) -> tuple[Answer, bool]:
        """Ask for a write again, here and there, while the answer is that it may work later.

        An instance without contact may not know yet that one belongs somewhere, or what one has written: its 404 to a write, which
        carries no bookmark, is not the last word. Returns the last answer, and whether an earlier try may have had an effect.
        """
        give_up_s = self.stage.now_s() + patience_s
        may_have_happened = False
        while True:
            answer: Answer = await ask(self.somewhere())
            if answer.status == 401 and not self.stage.model.holds(answer.era):
                await self.sign_in()
            elif answer.is_passing or answer.status == 500:
                may_have_happened = True
            elif answer.status not in DENIED:
                return answer, may_have_happened
            if self.stage.now_s() >= give_up_s:
                return answer, may_have_happened
            await asyncio.sleep(self.chance.uniform(0.05, 0.4))

    async def sign_up(self) -> None:
        """Open the account. Raises Failed."""
        body = {"email": self._email, "password": PASSWORD, "name": self.name}
        answer = await self.call("sign_up", self.name, "POST", "/api/auth/sign-up", body)
        self.id = int(_must(answer, 201)["user"]["id"])
        self.reader.note(answer.bookmark, answer.era)

    async def sign_in(self) -> None:
        """Open another session: for when the one before was of a history that is gone. It may fail."""
        body = {"email": self._email, "password": PASSWORD}
        await self.call("sign_in", self.name, "POST", "/api/auth/sign-in", body)

    @property
    def _email(self) -> str:
        return f"{self.name}@example.org"

    def _remember(self, kind: str, subject: str, answer: Answer, *, asked: int) -> None:
        outcome: Outcome = "acknowledged" if 200 <= answer.status < 300 else "refused"
        if answer.is_passing:
            outcome = "unknown"
        seq = answer.bookmark or answer.seq
        said = answer.code or ("" if answer.status else answer.text)
        note = ", ".join(filter(None, (said, f"asked for {asked}" if asked else "")))
        self.stage.checks.history.add(
            Operation(
                answer.started_s,
                answer.ended_s,
                self.name,
                kind,
                answer.instance,
                outcome,
                subject,
                answer.status,
                seq,
                note,
            )
        )


async def meet(stage: Stage, owner: Person, members: Sequence[Person], others: Sequence[Person]) -> None:
    """Open all accounts and two spaces: the garden of the members, and the park, which is open to everybody. Raises Failed."""
    for person in (owner, *members, *others):
        await person.sign_up()
    stage.garden_id = await _space(owner, "Garden", "private")
    stage.park_id = await _space(owner, "Park", "public")
    path = f"/api/spaces/{stage.garden_id}/invites"
    invited = await owner.call("invite", "garden", "POST", path, {}, at=owner.somewhere())
    code = _must(invited, 201)["code"]
    for person in members:
        _must(await person.call("accept", "garden", "POST", f"/api/invites/{code}/accept"), 200)
        _must(await person.call("join", "park", "POST", f"/api/spaces/{stage.park_id}/join"), 200)
    for person in (owner, *members, *others):
        person.patience_s = CALL_TIMEOUT_S


async def _space(owner: Person, name: str, visibility: str) -> int:
    body = {"name": name, "visibility": visibility}
    return int(_must(await owner.call("found", name, "POST", "/api/spaces", body), 201)["id"])


def _must(answer: Answer, status: int) -> Mapping[str, Any]:
    if answer.status != status:
        raise Failed(f"before any fault, {answer.instance} answered {answer.status}: {answer.text[:300]}")
    data: Mapping[str, Any] = answer.data
    return data


def _answer(response: httpx2.Response, instance: str, era: int, started_s: float, ended_s: float) -> Answer:
    data = None
    if response.content:
        try:
            data = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            data = None
    code = str(data.get("code", "")) if isinstance(data, dict) and response.status_code >= 400 else ""
    return Answer(
        response.status_code,
        data,
        _number(response, "gs-feed-seq"),
        _number(response, "gs-bookmark"),
        code,
        response.text if response.status_code >= 400 else "",
        instance,
        era,
        started_s,
        ended_s,
    )


def _number(response: httpx2.Response, header: str) -> int:
    text = response.headers.get(header, "")
    return int(text) if text.isdigit() else 0
