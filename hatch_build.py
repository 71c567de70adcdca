"""Bring the browser modules that npm pins to `static/vendor/`: as a hatchling build hook, and by `make assets`.

Owns `node_modules` (filled by `npm ci` only when it differs from `package-lock.json`) and `static/vendor/` (never
committed). There is no bundler: single files are copied under the names that the client imports, and the icons named in
`static/icons.txt` become one sprite, used as `<svg class="i"><use href="icons.svg#name"/></svg>`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
NODE_MODULES = ROOT / "node_modules"
VENDOR = ROOT / "static" / "vendor"
ICON_NAMES = ROOT / "static" / "icons.txt"

COPIES = {
    "preact.js": "htm/preact/standalone.module.js",
    "uplot.js": "uplot/dist/uPlot.esm.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
    "sortable.js": "sortablejs/modular/sortable.esm.js",
    "zxcvbn.js": "zxcvbn/dist/zxcvbn.js",
    "geist-latin.woff2": "@fontsource-variable/geist/files/geist-latin-wght-normal.woff2",
    "geist-latin-ext.woff2": "@fontsource-variable/geist/files/geist-latin-ext-wght-normal.woff2",
}

# groupspaces/assets.py looks there. An editable install has no copy and uses the checkout's own files.
WHEEL_FILES = {"static": "groupspaces/_static"}

# Nothing about strokes: attributes here would win over what the page's `.i` hands down to `<use>`.
SYMBOL_ATTRIBUTES = 'viewBox="0 0 24 24"'


class AssetsError(Exception):
    """The browser modules cannot be brought in; the message says what to do."""


class AssetsBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fill `static/vendor/` before hatchling collects files, and put the client into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Stop a distribution that would lack its client; an editable install goes on and the app says so at start."""
        try:
            build()
        except AssetsError as error:
            if version != "editable":
                raise
            self.app.display_warning(f"static/vendor/ is not complete: {error}")
        if self.target_name == "wheel" and version != "editable":
            build_data["force_include"].update(WHEEL_FILES)


def build() -> None:
    """Fill `static/vendor/`. Costs nothing when everything is in place. Raises AssetsError."""
    if not vendor_is_current():
        install_modules()
        fill_vendor()


def vendor_is_current() -> bool:
    """Tell whether all files exist and are newer than what they are made from."""
    made = [VENDOR / name for name in [*COPIES, "icons.svg"]]
    if not all(path.is_file() for path in made):
        return False
    sources = [path for path in (ROOT / "package-lock.json", ICON_NAMES, Path(__file__)) if path.is_file()]
    newest_source = max(path.stat().st_mtime for path in sources)
    return min(path.stat().st_mtime for path in made) >= newest_source


def install_modules() -> None:
    """Run `npm ci` unless `node_modules` already holds what the lock file names. Optional ones and those of the tests are left out."""
    if modules_match_lock():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise AssetsError(
            "npm was not found. Install Node.js 20 or newer (https://nodejs.org), then `make assets`."
        )
    outcome = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--omit=optional", "--omit=dev"], cwd=ROOT, check=False
    )
    if outcome.returncode != 0:
        raise AssetsError(f"`npm ci` ended with exit code {outcome.returncode}; its own words stand above.")


def modules_match_lock() -> bool:
    """Compare the required packages of `package-lock.json` with npm's record of what it installed."""
    installed = _locked_versions(NODE_MODULES / ".package-lock.json")
    return _locked_versions(ROOT / "package-lock.json").items() <= installed.items()


def fill_vendor() -> None:
    """Write the copies and the sprite. Raises AssetsError for a file or an icon that the packages lack."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, source in COPIES.items():
        path = NODE_MODULES / source
        if not path.is_file():
            raise AssetsError(f"node_modules/{source} is missing; run `npm ci --ignore-scripts`.")
        shutil.copyfile(path, VENDOR / name)
    (VENDOR / "icons.svg").write_text(sprite(ICON_NAMES.read_text().split()), encoding="utf-8")


def sprite(names: list[str]) -> str:
    """Compose one SVG of `<symbol>`s from Lucide's icons of these names."""
    symbols = "\n".join(
        f'<symbol id="{name}" {SYMBOL_ATTRIBUTES}>{_icon_paths(name)}</symbol>' for name in names
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg">\n{symbols}\n</svg>\n'


def _icon_paths(name: str) -> str:
    path = NODE_MODULES / "lucide-static" / "icons" / f"{name}.svg"
    if not path.is_file():
        raise AssetsError(f"static/icons.txt names {name}, which Lucide does not have.")
    found = re.search(r"<svg[^>]*>(.*)</svg>", path.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise AssetsError(f"{path} is no SVG.")
    return " ".join(found.group(1).split())


def _locked_versions(lock_file: Path) -> dict[str, str]:
    """Read path → integrity hash of the packages that the client is made of; empty when there is no such file."""
    if not lock_file.is_file():
        return {}
    packages = json.loads(lock_file.read_text(encoding="utf-8")).get("packages", {})
    return {
        path: package.get("integrity", "")
        for path, package in packages.items()
        if path and not package.get("optional") and not package.get("dev")
    }


if __name__ == "__main__":
    try:
        build()
    except AssetsError as error:
        sys.exit(f"assets: {error}")
