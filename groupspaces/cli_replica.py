"""`groupspaces replica …`: how this machine's instance replicates, and tuning it while it runs.

Owns the words and tables that are printed. Everything is asked of the running server through the socket in its data folder, so
what these commands may do is what its operators may do; with `--instance` that server asks another one of the fleet.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from groupspaces.errors import AppError, Unavailable
from groupspaces.settings import load

if TYPE_CHECKING:
    from pathlib import Path

_PATH = "/api/ops/replication"
_TIMEOUT_S = 15.0
_WATCH_S = 2.0
_HISTORY_S = 3600
_DEFAULT = "default"
_SWITCH = {"on": True, "off": False, _DEFAULT: None}

# ECMA-48: cursor home, erase to the end of the line, erase to the end of the screen.
_HOME, _END_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_WHOLE_SCREEN = "\x1b[2J"


def add_commands(commands: Any) -> None:
    """Add `replica` and its actions to the command line."""
    replica = commands.add_parser("replica", help="watch and tune how this instance replicates")
    actions = replica.add_subparsers(required=True, metavar="ACTION")

    status = actions.add_parser("status", help="say how this instance stands against the primary")
    status.add_argument(
        "--watch", action="store_true", help=f"again every {_WATCH_S:g} seconds, until Ctrl-C"
    )
    status.set_defaults(command=_status)

    sync = actions.add_parser("sync", help="fetch now what is new at the primary")
    sync.set_defaults(command=_sync)

    tune = actions.add_parser(
        "tune",
        help="change how often this instance syncs, without a restart",
        description=f"Shows first what it would mean. {_DEFAULT!r} as a value gives the settings back their say.",
    )
    for option, metavar, what in (
        ("--interval-s", "S", "seconds between two rounds while people are connected"),
        ("--idle-interval-s", "S", "the same while nobody is"),
        ("--jitter", "SHARE", "how much an interval varies, as a share of it"),
    ):
        # One that is left out is not there at all: None is what the settings say.
        tune.add_argument(option, type=_number, metavar=metavar, default=argparse.SUPPRESS, help=what)
    tune.add_argument(
        "--doorbell",
        type=_switch,
        metavar="on|off",
        default=argparse.SUPPRESS,
        help="ring other instances after writes, and be rung",
    )
    tune.add_argument("--everywhere", action="store_true", help="tune all instances, not only this one")
    tune.add_argument("--preview", action="store_true", help="only say what it would mean")
    tune.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    tune.set_defaults(command=_tune, usage=tune)

    for action in (status, sync, tune):
        action.add_argument("--instance", metavar="ID", help="another instance of the fleet")
        action.add_argument("--json", action="store_true")


def _number(text: str) -> float | None:
    if text == _DEFAULT:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number, or {_DEFAULT}")
    return number


def _switch(text: str) -> bool | None:
    if text not in _SWITCH:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(_SWITCH)}")
    return _SWITCH[text]


# --- status ---


def _status(arguments: argparse.Namespace) -> int:
    server = _Server(arguments)
    if arguments.watch:
        return _watch(server, as_json=arguments.json)
    found = server.status()
    print(_line(found) if arguments.json else "\n".join(_described(found)))
    return 0


def _watch(server: _Server, *, as_json: bool) -> int:
    """Show the status again and again, also while the server restarts."""
    in_place = sys.stdout.isatty() and not as_json
    if in_place:
        sys.stdout.write(_WHOLE_SCREEN)
    try:
        while True:
            _show(_seen(server, as_json=as_json), in_place=in_place)
            time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        return 0


def _seen(server: _Server, *, as_json: bool) -> list[str]:
    try:
        found = server.status()
    except AppError as error:
        # It may be restarting: who watches wants to see it come back.
        return [_line({"error": error.detail, "code": error.code})] if as_json else [error.detail]
    return [_line(found)] if as_json else _described(found)


def _show(lines: Sequence[str], *, in_place: bool) -> None:
    if in_place:
        text = _HOME + "".join(f"{line}{_END_OF_LINE}\n" for line in lines) + _REST
    else:
        text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def _described(found: dict[str, Any]) -> list[str]:
    lines = [("instance", f"{found['instance']} ({found['mode']})")]
    if found["mode"] == "standalone":
        lines.append(("feed", f"{found['feed_seq']}; this instance is its own primary, so nothing is synced"))
    else:
        lines += _replica_lines(found)
    lines += zip(("tuning", "", "", ""), _tuning_lines(found["tuning"]), strict=True)
    return [f"{name:<10} {text}" for name, text in lines]


def _replica_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    people = "people are connected" if found["active"] else "nobody is connected"
    yield "primary", found["primary"] + (f": {found['last_error']}" if found["last_error"] else "")
    yield "feed", f"{found['feed_seq']}, as of {found['as_of'] or 'never'}; {people}"
    yield "lag", _duration(found["lag_ms"])
    if found["last_sync_at"]:
        yield "last sync", f"{found['last_sync_at']}, took {_duration(found['last_sync_ms'])}"
    if found["rebuilding"]:
        yield "rebuilding", found["rebuilding"]
    yield "doorbell", _doorbell_words(found["doorbell"])
    yield "last hour", _history_words(found["history"])


def _doorbell_words(doorbell: dict[str, Any]) -> str:
    if not doorbell["enabled"]:
        return "off"
    peers = [
        f"{peer['id']} {'answers' if peer['ok'] else 'does not answer'}" for peer in doorbell["peers"]
    ] or ["nobody to ring"]
    return f"on; {', '.join(peers)}; sent {doorbell['sent']}, received {doorbell['received']}, failed {doorbell['failed']}"


def _history_words(history: dict[str, Any]) -> str:
    samples = history["samples"]
    if not samples:
        return "no history yet"
    rounds, syncs, failures, size_bytes = (
        sum(sample[key] for sample in samples) for key in ("rounds", "syncs", "failures", "bytes")
    )
    longest_ms = max(sample["lag_ms"] for sample in samples)
    return f"{_counted(rounds, 'round')}, {_counted(syncs, 'sync')}, {_counted(failures, 'failure')}, {_bytes(size_bytes)}; longest lag {_duration(longest_ms)}"


def _tuning_lines(tuning: dict[str, Any]) -> list[str]:
    origins = {
        "settings": "from the settings",
        "everywhere": "tuned everywhere",
        "instance": "tuned for this instance",
    }
    return [f"{key} {_value(one['value'])}, {origins[one['from']]}" for key, one in tuning.items()]


# --- sync ---


def _sync(arguments: argparse.Namespace) -> int:
    found = _Server(arguments).call("POST", "/sync")
    if arguments.json:
        print(_line(found))
    else:
        news = "fetched what was new" if found["changed"] else "nothing was new"
        print(f"{news}; feed {found['feed_seq']}, took {_duration(found['duration_ms'])}")
    return 0


# --- tune ---


def _tune(arguments: argparse.Namespace) -> int:
    keys = ("interval_s", "idle_interval_s", "jitter", "doorbell")
    wanted = {key: getattr(arguments, key) for key in keys if hasattr(arguments, key)}
    if not wanted:
        arguments.usage.error("name at least one of --interval-s, --idle-interval-s, --jitter, --doorbell")
    body = {**wanted, "everywhere": arguments.everywhere}
    server = _Server(arguments)
    preview = server.call("POST", "/preview", body)
    if not arguments.json:
        print("\n".join(_previewed(preview)))
    if arguments.preview:
        return _done(arguments, {"preview": preview})
    if not arguments.yes and sys.stdin.isatty() and not _agreed(everywhere=arguments.everywhere):
        print("Nothing was changed.", file=sys.stderr)
        return 1
    tuning = server.call("PATCH", "", body)
    if not arguments.json:
        print("\n".join(["", "Tuned.", *_tuning_lines(tuning)]))
    return _done(arguments, {"preview": preview, "tuning": tuning})


def _previewed(preview: dict[str, Any]) -> Iterator[str]:
    rows = (
        ("lag, median", "lag_p50_ms", _duration),
        ("lag, 95 of 100", "lag_p95_ms", _duration),
        ("requests a day", "requests_per_day", _count),
        ("bytes a day", "bytes_per_day", _bytes),
    )
    yield f"{'':<16} {'now':>12} {'then':>12}"
    for name, key, shown in rows:
        yield f"{name:<16} {shown(preview['now'][key]):>12} {shown(preview['then'][key]):>12}"
    basis = preview["basis"]
    yield (
        f"From {basis['hours']:g} h of this instance's history: {_counted(basis['rounds'], 'round')}, "
        f"{_counted(basis['changes'], 'change')} made elsewhere."
    )
    if not basis["measured"]:
        yield "That is little: much of this is assumed."


def _agreed(*, everywhere: bool) -> bool:
    what = "all instances" if everywhere else "this instance"
    print(f"Tune {what} like this? Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("yes", "y")


def _done(arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    if arguments.json:
        print(_line(found))
    return 0


# --- the server ---


class _Server:
    """The instance of the settings' data folder, or the one it passes calls on to."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._folder: Path = load(os.environ).data_dir
        self._instance: str | None = arguments.instance

    def status(self) -> dict[str, Any]:
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


def _line(found: Any) -> str:
    return orjson.dumps(found).decode()


def _value(value: float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}"


def _duration(duration_ms: float | None) -> str:
    if duration_ms is None:
        return "-"
    if duration_ms < 1_000:
        return f"{duration_ms:.0f} ms"
    return f"{duration_ms / 1000:.1f} s" if duration_ms < 120_000 else f"{duration_ms / 60_000:.0f} min"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _bytes(size_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} B"
