"""Who leads: one at a time, and the next as soon as the place is free."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from groupspaces.errors import SettingsError, Unavailable
from groupspaces.host.board import Board, Seat
from groupspaces.host.channel import Line
from groupspaces.host.crew import Crew
from tests.support.wait import wait_until


class Worker:
    """A worker that does nothing but lead."""

    def __init__(self, folder: Path, board: Board, number: int) -> None:
        self.number = number
        self.crew = Crew(folder, Seat(board, number, "boot"))
        self.heard: list[tuple[int | None, Any]] = []
        self.refreshed = 0
        self.began = 0
        self.may_begin = asyncio.Event()
        self.may_begin.set()

    async def start(self) -> Worker:
        await self.crew.join({"refresh": self._refresh, "traffic": self._traffic})
        if self.crew.is_elected:
            await self._take_over()
        self.crew.succeed(self._take_over)
        return self

    async def stop(self) -> None:
        await self.crew.close()
        self.crew.resign()

    async def _take_over(self) -> None:
        self.began += 1
        await self.may_begin.wait()
        await self.crew.lead({"say": self._say})

    async def _say(self, line: Line, payload: Any) -> str:
        self.heard.append((line.worker, payload))
        return f"heard by {self.number}"

    async def _refresh(self, line: Line, payload: Any) -> None:
        self.refreshed += 1

    async def _traffic(self, line: Line, payload: Any) -> int:
        return self.number


async def test_the_others_talk_to_the_one_that_leads(tmp_path: Path) -> None:
    board = Board(3)
    first, second, third = [await Worker(tmp_path, board, number).start() for number in range(3)]
    assert [worker.crew.leads for worker in (first, second, third)] == [True, False, False]
    assert await second.crew.ask("say", "hello", timeout_s=5) == "heard by 0"
    third.crew.tell("say", "by the way")
    await wait_until(lambda: len(first.heard) == 2)
    assert first.heard == [(1, "hello"), (2, "by the way")]
    assert sorted(await first.crew.ask_all("traffic", timeout_s=5)) == [1, 2]
    first.crew.tell_all("refresh")
    await wait_until(lambda: second.refreshed == third.refreshed == 1)
    for worker in (third, second, first):
        await worker.stop()


async def test_another_takes_over_and_who_asks_meanwhile_waits_for_it(tmp_path: Path) -> None:
    board = Board(3)
    workers = [await Worker(tmp_path, board, number).start() for number in range(3)]
    first, second, third = workers
    asking = [asyncio.create_task(worker.crew.ask("say", 1, timeout_s=10)) for worker in (second, third)]
    await first.crew.close()
    assert [worker.crew.leads for worker in (second, third)] == [False, False], "the place is not free yet"
    first.crew.resign()
    await wait_until(lambda: second.crew.leads != third.crew.leads)
    leader, other = (second, third) if second.crew.leads else (third, second)

    async def heard() -> bool:
        return bool(await other.crew.ask("say", 2, timeout_s=5) == f"heard by {leader.number}")

    await wait_until(heard)
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(answer, str | Unavailable)
    await other.stop()
    await leader.stop()


async def test_who_is_elected_leads_only_once_it_does_its_duties(tmp_path: Path) -> None:
    board = Board(2)
    first, second = [await Worker(tmp_path, board, number).start() for number in range(2)]
    second.may_begin.clear()
    await first.stop()
    await wait_until(lambda: second.began == 1)
    assert (second.crew.is_elected, second.crew.leads) == (True, False)
    waiting = asyncio.create_task(second.crew.ask("say", timeout_s=5))
    with pytest.raises(Unavailable, match="choosing"):
        await second.crew.ask("say", timeout_s=0.05)
    assert not waiting.done(), "who asks waits until the duties are done"
    second.may_begin.set()
    await wait_until(waiting.done)
    assert isinstance(waiting.exception(), Unavailable), "there is nobody else to ask"
    await second.stop()


async def test_nobody_takes_over_before_it_is_ready_to(tmp_path: Path) -> None:
    board = Board(2)
    first = await Worker(tmp_path, board, 0).start()
    second = Worker(tmp_path, board, 1)
    await second.crew.join({})
    await first.stop()
    with pytest.raises(Unavailable):
        await second.crew.ask("say", timeout_s=0.2)
    assert (second.crew.is_elected, second.began) == (False, 0)
    second.crew.succeed(second._take_over)
    await wait_until(lambda: second.crew.leads)
    assert second.began == 1
    await second.stop()


async def test_asking_while_nobody_leads_ends_in_time(tmp_path: Path) -> None:
    board = Board(2)
    first, second = [await Worker(tmp_path, board, number).start() for number in range(2)]
    await first.crew.close()
    with pytest.raises(Unavailable) as raised:
        await second.crew.ask("say", timeout_s=0.05)
    assert raised.value.code == "WORKER_UNAVAILABLE"
    first.crew.resign()
    await second.stop()


async def test_who_comes_after_a_start_that_failed_says_nothing_more(tmp_path: Path) -> None:
    board = Board(2)
    board.failed = True
    with pytest.raises(SettingsError, match=r"^$"):
        await Worker(tmp_path, board, 0).start()


async def test_alone_one_leads_without_a_file(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    assert crew.leads
    await crew.join({})
    assert list(tmp_path.iterdir()) == []
    await crew.close()
    crew.resign()
