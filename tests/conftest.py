"""Fixtures that start real parts. Whatever a fixture starts, it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import Person, launch
from tests.support.browser import person as open_profile
from tests.support.latency_proxy import LatencyProxy
from tests.support.process import Process
from tests.support.seaweed import Seaweed
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld, TokenKey

_STARTED = pytest.StashKey[list[Process]]()

# A shell starts what runs in its background with SIGINT ignored, and so would be whatever is started here: Ctrl-C is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# When several processes share the run, each takes the next file: those that take seconds come after those that take minutes, so
# that no process is left alone with a long one at the end.
_SHORT_LAST = ("features", "contract", "unit")


def pytest_xdist_auto_num_workers() -> int:
    """Say how many processes `--numprocesses auto` means: at least two, as tests wait more than they compute."""
    return max(2, os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put short files last where several processes share the run."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folders = Path(__file__).parent
        items.sort(key=lambda item: _turn(item.path.relative_to(folders).parts[0]))


def _turn(folder: str) -> int:
    return _SHORT_LAST.index(folder) if folder in _SHORT_LAST else -1


class StartServer(Protocol):
    """Start an instance named `name`, with settings `{"section.key": value}`."""

    def __call__(
        self,
        settings: Mapping[str, Setting] | None = None,
        *,
        name: str = "a",
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Server: ...


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[Callable[[Any], Any]]:
    """Register a Process: it is closed after the test, and its log shown when the test fails."""
    processes = request.node.stash.setdefault(_STARTED, [])
    with ExitStack() as stack:

        def register(process: Process) -> Process:
            processes.append(process)
            return stack.enter_context(process)

        yield register


@pytest.fixture
def sqld(tmp_path: Path, started: Callable[[Any], Any]) -> Sqld:
    """A running primary that asks for no token."""
    primary: Sqld = started(Sqld(tmp_path / "sqld"))
    return primary.start()


@pytest.fixture
def guarded_sqld(tmp_path: Path, started: Callable[[Any], Any]) -> Sqld:
    """A running primary that checks tokens: `.token` is good, `.key.mint(...)` makes others."""
    primary: Sqld = started(Sqld(tmp_path / "guarded-sqld", key=TokenKey()))
    return primary.start()


@pytest.fixture
def seaweed(tmp_path: Path, started: Callable[[Any], Any]) -> Seaweed:
    """A running object store with a bucket."""
    store: Seaweed = started(Seaweed(tmp_path / "seaweed"))
    return store.start()


@pytest.fixture
def start_proxy(tmp_path: Path, started: Callable[[Any], Any]) -> Callable[..., LatencyProxy]:
    """Start a proxy: `start_proxy(target_port, one_way_ms=40)`."""

    def start(target_port: int, *, one_way_ms: float = 0.0) -> LatencyProxy:
        proxy: LatencyProxy = started(LatencyProxy(tmp_path / "proxy", target_port, one_way_ms=one_way_ms))
        return proxy.start()

    return start


@pytest.fixture
def start_server(tmp_path: Path, started: Callable[[Any], Any]) -> StartServer:
    """Start instances of the product, each with its own folder."""

    def start(
        settings: Mapping[str, Setting] | None = None,
        *,
        name: str = "a",
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Server:
        server: Server = started(Server(tmp_path / name, settings, environment=environment))
        return server.start(*arguments)

    return start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The one Chromium of this run."""
    async with launch() as browser:
        yield browser


@pytest_asyncio.fixture
async def new_person(chromium: Browser, started: object) -> AsyncIterator[Callable[..., Any]]:
    """Open profiles: `alice = await new_person(server.url, viewport=PHONE)`. They are closed before what `started` has to end."""
    async with AsyncExitStack() as stack:

        async def open_for(base_url: str, **options: Any) -> Person:
            return await stack.enter_async_context(open_profile(chromium, base_url, **options))

        yield open_for


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the ends of the logs of what the test had started into the report of its failure."""
    report = yield
    if report.failed:
        for process in item.stash.get(_STARTED, []):
            report.sections.append((f"log of {process.name} ({process.url})", process.log_tail()))
    return report
