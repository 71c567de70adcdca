"""`groupspaces user …`: accounts, seen and repaired at the machine itself.

Whatever mails a link elsewhere prints it here, so that nothing needs mail. `sign-in-link` is the emergency way in, when passwords are
switched off or the provider that signs people in is away.
"""

from __future__ import annotations

import argparse
from typing import Any

from groupspaces.cli_call import (
    Operator,
    add_json,
    agreed,
    find_person,
    print_facts,
    print_json,
    print_table,
)
from groupspaces.errors import AppError

_PATH = "/api/ops/users"
_STATES = ("all", "active", "suspended", "operators", "deleted")
_EXAMPLES = """examples:
  groupspaces user create ann@example.org --name "Ann Smith" --operator
  groupspaces user reset-link ann@example.org
  groupspaces user sign-in-link ann@example.org
  groupspaces user list --state suspended
  groupspaces user delete ann --hand-over 7=bob"""


def add_commands(commands: Any) -> None:
    """Add `user` and its actions to the command line."""
    user = commands.add_parser(
        "user",
        help="accounts: make, list, repair, suspend, delete",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = user.add_subparsers(required=True, metavar="ACTION")

    create = actions.add_parser("create", help="open an account and print the link to choose its password by")
    create.add_argument("email", metavar="EMAIL")
    create.add_argument("--name", required=True, help="how others see this person")
    create.add_argument("--operator", action="store_true", help="may operate this deployment")
    create.set_defaults(command=_create)
    add_json(create)

    listing = actions.add_parser("list", help="list accounts")
    listing.add_argument("--state", choices=_STATES, default="all", help="default all")
    listing.add_argument("--q", metavar="TEXT", help="part of a name, username or e-mail address")
    listing.set_defaults(command=_list)
    add_json(listing)

    show = _about_one(actions, "show", _show, "show an account")
    add_json(show)
    reset = _about_one(actions, "reset-link", _reset_link, "print a link to choose a new password by")
    reset.add_argument("--mail", action="store_true", help="send it as well")
    _about_one(
        actions, "sign-in-link", _sign_in_link, "print a link that signs them in once, within ten minutes"
    )
    _about_one(actions, "suspend", _suspend, "keep somebody out, and end all their sessions")
    _about_one(actions, "restore", _restore, "let a suspended person in again")
    operator = _about_one(actions, "operator", _operator, "make somebody an operator of this deployment")
    operator.add_argument("--off", action="store_true", help="make them none")
    _about_one(actions, "verify-email", _verify_email, "take their e-mail address for confirmed")
    _about_one(actions, "sign-out", _sign_out, "end all their sessions")
    _about_one(
        actions, "reset-second-factor", _reset_second_factor, "forget their authenticator and passkeys"
    )
    delete = _about_one(
        actions, "delete", _delete, "delete an account; what they wrote stays, without a name"
    )
    delete.add_argument(
        "--hand-over",
        action="append",
        default=[],
        metavar="SPACE=WHO",
        type=_hand_over,
        help="who owns a space of theirs from now on, such as 7=bob; may be given several times",
    )
    delete.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")


def _about_one(actions: Any, name: str, command: Any, words: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=words, description=f"{words.capitalize()}."
    )
    parser.add_argument("who", metavar="WHO", help="an e-mail address, a username or an id")
    parser.set_defaults(command=command)
    if name != "show":
        add_json(parser)
    return parser


def _hand_over(text: str) -> tuple[int, str]:
    space_id, _, who = text.partition("=")
    if not space_id.isdigit() or not who:
        raise argparse.ArgumentTypeError("must be the id of a space, =, and who gets it, such as 7=bob")
    return int(space_id), who


# --- one and all ---


def _create(arguments: argparse.Namespace) -> int:
    body = {"email": arguments.email, "name": arguments.name, "is_operator": arguments.operator}
    with Operator() as operator:
        made = operator.call("POST", _PATH, body)
    if arguments.json:
        print_json(made)
        return 0
    user = made["user"]
    print(f"There is an account {user['id']} ({user['username']}) for {user['email']}.")
    _print_link(made["link"])
    return 0


def _list(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        pages = operator.pages(_PATH, state=arguments.state, q=arguments.q)
        found = [person for items in pages for person in items]
    if arguments.json:
        print_json({"items": found})
        return 0
    rows = (
        (
            person["id"],
            person["username"],
            person["name"],
            person["email"],
            _state(person),
            person["last_seen_at"],
        )
        for person in found
    )
    print_table(("id", "username", "name", "e-mail", "state", "last seen"), rows)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        person = operator.call("GET", f"{_PATH}/{find_person(operator, arguments.who)['id']}")
    if arguments.json:
        print_json(person)
        return 0
    words = {
        key: ", ".join(value) or None if isinstance(value, list) else value for key, value in person.items()
    }
    print_facts((key.replace("_", " "), value) for key, value in words.items())
    return 0


def _state(person: dict[str, Any]) -> str:
    if person["deleted_at"]:
        return "deleted"
    if person["suspended_at"]:
        return "suspended"
    return "operator" if person["is_operator"] else "active"


# --- links ---


def _reset_link(arguments: argparse.Namespace) -> int:
    return _link(arguments, "reset-link", {"mail": arguments.mail})


def _sign_in_link(arguments: argparse.Namespace) -> int:
    return _link(arguments, "sign-in-link", None)


def _link(arguments: argparse.Namespace, kind: str, body: Any) -> int:
    with Operator() as operator:
        person = find_person(operator, arguments.who)
        link = operator.call("POST", f"{_PATH}/{person['id']}/{kind}", body)
    if arguments.json:
        print_json(link)
    else:
        _print_link(link)
    return 0


def _print_link(link: dict[str, Any]) -> None:
    print(link["url"])
    mailed = " It was mailed as well." if link.get("mailed") else ""
    print(
        f"It works once, until {link['expires_at']}. Whoever has it is let in: give it to nobody else.{mailed}"
    )


# --- changing one ---


def _suspend(arguments: argparse.Namespace) -> int:
    return _change(arguments, {"suspended": True}, "is kept out from now on")


def _restore(arguments: argparse.Namespace) -> int:
    return _change(arguments, {"suspended": False}, "may sign in again")


def _operator(arguments: argparse.Namespace) -> int:
    words = "is no operator any more" if arguments.off else "is an operator now"
    return _change(arguments, {"is_operator": not arguments.off}, words)


def _verify_email(arguments: argparse.Namespace) -> int:
    return _change(arguments, {"email_verified": True}, "has a confirmed e-mail address now")


def _change(arguments: argparse.Namespace, changes: dict[str, Any], words: str) -> int:
    with Operator() as operator:
        person = find_person(operator, arguments.who)
        changed = operator.call("PATCH", f"{_PATH}/{person['id']}", changes)
    if arguments.json:
        print_json(changed)
    else:
        print(f"{person['email']} {words}.")
    return 0


def _sign_out(arguments: argparse.Namespace) -> int:
    return _act(arguments, "POST", "/sign-out", None, "is signed out everywhere")


def _reset_second_factor(arguments: argparse.Namespace) -> int:
    return _act(arguments, "DELETE", "/second-factor", None, "signs in without a second factor now")


def _act(arguments: argparse.Namespace, method: str, path: str, body: Any, words: str) -> int:
    with Operator() as operator:
        person = find_person(operator, arguments.who)
        operator.call(method, f"{_PATH}/{person['id']}{path}", body)
    _done(arguments, person, words)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        person = find_person(operator, arguments.who)
        heirs = [
            {"space_id": space_id, "user_id": find_person(operator, heir)["id"]}
            for space_id, heir in arguments.hand_over
        ]
        question = f"This deletes {person['email']} for good."
        if not arguments.yes and not agreed(question, person["username"]):
            print("Nothing was deleted.")
            return 1
        body = {"confirm": person["username"], "hand_over": heirs}
        try:
            operator.call("POST", f"{_PATH}/{person['id']}/delete", body)
        except AppError as error:
            if error.code == "OWNS_SPACES" and error.current:
                raise AppError(_unowned(error), code=error.code) from error
            raise
    _done(arguments, person, "is deleted")
    return 0


def _unowned(error: AppError) -> str:
    """Say which spaces need an owner, and how to name one."""
    lines = [error.detail]
    for space in error.current["spaces"]:
        heirs = ", ".join(heir["username"] for heir in space["heirs"])
        lines.append(
            f"  {space['id']}  {space['name']}: --hand-over {space['id']}=WHO, such as {heirs or 'nobody'}"
        )
    return "\n".join(lines)


def _done(arguments: argparse.Namespace, person: dict[str, Any], words: str) -> None:
    if arguments.json:
        print_json({"id": person["id"]})
    else:
        print(f"{person['email']} {words}.")
