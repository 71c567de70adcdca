"""What is handed out: the wheel carries all it needs, the locks cover what is declared, the sprite has every icon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "static"


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as the image does, and unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    [wheel] = folder.glob("groupspaces-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def run_python(code: str, folder: Path) -> str:
    """Run code that finds the unpacked wheel before the checkout, in a folder that is neither."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_wheel_brings_its_own_client(unpacked_wheel: Path) -> None:
    code = "from groupspaces import assets; print(assets.static_dir())"
    assert run_python(code, unpacked_wheel) == str(unpacked_wheel / "groupspaces" / "_static")


def test_the_wheel_has_every_file_of_client_and_migrations(unpacked_wheel: Path) -> None:
    package = unpacked_wheel / "groupspaces"
    assert names_below(STATIC) == names_below(package / "_static")
    migrations = ROOT / "groupspaces" / "db" / "migrations"
    assert names_below(migrations, "*.sql") == names_below(package / "db" / "migrations", "*.sql")
    assert (unpacked_wheel / "scheduler" / "__init__.py").exists()


def test_a_checkout_uses_its_own_files() -> None:
    code = "from groupspaces import assets; print(assets.static_dir())"
    assert run_python(code, ROOT) == str(STATIC)


def test_locks_name_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = locked_names("requirements.lock")
    assert {distribution(line) for line in project["dependencies"]} <= runtime
    development = {distribution(line) for line in project["optional-dependencies"]["dev"]}
    assert development | runtime <= locked_names("requirements-dev.lock")


def test_the_browser_lock_names_no_registry() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert len(packages) > 5
    assert not [path for path, package in packages.items() if "resolved" in package]
    assert not [path for path, package in packages.items() if path and "integrity" not in package]


def test_the_sprite_has_every_icon_that_the_client_names() -> None:
    named = set((STATIC / "icons.txt").read_text().split())
    drawn = set(re.findall(r'<symbol id="([a-z0-9-]+)"', (STATIC / "vendor" / "icons.svg").read_text()))
    assert drawn == named
    used = {
        name
        for file in STATIC.rglob("*.js")
        if "vendor" not in file.parts
        for name in re.findall(
            r"""(?:<\$\{Icon\} name|\bicon)(?:=|: )["']([a-z0-9-]+)["']""", file.read_text()
        )
    }
    assert used
    assert used <= named, f"add to static/icons.txt: {sorted(used - named)}"


def names_below(folder: Path, pattern: str = "*") -> set[str]:
    """List the files below a folder, relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern) if path.is_file()}


def locked_names(lock: str) -> set[str]:
    """List the distributions that a lock pins."""
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / lock).read_text(), re.MULTILINE))


def distribution(requirement: str) -> str:
    """Take the name out of a requirement."""
    found = re.match(r"[A-Za-z0-9-]+", requirement)
    assert found
    return found.group().lower()
