"""Programs that the tests need and Debian packages: installed where that is possible."""

from __future__ import annotations

import os
import shutil
import subprocess


def install(package: str) -> None:
    """Install a package through apt-get when root on Debian; else, and when that fails, do nothing."""
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return
    print(f"setup: {package}, through apt-get", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-qq", "-y", "--no-install-recommends", package]):
        subprocess.run([apt, *arguments], env=environment, check=False, stdout=subprocess.DEVNULL)
