"""`groupspaces seed`: believable data to try the product with."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from groupspaces.cli_call import add_json, print_json
from groupspaces.cli_long import Display, run
from groupspaces.db.moving import Progress
from groupspaces.errors import SettingsError
from groupspaces.settings import Settings, load

if TYPE_CHECKING:
    from groupspaces.ops.seed.sowing import Sown

_EXIT_FAILED = 1
_HOW = """People, spaces and what they say to each other, the same for the same --seed, --size and --at:

  small    8 people, 3 spaces, 200 messages
  demo     40 people, 12 spaces, 5,000 messages
  large    2,000 people, 200 spaces, 1,000,000 messages (some minutes)

All of them sign in with one password, which is printed at the end. Standalone, the server of the data folder has to be stopped; with a primary,
it is written there. Where there are people already, --yes adds these beside them and touches nobody."""


def add_commands(commands: Any) -> None:
    """Add `seed` to the command line."""
    seed = commands.add_parser(
        "seed",
        help="fill a deployment with believable people, spaces and messages",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    seed.add_argument("--size", choices=("small", "demo", "large"), default="demo", help="default demo")
    seed.add_argument("--seed", type=int, default=1, metavar="N", help="another N gives other data (1)")
    seed.add_argument("--at", type=_day, metavar="DAY", help="the day on which it ends (today)")
    seed.add_argument(
        "--password", metavar="TEXT", help="of all these people (a new one is made and printed)"
    )
    seed.add_argument("--yes", action="store_true", help="also where there are people already")
    add_json(seed)
    seed.set_defaults(command=_seed)


def _day(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be a day such as 2026-11-22") from error


def _seed(arguments: argparse.Namespace) -> int:
    settings = load(os.environ)
    password = arguments.password or f"garden-{secrets.token_hex(6)}"
    today_ms = int(time.time()) // 86_400 * 86_400_000
    at_ms = today_ms if arguments.at is None else arguments.at
    display = Display(arguments)
    try:
        sown = run(_sown(settings, arguments, password, at_ms, display))
    finally:
        display.end()
    facts = {
        "people": sown.people,
        "spaces": sown.spaces,
        "messages": sown.messages,
        "email": sown.first_email,
        "operator": sown.has_operator,
        "password": password,
    }
    if arguments.json:
        print_json(facts)
        return 0
    print(f"{sown.people:,} people, {sown.spaces:,} spaces and {sown.messages:,} messages are there.")
    who = "the operator" if sown.has_operator else "one of them"
    print(f"Sign in as {sown.first_email} ({who}) with the password {password}; the others have the same.")
    return 0


async def _sown(
    settings: Settings, arguments: argparse.Namespace, password: str, at_ms: int, display: Display
) -> Sown:
    from groupspaces.db import migrate, offline
    from groupspaces.features.accounts.passwords import Passwords
    from groupspaces.ops.seed import sowing
    from groupspaces.ops.seed.plan import Plan

    async with offline.primary(settings, alone=True) as primary:
        if settings.mode == "standalone":
            await migrate.up(primary)
        elif (await migrate.status(primary)).pending:
            raise SettingsError("The primary lacks migrations. Run `groupspaces migrate up` first.")
        people = int(str((await primary.read(sowing.PEOPLE_SQL))[0][0]))
        if people and not arguments.yes:
            print(f"There are {people:,} people already. --yes adds the others beside them.", file=sys.stderr)
            raise SystemExit(_EXIT_FAILED)
        display.step("planning")
        plan = await asyncio.to_thread(Plan, arguments.size, seed=arguments.seed, at_ms=at_ms)
        password_hash = await Passwords().hash(password)
        display.step("sowing")

        def show(what: str, done: int, total: int, sent_bytes: int) -> None:
            display.show(Progress(what, done, total, sent_bytes))

        show("people", 0, sum(plan.amounts), 0)
        return await sowing.sow(primary, plan, password_hash, show)  # type: ignore[arg-type]
