"""How commands reach the application: through the server that runs in the data folder, or without one.

Owns `Operator`, by which a command makes API calls as the operator of this machine. When a server runs, it is asked through the socket
in its data folder. When none does, the application is started in this process on the same folder, without listening to anybody, and
stopped when the command is done: so an account can be repaired, or the record checked, before anything serves. Never decides what
an operator may do.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import orjson

from groupspaces.errors import AppError, Unavailable
from groupspaces.settings import Settings, load

if TYPE_CHECKING:
    from groupspaces.app import Application
    from groupspaces.host.local_call import Answer

_TIMEOUT_S = 60.0
_PAGE = 200


class Operator:
    """Make calls; use it as a context, for all calls of a command. `settings` are those of this process."""

    def __init__(self) -> None:
        self.settings: Settings = load(os.environ)
        self._alone: _Alone | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._alone is not None:
            self._alone.close()

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return the answer's JSON, None without any. Raises AppError with the server's own words.

        Query parameters of None are left out. Blocks; without a server, the first call takes as long as a start.
        """
        given = {key: value for key, value in query.items() if value is not None}
        encoded = b"" if body is None else orjson.dumps(body)
        return _content(self._answer(method, path, urlencode(given), encoded))

    def pages(self, path: str, **query: Any) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a list, each as its items."""
        cursor: int | None = None
        while True:
            page = self.call("GET", path, **{"limit": _PAGE, **query}, cursor=cursor)
            yield page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def pause(self, pause_s: float) -> None:
        """Wait a moment; where no server runs, what was begun goes on meanwhile."""
        if self._alone is None:
            time.sleep(pause_s)
        else:
            self._alone.go_on(pause_s)

    def _answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        from groupspaces.host import channel

        if self._alone is None:
            try:
                return channel.request(
                    self.settings.data_dir, method, path, query, body, timeout_s=_TIMEOUT_S
                )
            except Unavailable as error:
                if error.code != "NO_SERVER":
                    raise
            folder = self.settings.data_dir
            print(f"No server runs in {folder}: doing it there without one.", file=sys.stderr)
            self._alone = _Alone(self.settings)
        return self._alone.answer(method, path, query, body)


class _Alone:
    """The application in this process, serving nobody else."""

    def __init__(self, settings: Settings) -> None:
        from groupspaces.app import Application

        # What goes wrong is told by the answers; a log on the terminal would be in the way.
        logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(message)s")
        self._runner = asyncio.Runner()
        self._application: Application = Application(settings)
        try:
            self._runner.run(self._application.start())
        except BaseException:
            self._runner.close()
            raise

    def answer(self, method: str, path: str, query: str, body: bytes) -> Answer:
        from groupspaces.host.local_call import Call, perform
        from groupspaces.web.context import LOCAL_OPERATOR

        headers = [(b"content-type", b"application/json")]
        call = Call(method, path, query.encode(), headers, body)
        return self._runner.run(perform(self._application.asgi, call, **{LOCAL_OPERATOR: True}))

    def go_on(self, pause_s: float) -> None:
        self._runner.run(asyncio.sleep(pause_s))

    def close(self) -> None:
        try:
            self._application.drain()
            self._runner.run(self._application.stop())
        finally:
            self._runner.close()


def _content(answer: Answer) -> Any:
    try:
        found = orjson.loads(answer.body) if answer.body else None
    except orjson.JSONDecodeError as error:
        raise Unavailable("The server's answer could not be read.", code="NO_ANSWER") from error
    if answer.status >= 400:
        facts = found or {}
        fields = "".join(f"\n  {one['field']}: {one['message']}" for one in facts.get("errors") or ())
        detail = facts.get("detail", f"The server answered {answer.status}.")
        raise AppError(f"{detail}{fields}", code=facts.get("code"), current=facts.get("current"))
    return found


# --- people ---


def find_person(operator: Operator, who: str) -> dict[str, Any]:
    """Return the person whom `who` names: `#5` by id, an e-mail address or a username. Raises AppError when there is none.

    Digits alone are an id unless somebody goes by them as a username.
    """
    sought = who.strip().lower()
    if not sought.startswith("#"):
        for items in operator.pages("/api/ops/users", q=sought, state="all"):
            for person in items:
                if sought in (person["email"], person["username"]):
                    return dict(person)
    if sought.removeprefix("#").isdigit():
        found: dict[str, Any] = operator.call("GET", f"/api/ops/users/{sought.removeprefix('#')}")
        return found
    raise AppError(f"There is nobody with the e-mail address, username or id {who!r}.", code="NOT_FOUND")


# --- words ---


def add_json(*parsers: argparse.ArgumentParser) -> None:
    """Give commands the option `--json`."""
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print JSON for programs")


def print_json(found: Any) -> None:
    """Print one JSON value on one line."""
    print(orjson.dumps(found).decode(), flush=True)  # whoever reads along wants it now


def print_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns under their names."""
    cells = [tuple(names), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    for row in cells:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print lines of a name and what it is."""
    pairs = [(name, _cell(value)) for name, value in facts]
    width = max(len(name) for name, _ in pairs)
    for name, text in pairs:
        print(f"{name:<{width}}  {text}")


def agreed(question: str, answer: str) -> bool:
    """Ask whoever sits at the terminal to type `answer`; a script meant what it said."""
    if not sys.stdin.isatty():
        return True
    print(f"{question} Type {answer}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == answer


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # Names are people's own: nothing in them reaches the terminal as a command to it.
    return "".join(letter if letter.isprintable() else "�" for letter in str(value))
