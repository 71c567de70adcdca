"""Where Chromium is, and how it gets there: `python -m tests.support.chromium` installs it where that is possible.

No browser is downloaded: Debian's package, or whatever `CHROME_PATH` names, is driven through Playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC_PATH = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
HOW_TO_INSTALL = "Chromium was not found. Debian: apt-get install chromium. Elsewhere set CHROME_PATH to a Chromium or Chrome."


def find_chromium() -> str | None:
    """Return the path of a Chromium, `CHROME_PATH` first."""
    named = os.environ.get("CHROME_PATH")
    candidates = [named] if named else [*(shutil.which(name) for name in NAMES), MAC_PATH]
    return next((path for path in candidates if path and Path(path).exists()), None)


def install_chromium() -> bool:
    """Install Debian's package when root; tell whether a Chromium is there afterwards."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return False
    print("setup: Chromium, through apt-get", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run([apt, *arguments], env=environment, check=False, stdout=subprocess.DEVNULL)
    return find_chromium() is not None


if __name__ == "__main__":
    if not (find_chromium() or install_chromium()):
        print(f"setup: {HOW_TO_INSTALL} The browser tests will fail without it.", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") else 0)
