"""What `replica verify --wait` takes for an answer to what it began, and what not."""

from __future__ import annotations

from typing import Any

import pytest

from groupspaces import cli_verify

STARTED = {"at": "2026-11-23T08:00:00.000Z", "state": "running"}
AT = STARTED["at"]
DIFFERENCE = {"table": "message", "from": None, "to": "7", "reason": ""}


class Server:
    """Answers what an instance would: how the comparison stands now."""

    def __init__(self, **facts: Any) -> None:
        self.now = {
            "at": AT,
            "state": "equal",
            "found": None,
            "error": None,
            "tables": ["message"],
            "rows": 3,
            "bytes": 90,
            "seq": 8,
            "duration_ms": 2.0,
            "differences": [],
        } | facts

    def call(self, method: str, path: str, body: Any) -> dict[str, Any]:
        return STARTED

    def status(self) -> dict[str, Any]:
        return {"verification": self.now}


@pytest.mark.parametrize(
    ("now", "code", "words"),
    [
        (Server(), 0, "equal: 1 table, 3 rows"),
        (
            Server(
                state="different", differences=[DIFFERENCE], found={"at": AT, "differences": [DIFFERENCE]}
            ),
            1,
            "message",
        ),
        (
            Server(at="later", found={"at": AT, "differences": [DIFFERENCE]}),
            1,
            "message, from the first row up to 7",
        ),
        (Server(state="never", at=None), 9, "was replaced"),
        (Server(at="later"), 9, "another comparison has begun"),
        (Server(state="failed", error="the primary went away"), 9, "the primary went away"),
    ],
)
def test_only_what_was_begun_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], now: Server, code: int, words: str
) -> None:
    monkeypatch.setattr(cli_verify, "RunningInstance", lambda _: now)
    arguments = type("Arguments", (), {"table": [], "wait": True, "json": False})
    assert cli_verify._verify(arguments) == code  # type: ignore[arg-type]
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
