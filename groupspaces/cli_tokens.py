"""`groupspaces token …`: API tokens for programs, made at the machine itself."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from groupspaces.cli_call import Operator, add_json, find_person, print_facts, print_json, print_table

_EXAMPLES = """examples:
  groupspaces token create ann@example.org --name backup --scope read --days 90
  groupspaces token create ann --name bot --scope write --scope space:5
  groupspaces token list ann
  groupspaces token revoke ann 12"""


def add_commands(commands: Any) -> None:
    """Add `token` and its actions to the command line."""
    token = commands.add_parser(
        "token",
        help="make, list and end API tokens",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = token.add_subparsers(required=True, metavar="ACTION")

    create = actions.add_parser("create", help="make a token; its secret is printed this once")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        metavar="SCOPE",
        help="read, write or ops, and space:ID to keep it to that space; may be given several times",
    )
    create.add_argument("--days", type=_days, metavar="N", help="for how long (default: until it is revoked)")
    create.set_defaults(command=_create)

    listing = actions.add_parser("list", help="list somebody's tokens")
    listing.set_defaults(command=_list)

    revoke = actions.add_parser("revoke", help="end a token")
    revoke.set_defaults(command=_revoke)

    for action in (create, listing, revoke):
        action.add_argument("who", metavar="WHO", help="an e-mail address, a username or an id")
    revoke.add_argument("token_id", metavar="ID", type=int, help="the token's id, as `token list` shows it")
    add_json(create, listing, revoke)


def _create(arguments: argparse.Namespace) -> int:
    body: dict[str, Any] = {"name": arguments.name, "scopes": arguments.scope}
    if arguments.days is not None:
        body["expires_at"] = (datetime.now(UTC) + timedelta(days=arguments.days)).isoformat()
    with Operator() as operator:
        path = _path(operator, arguments.who)
        made = operator.call("POST", path, body)
    if arguments.json:
        print_json(made)
        return 0
    print(made["token"])
    print_facts((("id", made["id"]), ("scopes", ", ".join(made["scopes"])), ("expires", made["expires_at"])))
    print("This is shown once. Keep it where only the program that needs it can read it.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = [token for items in operator.pages(_path(operator, arguments.who)) for token in items]
    if arguments.json:
        print_json({"items": found})
        return 0
    columns = ("id", "name", "hint", "scopes", "created_at", "expires_at", "used_at")
    rows = (
        [", ".join(token[name]) if name == "scopes" else token[name] for name in columns] for token in found
    )
    print_table(("id", "name", "ends in", "scopes", "made", "expires", "used"), rows)
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        operator.call("DELETE", f"{_path(operator, arguments.who)}/{arguments.token_id}")
    if arguments.json:
        print_json({"revoked": arguments.token_id})
    else:
        print(f"Token {arguments.token_id} has ended.")
    return 0


def _path(operator: Operator, who: str) -> str:
    return f"/api/ops/users/{find_person(operator, who)['id']}/tokens"


def _days(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 36_500:
        raise argparse.ArgumentTypeError("must be a number of days, 1 or more")
    return int(text)
