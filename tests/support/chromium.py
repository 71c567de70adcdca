"""Where Chromium is, and how it gets there: `python -m tests.support.chromium` installs it where that is possible.

No browser is downloaded: Debian's package, or whatever `CHROME_PATH` names, is driven through Playwright.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.support.debian import install

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_PATH = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HOW_TO_INSTALL = "Chromium was not found. Debian: apt-get install chromium. Elsewhere set CHROME_PATH to a Chromium or Chrome."


def find_chromium() -> str | None:
    """Return the path of a Chromium, `CHROME_PATH` first."""
    named = os.environ.get("CHROME_PATH")
    candidates = [named] if named else [*(shutil.which(name) for name in NAMES), MAC_PATH]
    return next((path for path in candidates if path and Path(path).exists()), None)


if __name__ == "__main__":
    if not find_chromium():
        install("chromium")
    if not find_chromium():
        print(f"setup: {HOW_TO_INSTALL} The browser tests will fail without it.", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
