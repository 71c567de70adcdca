"""The process that makes, opens and checks archives: one of its own, so that neither the loop nor its lock notices, and at a low priority.

Spoken to by `db/replica_child.Child`: JSON lines on stdin, answers on the descriptor named by the argument. The first order names the
errand; each further one has it go on for a moment and is answered with how far it is, or with what came of it. So whoever ordered it decides
how long it may go on, and its death ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from groupspaces.db.folder import FolderError
from groupspaces.db.replica_process import die_with, rss_kb
from groupspaces.errors import AppError, SettingsError
from groupspaces.ops.backups.adopting import AdoptOrder, adopt
from groupspaces.ops.backups.contents import ContentsOrder, contents
from groupspaces.ops.backups.errands import STORAGE
from groupspaces.ops.backups.making import MakeOrder, make
from groupspaces.ops.backups.preparing import PrepareOrder, prepare
from groupspaces.ops.backups.progress import Progress
from groupspaces.ops.backups.proof import ProveOrder, prove
from groupspaces.ops.backups.sql_text import ConvertOrder, ExportOrder, convert, export
from groupspaces.ops.upkeep import InspectOrder, inspect

Errand = Callable[[Any], Iterator[Any]]


def _proved(order: ProveOrder) -> Iterator[Any]:
    # Imported for a proof alone: it is the whole application.
    from groupspaces.tryout import visit

    return prove(order, visit)


ERRANDS: dict[str, tuple[type[msgspec.Struct], Errand]] = {
    "make": (MakeOrder, make),
    "adopt": (AdoptOrder, adopt),
    "contents": (ContentsOrder, contents),
    "inspect": (InspectOrder, inspect),
    "prepare": (PrepareOrder, prepare),
    "prove": (ProveOrder, _proved),
    "export": (ExportOrder, export),
    "convert": (ConvertOrder, convert),
}

_NICENESS = 10
_TURN_S = 0.2


def main() -> None:
    """Obey the parent until it closes stdin."""
    os.umask(0o077)
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    settings = json.loads(sys.stdin.readline())
    die_with(settings["parent_pid"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    _say(answers, {"ok": True})
    running = _Running(iter(()))
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "close":
                _say(answers, {"ok": True})
                return
            if order["do"] == "begin":
                expected, errand = ERRANDS[order["errand"]]
                running = _Running(errand(msgspec.convert(order["facts"], expected)))
            answer = running.go_on()
        except (AppError, SettingsError, OSError) as error:
            answer = {"refused": _refusal(error)}
        _say(answers, {"ok": True, **answer})


class _Running:
    """One errand under way."""

    def __init__(self, steps: Iterator[Any]) -> None:
        self._steps = steps
        self._told = ""

    def go_on(self) -> dict[str, Any]:
        """Run for a moment, or to where the next step begins; tell how far it is, or what came of it."""
        until_s = time.monotonic() + _TURN_S
        while isinstance(found := next(self._steps), Progress):
            if found.step != self._told or time.monotonic() >= until_s:
                self._told = found.step
                return {"progress": msgspec.to_builtins(found)}
        next(self._steps, None)  # lets it clear away what it needs no more
        return {"result": msgspec.to_builtins(found)}


def _refusal(error: Exception) -> dict[str, str]:
    if isinstance(error, AppError):
        return {"code": error.code, "detail": error.detail}
    if isinstance(error, OSError):
        where = error.filename or "The disk"
        return {"code": STORAGE, "detail": f"{where} cannot be read or written: {error.strerror or error}."}
    return {"code": STORAGE if isinstance(error, FolderError) else "DATABASE_REFUSED", "detail": str(error)}


def _say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps({**answer, "rss_kb": rss_kb()}) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
