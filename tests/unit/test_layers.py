"""Who may import whom: reads every import of `groupspaces/` and `scheduler/` and names the line that breaks a rule.

    0 errors clock settings markdown host …   1 db   2 live mail   3 web
    4 accounts · spaces · {chat notes lessons files} · notifications · search
    5 ops   6 scheduler   7 app server cli

From a lower number only; within 4, what stands right may import what stands left. A package may import from itself, and
the single modules of 0, like those of 7, from each other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("groupspaces", "scheduler")

# Every other module at the top of `groupspaces` is of layer 0, so that a new small one needs no entry.
LAYER_OF_PART = {
    "db": 1,
    "live": 2,
    "mail": 2,
    "web": 3,
    "features": 4,
    "ops": 5,
    "app": 7,
    "server": 7,
    "cli": 7,
    "cli_audit": 7,
    "cli_backup": 7,
    "cli_call": 7,
    "cli_db": 7,
    "cli_jobs": 7,
    "cli_long": 7,
    "cli_maintenance": 7,
    "cli_promote": 7,
    "cli_replica": 7,
    "cli_restore": 7,
    "cli_secret": 7,
    "cli_seed": 7,
    "cli_sql": 7,
    "cli_tokens": 7,
    "cli_torture": 7,
    "cli_users": 7,
    "errand_process": 7,
    "tryout": 7,
    "__main__": 7,
}
SCHEDULER_LAYER = 6
FEATURES = [
    {"accounts"},
    {"spaces"},
    {"chat", "notes", "lessons", "files"},
    {"notifications"},
    {"search"},
]
MODULES_MAY_IMPORT_EACH_OTHER = {0, 7}

# Outside name → where alone it may be imported (as path patterns), and why.
KEEPERS: dict[str, tuple[tuple[str, ...], str]] = {
    "apsw": (("groupspaces/db/*", "groupspaces/ops/torture/sameness.py"), "only db/ knows SQL transport"),
    "httpx2": (
        ("groupspaces/db/*", "groupspaces/features/accounts/providers.py", "groupspaces/ops/torture/*"),
        "only db/ knows SQL transport; besides, only providers are asked over HTTP, and instances by the people of the torture test",
    ),
    "libsql_experimental": (
        ("groupspaces/db/replica_process.py",),
        "the driver lives in the child process alone",
    ),
    "libsql": ((), "it cannot replicate from sqld; the child uses libsql_experimental"),
    "sqlite3": ((), "one SQLite library per file and process: APSW"),
    "starlette": (
        (
            "groupspaces/web/*",
            "groupspaces/ops/api.py",
            "groupspaces/ops/*_api.py",
            "groupspaces/features/*/api.py",
            "groupspaces/features/*/*_api.py",
            "groupspaces/app.py",
        ),
        "only the edge knows Starlette",
    ),
    "apscheduler": (("scheduler/*",), "only scheduler/ knows APScheduler"),
}


@dataclass(frozen=True)
class Import:
    """One imported module name and where it stands."""

    path: str
    line: int
    module: str


@dataclass(frozen=True)
class Place:
    """Where a module stands: its layer, its rank in there, and the package it belongs to."""

    layer: int
    rank: int
    unit: str


def violations(root: Path) -> list[str]:
    """List `path:line: what is wrong` for the tree under `root`."""
    return [f"{found.path}:{found.line}: {fault}" for found in imports(root) if (fault := judge(found))]


def imports(root: Path) -> Iterator[Import]:
    """Yield every import of the two packages, also those inside functions and under TYPE_CHECKING."""
    for package in PACKAGES:
        for file in sorted((root / package).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), path)):
                for module in imported_modules(node, path):
                    yield Import(path, node.lineno, module)  # type: ignore[attr-defined]


def imported_modules(node: ast.AST, path: str) -> list[str]:
    """Name the modules that a statement imports. `from a import b` counts as `a.b`, since b may be a module."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            base = absolute_base(node, path)
            return [f"{base}.{alias.name}" for alias in node.names]
        case _:
            return []


def absolute_base(node: ast.ImportFrom, path: str) -> str:
    """Resolve `from ..x import` against the file's own package."""
    if not node.level:
        return node.module or ""
    folders = path.split("/")[:-1]
    package = folders[: len(folders) - (node.level - 1)]
    return ".".join([*package, *([node.module] if node.module else [])])


def judge(found: Import) -> str | None:
    """Say what is wrong with an import, None when it is fine."""
    top = found.module.split(".")[0]
    if top in KEEPERS:
        patterns, why = KEEPERS[top]
        allowed = any(fnmatchcase(found.path, pattern) for pattern in patterns)
        return None if allowed else f"imports {top}: {why}"
    if top == "scheduler" and not found.path.startswith("scheduler/"):
        return None if found.path == "groupspaces/app.py" else "imports scheduler: only app.py does"
    if top not in PACKAGES:
        return None
    here, there = place(found.path.removesuffix(".py").split("/")), place(found.module.split("."))
    return (
        None
        if may_import(here, there)
        else f"{here.unit} ({here.layer}) imports {there.unit} ({there.layer})"
    )


def place(parts: list[str]) -> Place:
    """Find the place of a module from the parts of its path or dotted name."""
    if parts[0] == "scheduler":
        return Place(SCHEDULER_LAYER, 0, "scheduler")
    part = parts[1] if len(parts) > 1 else "__init__"
    layer = LAYER_OF_PART.get(part, 0)
    if part != "features" or len(parts) < 3:
        return Place(layer, 0, part)
    name = parts[2]
    ranks = [rank for rank, names in enumerate(FEATURES) if name in names]
    assert ranks, f"features/{name} has no place in FEATURES: give it one"
    return Place(layer, ranks[0], f"features.{name}")


def may_import(here: Place, there: Place) -> bool:
    """Apply the rule of the layers."""
    if here.unit == there.unit:
        return True
    if here.layer == there.layer and here.layer in MODULES_MAY_IMPORT_EACH_OTHER:
        return True
    return (there.layer, there.rank) < (here.layer, here.rank)


def test_imports_go_downwards() -> None:
    assert len(list(imports(ROOT))) > 20, "found too few imports: is the tree where this test looks?"
    assert not violations(ROOT), "\n" + "\n".join(violations(ROOT))


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        (
            "groupspaces/db/reader.py",
            "import os\nfrom groupspaces.web import auth",
            ":2: db (1) imports web (3)",
        ),
        ("groupspaces/db/reader.py", "from ..live import Hub", ":1: db (1) imports live (2)"),
        (
            "groupspaces/errors.py",
            "def f():\n    from groupspaces.db import batch",
            ":2: errors (0) imports db (1)",
        ),
        ("groupspaces/live.py", "from groupspaces import mail", ":1: live (2) imports mail (2)"),
        (
            "groupspaces/features/accounts/users.py",
            "from ..spaces import members",
            ":1: features.accounts (4) imports features.spaces (4)",
        ),
        (
            "groupspaces/features/chat/messages.py",
            "from groupspaces.features.notes.blocks import Block",
            ":1: features.chat (4) imports features.notes (4)",
        ),
        ("groupspaces/ops/health.py", "from groupspaces import app", ":1: ops (5) imports app (7)"),
        ("scheduler/jobs.py", "import groupspaces.cli", ":1: scheduler (6) imports cli (7)"),
        ("groupspaces/cli.py", "import scheduler.jobs", ":1: imports scheduler: only app.py does"),
        ("groupspaces/ops/backups.py", "import apsw", ":1: imports apsw: only db/ knows SQL transport"),
        ("groupspaces/db/replica.py", "import libsql_experimental", ":1: imports libsql_experimental: "),
        (
            "groupspaces/features/chat/messages.py",
            "from starlette.responses import Response",
            ":1: imports starlette",
        ),
        ("groupspaces/db/reader.py", "import sqlite3", ":1: imports sqlite3: one SQLite library"),
    ],
)
def test_a_violation_is_found_with_its_line(tmp_path: Path, path: str, text: str, fault: str) -> None:
    write(tmp_path, path, text)
    [found] = violations(tmp_path)
    assert found.startswith(path + fault)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("groupspaces/db/reader.py", "import apsw\nfrom . import batch\nfrom ..errors import AppError"),
        ("groupspaces/db/replica_process.py", "import libsql_experimental"),
        ("groupspaces/settings.py", "from groupspaces.errors import SettingsError"),
        (
            "groupspaces/features/search/index.py",
            "from ..chat import messages\nfrom groupspaces.web import operations",
        ),
        ("groupspaces/features/chat/api.py", "from starlette.responses import Response"),
        ("groupspaces/app.py", "import scheduler\nfrom groupspaces.ops import api"),
        (
            "scheduler/jobs.py",
            "from apscheduler.triggers.cron import CronTrigger\nfrom groupspaces.ops import health",
        ),
        ("groupspaces/__main__.py", "from groupspaces.cli import main"),
    ],
)
def test_what_the_rules_allow_passes(tmp_path: Path, path: str, text: str) -> None:
    write(tmp_path, path, text)
    assert violations(tmp_path) == []


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
