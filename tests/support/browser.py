"""People at browsers: one Chromium for the run, one context per person.

A person's page collects what went wrong in it (uncaught errors, console errors, policy violations); a test that ends with
any left fails, unless it said that it expects them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.support.chromium import HOW_TO_INSTALL, find_chromium

# Chromium heeds the last `--disable-features` alone, so what Playwright 1.65 turns off is said again.
_TURNED_OFF_BY_PLAYWRIGHT = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "TcpPortRandomizationWin",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
    "msForceBrowserSignIn",
    "msEdgeUpdateLaunchServicesPreferredVersion",
)
# Each window would load two pages of Chromium's own for its address bar, which take as long as a page of ours
# (Chromium 156, measured 2026-11), and a process that nobody uses.
_TURNED_OFF = ("WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess")

# Quiet and without outside traffic; small /dev/shm in containers would crash it.
FLAGS = [
    f"--disable-features={','.join(_TURNED_OFF_BY_PLAYWRIGHT + _TURNED_OFF)}",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1440, "height": 900}
# As in `wait`: long, as whatever is awaited ends the waiting.
TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)


@dataclass
class Person:
    """One person's browser profile: cookies and storage of their own."""

    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    _expected: list[str] = field(default_factory=list)

    def expect_errors(self, pattern: str) -> None:
        """Accept errors of the page that match this regular expression, earlier ones included."""
        self._expected.append(pattern)

    def unexpected_errors(self) -> list[str]:
        """List what went wrong and was not expected."""
        return [
            text for text in self.errors if not any(re.search(pattern, text) for pattern in self._expected)
        ]

    def watch(self, page: Page) -> Page:
        """Collect the errors of one more page of this person."""
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._note_console)
        return page

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")


@contextlib.asynccontextmanager
async def launch() -> AsyncIterator[Browser]:
    """Start Chromium. Raises RuntimeError with how to install it when there is none."""
    path = find_chromium()
    if path is None:
        raise RuntimeError(HOW_TO_INSTALL)
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def person(
    browser: Browser,
    base_url: str,
    *,
    viewport: dict[str, int] = DESKTOP,
    color_scheme: Literal["light", "dark"] = "light",
    **options: Any,
) -> AsyncIterator[Person]:
    """Open a profile with one page, motion reduced, times in UTC. Fails at the end on errors nobody expected."""
    context = await browser.new_context(
        base_url=base_url,
        viewport=viewport,  # type: ignore[arg-type]
        color_scheme=color_scheme,
        **{"reduced_motion": "reduce", "locale": "en-GB", "timezone_id": "UTC"} | options,
    )
    context.set_default_timeout(TIMEOUT_MS)
    someone = Person(context, await context.new_page())
    someone.watch(someone.page)
    try:
        yield someone
    finally:
        await context.close()
    assert not someone.unexpected_errors(), someone.unexpected_errors()
