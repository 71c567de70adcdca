"""`groupspaces secret …`: replacing the deployment's secret (AUTH_SECRET) without signing anybody out."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from typing import Any

from groupspaces.cli_call import Operator, add_json, print_facts, print_json
from groupspaces.deployment_secrets import PREVIOUS_FILE, SECRET_FILE, rotate_secret
from groupspaces.settings import Settings, load

_PATH = "/api/ops/secret"
_HOW = """Standalone, with a secret of its own:
  1. groupspaces secret rotate       (keeps the old one in data/secret.previous)
  2. restart the server
  3. when `groupspaces secret status` says so, delete data/secret.previous and restart again

Where AUTH_SECRET is set, on every instance, one after the other:
  1. AUTH_SECRET_PREVIOUS=<new>, restart
  2. AUTH_SECRET=<new> AUTH_SECRET_PREVIOUS=<old>, restart
  3. when `groupspaces secret status` says so, drop AUTH_SECRET_PREVIOUS, restart"""


def add_commands(commands: Any) -> None:
    """Add `secret` and its actions to the command line."""
    secret = commands.add_parser(
        "secret",
        help="replace the secret that signs people in",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = secret.add_subparsers(required=True, metavar="ACTION")
    status = actions.add_parser("status", help="say which secrets count, and whether the old ones may go")
    status.set_defaults(command=_status)
    rotate = actions.add_parser(
        "rotate", help="make a new secret in the data folder; it counts from the next start"
    )
    rotate.set_defaults(command=_rotate)
    reseal = actions.add_parser("reseal", help="encrypt what is stored with the newest secret now")
    reseal.set_defaults(command=_reseal)
    add_json(status, rotate, reseal)


def _status(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", _PATH)
        replaced_at = _replaced_at(operator.settings)
    found["replaced_at"] = replaced_at
    if arguments.json:
        print_json(found)
        return 0
    newest, *previous = found["fingerprints"]
    totp = found["totp"]
    facts = [
        ("secret", newest),
        ("previous", ", ".join(previous) or "none"),
        ("deployment", found["deployment"] or "this instance alone"),
        ("replaced", replaced_at),
        (
            "authenticators",
            f"{totp['newest']} under the newest secret, {totp['previous']} under previous ones, {totp['unreadable']} under unknown ones",
        ),
        ("audit record", f"signed with the {found['audit']} secret" if found["audit"] else "not sealed yet"),
    ]
    print_facts(facts)
    print(_advice(found, previous))
    return 0


def _advice(found: dict[str, Any], previous: list[str]) -> str:
    if not previous:
        return "There is no previous secret to drop."
    if not found["may_drop_previous"]:
        return "Keep the previous secrets: something still needs them. `groupspaces secret reseal` and a minute help."
    return (
        f"The previous secrets may go. Who was not here since the replacement signs in again then; after {found['idle_days']} days "
        "there is nobody left of whom that is true."
    )


def _rotate(arguments: argparse.Namespace) -> int:
    settings = load(os.environ)
    rotate_secret(settings, settings.data_dir)
    if arguments.json:
        print_json({"secret": SECRET_FILE, "previous": PREVIOUS_FILE})
    else:
        print(
            f"There is a new secret in {settings.data_dir / SECRET_FILE}; the one before is kept in {PREVIOUS_FILE}. "
            "Restart the server for it to count. Nobody is signed out."
        )
    return 0


def _reseal(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("POST", f"{_PATH}/reseal")
    if arguments.json:
        print_json(found)
    else:
        print(
            f"{found['previous']} authenticators are under the newest secret now, {found['newest']} were before, "
            f"{found['unreadable']} cannot be opened."
        )
    return 0


def _replaced_at(settings: Settings) -> str | None:
    """Return when a standalone instance last made itself a new secret, None where it never did."""
    if settings.auth.secret or not (settings.data_dir / PREVIOUS_FILE).exists():
        return None
    changed_s = (settings.data_dir / SECRET_FILE).stat().st_mtime
    return datetime.fromtimestamp(changed_s, UTC).isoformat(timespec="seconds")
