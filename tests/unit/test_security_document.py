"""docs/SECURITY.md goes through all chapters of OWASP ASVS 5.0 and names only files and settings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groupspaces.settings import known_settings

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "SECURITY.md"

CHAPTERS = (
    "Encoding and Sanitization",
    "Validation and Business Logic",
    "Web Frontend Security",
    "API and Web Service",
    "File Handling",
    "Authentication",
    "Session Management",
    "Authorization",
    "Self-contained Tokens",
    "OAuth and OIDC",
    "Cryptography",
    "Secure Communication",
    "Configuration",
    "Data Protection",
    "Secure Coding and Architecture",
    "Security Logging and Error Handling",
    "WebRTC",
)

# What is no program, no test and no document, but lies at the top of the repository.
_TOP = ("Dockerfile", "pyproject.toml", "requirements.lock", "package-lock.json")
_FOLDERS = ("docs/", "groupspaces/", "scheduler/", "static/", "tests/")
_STATES = frozenset(
    ("met", "partly", "not", "n/a", "met here", "not here", "met for writes, partly for reads")
)


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def names_of(text: str) -> set[str]:
    """Everything in backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def paths_in(text: str) -> set[str]:
    links = {f"docs/{target}" for target in re.findall(r"\]\(([^)#:]+)\)", text)}
    return links | {name for name in names_of(text) if name.startswith(_FOLDERS) or name in _TOP}


def settings_in(text: str) -> set[str]:
    sections = {setting.section for setting in known_settings()}
    dotted = {name for name in names_of(text) if re.fullmatch(r"[a-z]+\.[a-z0-9_]+", name)}
    return {name for name in dotted if name.partition(".")[0] in sections}


def test_every_path_exists(text: str) -> None:
    named = paths_in(text)
    assert sum(name.startswith("tests/") for name in named) > 40
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_setting_exists(text: str) -> None:
    named = settings_in(text)
    assert len(named) > 20
    assert named - {setting.key for setting in known_settings()} == set()


def test_all_chapters_are_there_in_their_order(text: str) -> None:
    assert re.findall(r"^### (V\d.*)$", text, re.MULTILINE) == [
        f"V{number} {name}" for number, name in enumerate(CHAPTERS, start=1)
    ]


def test_each_requirement_has_a_state_and_what_is_met_says_by_what(text: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for chapter in text.split("\n### V")[1:]
        for line in chapter.split("\n## ")[0].splitlines()
        if line.startswith("| ") and not line.startswith(("| required", "| ---"))
    ]
    assert len(rows) > 100
    for row in rows:
        assert len(row) == 4, row
        assert row[1] in _STATES, row
        assert row[2], row


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("see `groupspaces/gone.py`", {"groupspaces/gone.py"}),
        ("[there](gone.md)", {"docs/gone.md"}),
        ("`Dockerfile` and `/api/docs`", {"Dockerfile"}),
    ],
)
def test_a_path_is_recognised(words: str, named: set[str]) -> None:
    assert paths_in(words) == named


def test_a_setting_is_recognised() -> None:
    assert settings_in("`auth.gone`, `session.created`, `auth.secret` = 1") == {"auth.gone", "auth.secret"}
