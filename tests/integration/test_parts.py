"""The parts themselves: a test that relies on a refused token or a dead wire needs the part to do that for real."""

from __future__ import annotations

import asyncio
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.async_api import Browser

from groupspaces.ops.torture.ports import free_port
from tests.support.browser import Person
from tests.support.latency_proxy import LatencyProxy
from tests.support.process import http_status
from tests.support.sqld import Sqld, TokenKey
from tests.support.wait import NeverHappened, block_until, wait_until


def test_sqld_keeps_what_was_committed_through_a_kill(sqld: Sqld) -> None:
    sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, data BLOB) STRICT")
    sqld.execute("INSERT INTO note VALUES (?, ?, ?)", [2**62, "a\0b", b"\x00\xff"])
    sqld.restart()
    assert sqld.execute("SELECT id, body, data FROM note") == [[2**62, "a\0b", b"\x00\xff"]]


def test_sqld_paused_accepts_and_never_answers(sqld: Sqld) -> None:
    sqld.pause()
    assert http_status(sqld.url + "/health", timeout_s=0.3) is None
    sqld.resume()
    block_until(lambda: http_status(sqld.url + "/health") == 200)


def test_sqld_checks_tokens(guarded_sqld: Sqld) -> None:
    key = guarded_sqld.key
    assert key is not None
    guarded_sqld.execute("CREATE TABLE note (id INTEGER PRIMARY KEY) STRICT")
    assert guarded_sqld.execute("SELECT count(*) FROM note", token=key.mint("ro")) == [[0]]
    with pytest.raises((RuntimeError, urllib.error.HTTPError)):
        guarded_sqld.execute("INSERT INTO note DEFAULT VALUES", token=key.mint("ro"))
    for token in ("", "nonsense", TokenKey().mint(), key.mint(expires_in_s=-3600)):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            guarded_sqld.execute("SELECT 1", token=token)
    assert guarded_sqld.execute("SELECT count(*) FROM note") == [[0]]


def test_the_proxy_adds_its_delay_each_way(sqld: Sqld, start_proxy: Callable[..., LatencyProxy]) -> None:
    proxy = start_proxy(sqld.port, one_way_ms=50)
    started_s = time.monotonic()
    assert http_status(proxy.url + "/health") == 200
    # A lower bound only: handshake there and back, request, answer.
    assert time.monotonic() - started_s >= 0.2
    assert proxy.traffic().connections == 1
    assert proxy.traffic().bytes_up > 0
    assert proxy.traffic().bytes_down > 0


def test_the_proxy_breaks_and_mends(sqld: Sqld, start_proxy: Callable[..., LatencyProxy]) -> None:
    proxy = start_proxy(sqld.port)
    health = proxy.url + "/health"
    for mode, seen in (("blackhole", None), ("reset", None), ("http_503", 503)):
        proxy.set_mode(mode)
        assert http_status(health, timeout_s=0.3) == seen, mode
        proxy.set_mode("pass")
        assert http_status(health) == 200, mode


async def test_the_proxy_resets_open_connections(
    sqld: Sqld, start_proxy: Callable[..., LatencyProxy]
) -> None:
    proxy = start_proxy(sqld.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    await wait_until(lambda: proxy.traffic().open_connections == 1)
    proxy.drop_connections()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    assert http_status(proxy.url + "/health") == 200


def test_a_wait_that_ends_in_vain_says_what_it_saw() -> None:
    with pytest.raises(NeverHappened, match=r"not within 0.05 s: the moon is blue \(last seen: 0\)"):
        block_until(lambda: 0, 0.05, "the moon is blue")


def test_a_program_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    with (
        Sqld(tmp_path, arguments=["--no-such-flag"]) as primary,
        pytest.raises(NeverHappened, match="no-such-flag"),
    ):
        primary.start()


async def test_a_persons_page_reports_its_errors(new_person: Callable[..., object], tmp_path: Path) -> None:
    someone = await new_person("http://127.0.0.1:1")  # type: ignore[misc]
    assert isinstance(someone, Person)
    await someone.page.evaluate("() => setTimeout(() => { throw new Error('broken on purpose') })")
    await wait_until(someone.unexpected_errors)
    someone.expect_errors("broken on purpose")
    assert not someone.unexpected_errors()


@pytest.mark.browser
def test_what_playwright_turns_off_in_chromium_stays_off(chromium: Browser) -> None:
    assert chromium.is_connected()
    commands = [
        child.as_dict(["cmdline"])["cmdline"] or [] for child in psutil.Process().children(recursive=True)
    ]
    switch = "--disable-features="
    command = next(command for command in commands if "--headless" in command)
    *others, ours = [set(part.removeprefix(switch).split(",")) for part in command if part.startswith(switch)]
    assert others
    assert set().union(*others) <= ours, "add to tests/support/browser.py what this Playwright turns off"


def test_free_ports_are_free() -> None:
    port = free_port()
    assert http_status(f"http://127.0.0.1:{port}/", timeout_s=0.2) is None
