"""How `groupspaces replica …` speaks with the server that runs in the data folder, and the words it prints."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from groupspaces.errors import AppError, Unavailable
from groupspaces.settings import load

if TYPE_CHECKING:
    from pathlib import Path

_PATH = "/api/ops/replication"
_TIMEOUT_S = 15.0
_HISTORY_S = 3600


class RunningInstance:
    """The instance of the settings' data folder, or the one it passes calls on to."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._folder: Path = load(os.environ).data_dir
        self._instance: str | None = arguments.instance

    def status(self) -> dict[str, Any]:
        """Return how it replicates."""
        return self.call("GET", "", since=_HISTORY_S)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """Return the answer. Raises AppError with the server's own words, or that none runs."""
        from groupspaces.host import channel

        if self._instance is not None:
            query["instance"] = self._instance
        answer = channel.request(
            self._folder,
            method,
            _PATH + path,
            urlencode(query),
            b"" if body is None else orjson.dumps(body),
            timeout_s=_TIMEOUT_S,
        )
        found: dict[str, Any] = _json(answer.body)
        if answer.status >= 400:
            raise AppError(
                found.get("detail", f"The server answered {answer.status}."), code=found.get("code")
            )
        return found


def _json(body: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unavailable("The server's answer could not be read.", code="NO_ANSWER") from error
    return found


# --- words ---


def json_line(found: Any) -> str:
    """Return one JSON value on one line."""
    return orjson.dumps(found).decode()


def duration(duration_ms: float | None) -> str:
    """Say how long something took."""
    if duration_ms is None:
        return "-"
    if duration_ms < 1_000:
        return f"{duration_ms:.0f} ms"
    return f"{duration_ms / 1000:.1f} s" if duration_ms < 120_000 else f"{duration_ms / 60_000:.0f} min"


def counted(number: int, noun: str) -> str:
    """Say how many there are."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(size_bytes: float) -> str:
    """Say how large something is."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} B"
