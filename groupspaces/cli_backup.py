"""`groupspaces backup …`: make, list, prove, and let go of backups, at the running server or without one; take the data away as SQL.

Owns the words and the progress; what is done is `ops/backups/`. Going back to one is `cli_restore.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from groupspaces.cli_call import Operator, add_json, print_facts, print_json, print_table
from groupspaces.cli_running import duration, size
from groupspaces.errors import AppError

if TYPE_CHECKING:
    from groupspaces.ops.backups.progress import Progress

PATH = "/api/ops/backups"
_EXIT_FAILED = 1
_LOOK_S, _WAIT_S = 0.2, 900.0
_EXAMPLES = """examples:
  groupspaces backup create --prove
  groupspaces backup list
  groupspaces backup export --sql data.sql.gz
  groupspaces restore 20261122T020000Z-1a2b3c --dry-run
  groupspaces restore 20261122T020000Z-1a2b3c --space garden"""


def add_commands(commands: Any) -> None:
    """Add `backup` and its actions to the command line."""
    backup = commands.add_parser(
        "backup",
        help="make, list, prove and remove backups",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = backup.add_subparsers(required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a backup now")
    create.add_argument("--prove", action="store_true", help="and prove that it is good")
    create.set_defaults(command=_create)
    listing = actions.add_parser("list", help="show backups, newest first")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="how many (default 50)")
    listing.set_defaults(command=_list)
    show = actions.add_parser("show", help="show one backup")
    show.set_defaults(command=_show)
    prove = actions.add_parser(
        "prove",
        help="restore a backup in a place of its own and read from it; exit code 1 when it is not good",
    )
    prove.set_defaults(command=_prove)
    delete = actions.add_parser("delete", help="remove a backup and its archive")
    delete.add_argument(
        "--even-if-last", action="store_true", help="also the newest one that is proved to be good"
    )
    delete.set_defaults(command=_delete)
    fetch = actions.add_parser(
        "fetch", help="bring an archive to this instance, from object storage or another instance"
    )
    fetch.set_defaults(command=_fetch)
    spaces = actions.add_parser("spaces", help="list the spaces that are in a backup")
    spaces.set_defaults(command=_spaces)
    for action in (show, delete, fetch, spaces):
        action.add_argument("id", metavar="ID", help="as `backup list` shows it")
    prove.add_argument("id", metavar="ID", nargs="?", help="as `backup list` shows it (the newest)")
    prune = actions.add_parser(
        "prune", help="record archives that were found, and remove backups that are needed no more"
    )
    prune.set_defaults(command=_prune)
    export = actions.add_parser("export", help="write all data as SQL that sqlite3 and other servers load")
    export.add_argument(
        "--sql",
        metavar="FILE",
        nargs="?",
        const="",
        required=True,
        help="a file .sql or .sql.gz (one named by the time)",
    )
    export.set_defaults(command=_export)
    add_json(create, listing, show, prove, delete, fetch, spaces, prune, export)


def _create(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        work = begun(operator, PATH, Bar(arguments))
        followed(operator, "backup", Bar(arguments))
        found = operator.call("GET", f"{PATH}/{work['backup_id']}")
        if arguments.prove:
            found = _proved(operator, found["id"], Bar(arguments))
    if arguments.json:
        print_json(found)
    else:
        print(
            f"{found['id']}: {size(found['size_bytes'])} in {found['file']}, of feed position {found['seq']}."
        )
        if found["detail"]:
            print(found["detail"])
        if found["proof"]:
            print(_verdict(found))
    return 0 if not arguments.prove or found["proof"]["ok"] else _EXIT_FAILED


def _list(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", PATH, limit=max(1, min(arguments.limit, 200)))
    if arguments.json:
        print_json(found)
        return 0
    rows = (
        (
            one["id"],
            one["created_at"],
            one["reason"],
            size(one["size_bytes"]),
            one["instance"],
            one["seq"],
            _standing(one),
        )
        for one in found["items"]
    )
    print_table(("id", "made", "why", "size", "at", "position", "proved"), rows)
    print(assurance(found["restorable"]))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", f"{PATH}/{arguments.id}")
    if arguments.json:
        print_json(found)
    else:
        facts = {name: value for name, value in found.items() if name != "proof"}
        print_facts([*facts.items(), ("proof", _verdict(found) if found["proof"] else None)])
    return 0


def _prove(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = _proved(operator, arguments.id or _newest(operator), Bar(arguments))
    if arguments.json:
        print_json(found)
    else:
        print(_verdict(found))
    return 0 if found["proof"]["ok"] else _EXIT_FAILED


def _fetch(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        bring(operator, arguments.id, Bar(arguments))
        found = operator.call("GET", f"{PATH}/{arguments.id}")
    if arguments.json:
        print_json(found)
    else:
        print(f"{found['file']} is here.")
    return 0


def bring(operator: Operator, backup_id: str, bar: Bar) -> None:
    """Have the archive of a backup at this instance. Raises AppError."""
    if not operator.call("GET", f"{PATH}/{backup_id}")["here"]:
        begun(operator, f"{PATH}/{backup_id}/fetch", bar)
        followed(operator, "fetch", bar)


def _delete(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        given = "true" if arguments.even_if_last else None
        operator.call("DELETE", f"{PATH}/{arguments.id}", even_if_last=given)
    if arguments.json:
        print_json({"removed": arguments.id})
    else:
        print(f"{arguments.id} is removed.")
    return 0


def _spaces(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        bring(operator, arguments.id, Bar(arguments))
        found = operator.call("GET", f"{PATH}/{arguments.id}/spaces")
    if arguments.json:
        print_json(found)
        return 0
    rows = (
        (
            one["id"],
            one["name"],
            one["slug"] if not one["deleted"] else "(deleted)",
            one["members"],
            one["messages"],
        )
        for one in found["items"]
    )
    print_table(("id", "name", "slug", "members", "messages"), rows)
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("POST", f"{PATH}/prune")
    if arguments.json:
        print_json(found)
    else:
        print(f"Removed: {', '.join(found['removed']) or 'none'}. Recorded: {found['adopted']}.")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from groupspaces.cli_sql import export

    return export(arguments)


def _newest(operator: Operator) -> str:
    items = operator.call("GET", PATH, limit=1)["items"]
    if not items:
        raise AppError("There is no backup yet. Make one: `groupspaces backup create`.", code="NOT_FOUND")
    return str(items[0]["id"])


def _proved(operator: Operator, backup_id: str, bar: Bar) -> dict[str, Any]:
    """Have a backup proved, unless that is under way, and return it."""
    before = operator.call("GET", f"{PATH}/{backup_id}")["proof"]
    try:
        operator.call("POST", f"{PATH}/{backup_id}/prove")
    except AppError as error:
        if error.code != "BACKUP_BUSY":
            raise
    followed(operator, "proof", bar)
    found: dict[str, Any] = operator.call("GET", f"{PATH}/{backup_id}")
    if found["proof"] == before:
        raise AppError(
            "Something else runs at this instance. Try again when it has ended.", code="BACKUP_BUSY"
        )
    return found


# --- following what runs ---


class Bar:
    """How far something is: a bar at a terminal, a line for each step in a log, nothing for programs."""

    _CELLS = 28

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._is_silent: bool = arguments.json
        self._in_place = sys.stderr.isatty()
        self._step = ""

    def show(self, step: str, done_bytes: int, total_bytes: int) -> None:
        """Show it."""
        if self._is_silent or (not self._in_place and step == self._step):
            return
        self._step = step
        if not self._in_place:
            print(step, file=sys.stderr, flush=True)
            return
        share = min(1.0, done_bytes / total_bytes) if total_bytes else 0.0
        left = f"{size(done_bytes)} of {size(total_bytes)}, " if total_bytes else ""
        print(
            f"\r[{'#' * int(self._CELLS * share):<{self._CELLS}}] {left}{step}\x1b[K",
            end="",
            file=sys.stderr,
            flush=True,
        )

    def show_progress(self, found: Progress) -> None:
        """Show how far an errand of this process is."""
        self.show(found.step, found.done_bytes, found.total_bytes)

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._in_place and self._step and not self._is_silent:
            print(file=sys.stderr)


def begun(operator: Operator, path: str, bar: Bar, body: Any = None) -> dict[str, Any]:
    """Begin something, as soon as nothing else runs at the instance, and return it."""
    give_up_s = time.monotonic() + _WAIT_S
    while True:
        try:
            found: dict[str, Any] = operator.call("POST", path, body)
        except AppError as error:
            if error.code != "BACKUP_BUSY" or time.monotonic() >= give_up_s:
                raise
            bar.show("waiting for what runs at the instance", 0, 0)
            operator.pause(_LOOK_S)
        else:
            return found


def followed(operator: Operator, kind: str, bar: Bar) -> str:
    """Wait until the newest of a kind that runs at the instance has ended; return what it made. Raises AppError when it failed."""
    try:
        while True:
            works = operator.call("GET", PATH, limit=1)["works"]
            work = next((one for one in works if one["kind"] == kind), None)
            if work is not None:
                bar.show(work["step"], work["done_bytes"], work["total_bytes"])
            if not any(one["state"] == "running" for one in works):
                break
            operator.pause(_LOOK_S)
    finally:
        bar.end()
    if work is not None and work["state"] == "failed":
        raise AppError(work["error"])
    return "" if work is None else str(work["made"])


# --- words ---


def assurance(found: dict[str, Any] | None) -> str:
    """Say by what this deployment could be restored."""
    if found is None:
        return "Not restorable: no backup is proved to be good."
    rpo = "nothing" if not found["rpo_s"] else f"the last {duration(found['rpo_s'] * 1000)}"
    return (
        f"Restorable: {found['backup_id']}, proved {found['proved_at']}, in {duration(found['rto_ms'])}; "
        f"losing the primary now would lose {rpo}."
    )


def _standing(one: dict[str, Any]) -> str:
    if one["status"] == "failed":
        return "failed"
    if one["proof"] is None:
        return "not yet"
    return str(one["proved_at"]) if one["proof"]["ok"] else "NOT GOOD"


def _verdict(found: dict[str, Any]) -> str:
    proof = found["proof"]
    if proof["ok"]:
        return f"{found['id']} is good: restored, signed in to and read from in {duration(proof['rto_ms'])}."
    return f"{found['id']} is not good: {proof['error']}"
