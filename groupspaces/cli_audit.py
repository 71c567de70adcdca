"""`groupspaces audit …`: who did what to whom, taking that away as a file, and checking whether anybody changed it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from groupspaces.cli_call import (
    Operator,
    add_json,
    find_person,
    print_facts,
    print_json,
    print_table,
)
from groupspaces.errors import AppError

_PATH = "/api/ops/audit"
_EXIT_BROKEN = 1
_PROBLEMS = {
    "changed": "an entry was changed, or the seal on them",
    "removed": "entries are missing",
    "added": "there are entries that were not sealed",
    "signature": "they were sealed with a secret that this deployment does not have",
}
_EXAMPLES = """examples:
  groupspaces audit list --actor ann@example.org --since 2026-11-01
  groupspaces audit export --format jsonl --output audit.jsonl
  groupspaces audit verify"""


def add_commands(commands: Any) -> None:
    """Add `audit` and its actions to the command line."""
    audit = commands.add_parser(
        "audit",
        help="read, export and check the record of who did what",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = audit.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="show entries, newest first")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="how many (default 50)")
    listing.set_defaults(command=_list)

    export = actions.add_parser("export", help="write all entries to a file, newest first")
    export.add_argument("--format", choices=("csv", "jsonl"), default="csv", help="default csv")
    export.add_argument("--output", type=Path, metavar="FILE", help="default: standard output")
    export.set_defaults(command=_export)

    for action in (listing, export):
        action.add_argument(
            "--actor", metavar="WHO", help="who did it: an e-mail address, a username or an id"
        )
        action.add_argument("--action", help="what was done, such as member.removed")
        action.add_argument("--subject", help="to what, such as user:5 or space:7")
        action.add_argument("--since", metavar="TIME", help="a day or a time with its zone (RFC 3339)")
        action.add_argument("--until", metavar="TIME", help="before that")

    verify = actions.add_parser("verify", help="check the seals; exit code 1 when the record was changed")
    verify.set_defaults(command=_verify)
    add_json(listing, verify)


def _list(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = list(_first(_entries(operator, arguments), arguments.limit))
    if arguments.json:
        print_json({"items": found})
        return 0
    rows = (
        (
            entry["at"],
            entry["actor"]["name"] if entry["actor"] else "-",
            entry["action"],
            entry["subject"],
            entry["address"] or "-",
            entry["instance"],
        )
        for entry in found
    )
    print_table(("when", "who", "did", "to", "from", "at"), rows)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        if arguments.output is None:
            _write(operator, arguments, sys.stdout.buffer)
            return 0
        try:
            with arguments.output.open("wb") as file:
                _write(operator, arguments, file)
        except OSError as error:
            raise AppError(f"{arguments.output} cannot be written: {error.strerror}.") from error
    return 0


def _write(operator: Operator, arguments: argparse.Namespace, file: BinaryIO) -> None:
    import msgspec

    from groupspaces.ops import audit_export
    from groupspaces.ops.audit import Entry

    lines = audit_export.body(arguments.format)
    file.write(audit_export.head(arguments.format))
    for items in operator.pages(_PATH, **_filter(operator, arguments)):
        file.write(lines(msgspec.convert(items, list[Entry])))
    file.flush()


def _verify(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", f"{_PATH}/verify")
    problem = found["problem"]
    if arguments.json:
        print_json(found)
    elif problem is None:
        print("The record is as it was written.")
        facts = (
            ("entries checked", found["entries"]),
            ("sealed until", found["sealed_until"] or "never"),
            ("not sealed yet", found["unsealed"]),
            ("newest digest", found["digest"]),
        )
        print_facts(facts)
    else:
        print(
            f"The record was changed: {_PROBLEMS[problem['what']]}, in the range after entry "
            f"{problem['after_id']} up to {problem['until_id']}."
        )
    return 0 if found["ok"] else _EXIT_BROKEN


def _entries(operator: Operator, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    wanted = _filter(operator, arguments)
    for items in operator.pages(_PATH, **wanted, limit=max(1, min(arguments.limit, 200))):
        yield from items


def _first(entries: Iterator[dict[str, Any]], limit: int) -> Iterator[dict[str, Any]]:
    for _, entry in zip(range(limit), entries, strict=False):
        yield entry


def _filter(operator: Operator, arguments: argparse.Namespace) -> dict[str, Any]:
    actor_id = None if arguments.actor is None else find_person(operator, arguments.actor)["id"]
    return {
        "actor_id": actor_id,
        "action": arguments.action,
        "subject": arguments.subject,
        "since": _moment(arguments.since),
        "until": _moment(arguments.until),
    }


def _moment(text: str | None) -> str | None:
    """Let a day mean its beginning in UTC."""
    return f"{text}T00:00:00Z" if text is not None and len(text) == len("2026-11-22") else text
