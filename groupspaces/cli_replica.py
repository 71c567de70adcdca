"""`groupspaces replica …`: how this machine's instance replicates, and tuning it while it runs.

Owns the words and tables that are printed. Everything is asked of the running server through the socket in its data folder, so
what these commands may do is what its operators may do; with `--instance` that server asks another one of the fleet.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from groupspaces import cli_promote, cli_verify
from groupspaces.cli_running import RunningInstance, counted, duration, json_line, size
from groupspaces.errors import AppError

_WATCH_S = 2.0
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

    rebuild = actions.add_parser(
        "rebuild",
        help="fetch all data anew",
        description="Fills a new copy and serves the old one until it is there; people do not notice.",
    )
    rebuild.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    rebuild.set_defaults(command=_rebuild)

    forget = actions.add_parser(
        "forget-old",
        help="remove an old copy that is kept after a rebuild",
        description="After a restored or promoted primary it may hold rows that exist nowhere else: they are lost then.",
    )
    forget.add_argument("--generation", type=int, metavar="N", help="which one, where several are kept")
    forget.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    forget.set_defaults(command=_forget_old)

    verify = cli_verify.add_action(actions)
    cli_promote.add_action(actions)

    for action in (status, sync, tune, rebuild, forget, verify):
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
    server = RunningInstance(arguments)
    if arguments.watch:
        return _watch(server, as_json=arguments.json)
    found = server.status()
    print(json_line(found) if arguments.json else "\n".join(_described(found)))
    return 0


def _watch(server: RunningInstance, *, as_json: bool) -> int:
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


def _seen(server: RunningInstance, *, as_json: bool) -> list[str]:
    try:
        found = server.status()
    except AppError as error:
        # It may be restarting: who watches wants to see it come back.
        return [json_line({"error": error.detail, "code": error.code})] if as_json else [error.detail]
    return [json_line(found)] if as_json else _described(found)


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
    lines += (("wrong", _condition_words(condition)) for condition in found["conditions"])
    lines += zip(("tuning", "", "", ""), _tuning_lines(found["tuning"]), strict=True)
    return [f"{name:<10} {text}" for name, text in lines]


def _replica_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    people = "people are connected" if found["active"] else "nobody is connected"
    yield "primary", found["primary"] + (f": {found['last_error']}" if found["last_error"] else "")
    yield "feed", f"{found['feed_seq']}, as of {found['as_of'] or 'never'}; {people}"
    yield "copy", f"generation {found['generation']}{_epoch_words(found['lineage'])}"
    yield "lag", duration(found["lag_ms"])
    if found["last_sync_at"]:
        yield "last sync", f"{found['last_sync_at']}, took {duration(found['last_sync_ms'])}"
    if found["rebuilding"]:
        yield "rebuilding", found["rebuilding"] + _filled_words(found["room"])
    yield "verified", cli_verify.verification_line(found["verification"], found["generation"])
    if found["rebuild_blocked"]:
        yield "blocked", found["rebuild_blocked"]
    for old in found["kept"]:
        yield "kept", _kept_words(old)
    yield "doorbell", _doorbell_words(found["doorbell"])
    yield "last hour", _history_words(found["history"])


def _epoch_words(lineage: dict[str, Any]) -> str:
    return (
        "" if lineage["epoch"] is None else f", epoch {lineage['epoch']}; the primary is {lineage['state']}"
    )


def _filled_words(room: dict[str, Any] | None) -> str:
    if room is None or room["filled_bytes"] is None:
        return ""
    return f"; {size(room['filled_bytes'])} of about {size(room['size_bytes'])}"


def _condition_words(condition: dict[str, Any]) -> str:
    return (
        f"{condition['name']} since {condition['since']}: {condition['title']} {condition['detail']}".rstrip()
    )


def _kept_words(old: dict[str, Any]) -> str:
    rescues = "; it may hold what the primary has lost" if old["rescues"] else ""
    return f"generation {old['generation']} since {old['at']}, feed {old['seq']}: {old['reason']}{rescues}"


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
    return f"{counted(rounds, 'round')}, {counted(syncs, 'sync')}, {counted(failures, 'failure')}, {size(size_bytes)}; longest lag {duration(longest_ms)}"


def _tuning_lines(tuning: dict[str, Any]) -> list[str]:
    origins = {
        "settings": "from the settings",
        "everywhere": "tuned everywhere",
        "instance": "tuned for this instance",
    }
    return [f"{key} {_value(one['value'])}, {origins[one['from']]}" for key, one in tuning.items()]


# --- sync ---


def _sync(arguments: argparse.Namespace) -> int:
    found = RunningInstance(arguments).call("POST", "/sync")
    if arguments.json:
        print(json_line(found))
    else:
        news = "fetched what was new" if found["changed"] else "nothing was new"
        print(f"{news}; feed {found['feed_seq']}, took {duration(found['duration_ms'])}")
    return 0


# --- rebuild ---


def _rebuild(arguments: argparse.Namespace) -> int:
    question = "Fetch all data anew? The old copy serves until the new one is there."
    if not _agreed(arguments, question):
        return 1
    found = RunningInstance(arguments).call("POST", "/rebuild")
    if not arguments.json:
        print(f"rebuilding: {found['rebuilding']}; `groupspaces replica status` tells how it goes")
    return _done(arguments, found)


def _forget_old(arguments: argparse.Namespace) -> int:
    server = RunningInstance(arguments)
    kept = {old["generation"]: old for old in server.status()["kept"]}
    wanted: int | None = arguments.generation
    if wanted is None and len(kept) == 1:
        wanted = next(iter(kept))
    if wanted is not None and wanted not in kept:
        numbers = ", ".join(map(str, sorted(kept))) or "none"
        raise AppError(f"Generation {wanted} is no old copy that is kept here; these are: {numbers}.")
    if wanted is not None and not _may_go(arguments, kept[wanted]):
        return 1
    found = server.call("POST", "/forget-old", {} if wanted is None else {"generation": wanted})
    if not arguments.json:
        gone = found["forgotten"]
        print("there is no old copy to remove" if gone is None else f"generation {gone} is removed")
    return _done(arguments, found)


def _may_go(arguments: argparse.Namespace, old: dict[str, Any]) -> bool:
    """Ask, and take no script at its word that may not know what it removes."""
    if old["rescues"] and not arguments.yes and not sys.stdin.isatty():
        raise AppError(f"{_what_is_lost(old)} Then say so with --yes.")
    return _agreed(arguments, _what_is_lost(old))


def _what_is_lost(old: dict[str, Any]) -> str:
    rows = " It may hold rows that exist nowhere else." if old["rescues"] else ""
    return f"Remove generation {old['generation']} (feed {old['seq']}, {old['reason']}) for good?{rows}"


# --- tune ---


def _tune(arguments: argparse.Namespace) -> int:
    keys = ("interval_s", "idle_interval_s", "jitter", "doorbell")
    wanted = {key: getattr(arguments, key) for key in keys if hasattr(arguments, key)}
    if not wanted:
        arguments.usage.error("name at least one of --interval-s, --idle-interval-s, --jitter, --doorbell")
    body = {**wanted, "everywhere": arguments.everywhere}
    server = RunningInstance(arguments)
    preview = server.call("POST", "/preview", body)
    if not arguments.json:
        print("\n".join(_previewed(preview)))
    if arguments.preview:
        return _done(arguments, {"preview": preview})
    whose = "all instances" if arguments.everywhere else "this instance"
    if not _agreed(arguments, f"Tune {whose} like this?"):
        return 1
    tuning = server.call("PATCH", "", body)
    if not arguments.json:
        print("\n".join(["", "Tuned.", *_tuning_lines(tuning)]))
    return _done(arguments, {"preview": preview, "tuning": tuning})


def _previewed(preview: dict[str, Any]) -> Iterator[str]:
    rows = (
        ("lag, median", "lag_p50_ms", duration),
        ("lag, 95 of 100", "lag_p95_ms", duration),
        ("requests a day", "requests_per_day", _count),
        ("bytes a day", "bytes_per_day", size),
    )
    yield f"{'':<16} {'now':>12} {'then':>12}"
    for name, key, shown in rows:
        yield f"{name:<16} {shown(preview['now'][key]):>12} {shown(preview['then'][key]):>12}"
    basis = preview["basis"]
    yield (
        f"From {basis['hours']:g} h of this instance's history: {counted(basis['rounds'], 'round')}, "
        f"{counted(basis['changes'], 'change')} made elsewhere."
    )
    if not basis["measured"]:
        yield "That is little: much of this is assumed."


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    """Ask whoever sits at a terminal, unless they have said yes already."""
    if arguments.yes or not sys.stdin.isatty():
        return True
    print(f"{question} Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("yes", "y"):
        return True
    print("Nothing was changed.", file=sys.stderr)
    return False


def _done(arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    if arguments.json:
        print(json_line(found))
    return 0


# --- words ---


def _value(value: float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}"


def _count(number: float) -> str:
    return f"{number:,.0f}"
