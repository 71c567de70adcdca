"""`groupspaces maintenance …` and `groupspaces drain …`: have nobody save anything for a while, or send people to other instances."""

from __future__ import annotations

import argparse
from typing import Any

from groupspaces.cli_call import Operator, add_json, print_facts, print_json

_MAINTENANCE, _DRAIN = "/api/ops/maintenance", "/api/ops/drain"
_HOW = """While maintenance is on, people read and nobody but operators saves anything, on any instance; whoever tries is told the message.
Load balancers that ask /api/health/ready send nobody any more. What people type meanwhile waits on their device and goes out afterwards."""


def add_commands(commands: Any) -> None:
    """Add `maintenance` and `drain` to the command line."""
    maintenance = commands.add_parser(
        "maintenance",
        help="let nobody but operators save anything for a while",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = maintenance.add_subparsers(required=True, metavar="ACTION")
    on = actions.add_parser("on", help="turn it on, for all instances")
    on.add_argument("--message", required=True, metavar="TEXT", help="what people are told")
    on.set_defaults(command=_on)
    off = actions.add_parser("off", help="turn it off")
    off.set_defaults(command=_off)
    status = actions.add_parser("status", help="say whether it is on")
    status.set_defaults(command=_status)

    drain = commands.add_parser("drain", help="send people to other instances than this one")
    drain_actions = drain.add_subparsers(required=True, metavar="ACTION")
    drain_on = drain_actions.add_parser("on", help="be not ready any more, and end streams")
    drain_on.set_defaults(command=_drain, method="POST")
    drain_off = drain_actions.add_parser("off", help="take traffic again")
    drain_off.set_defaults(command=_drain, method="DELETE")
    drain_status = drain_actions.add_parser("status", help="say whether it is drained")
    drain_status.set_defaults(command=_status)
    for action in (drain_on, drain_off, drain_status):
        action.add_argument("--instance", metavar="ID", help="another instance of the fleet")
    for action in (on, off, status):
        action.set_defaults(instance=None)
    add_json(on, off, status, drain_on, drain_off, drain_status)


def _on(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("PUT", _MAINTENANCE, {"message": arguments.message})
    return _told(arguments, found)


def _off(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("DELETE", _MAINTENANCE)
    return _told(arguments, found)


def _status(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", _MAINTENANCE, instance=arguments.instance)
    return _told(arguments, found)


def _drain(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call(arguments.method, _DRAIN, instance=arguments.instance)
    return _told(arguments, found)


def _told(arguments: argparse.Namespace, found: dict[str, Any]) -> int:
    if arguments.json:
        print_json(found)
        return 0
    print_facts(
        (
            ("maintenance", "on" if found["on"] else "off"),
            ("message", found["message"] or None),
            ("since", found["since"]),
            ("this instance", "drained" if found["draining"] else "takes traffic"),
        )
    )
    if not found["on"] and found["draining"]:
        print("It is drained still: `groupspaces drain off` takes traffic again.")
    return 0
