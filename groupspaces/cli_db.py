"""`groupspaces db …`: moving all data between this folder and a primary.

Owns the words, the progress and the table of what was compared. The moves themselves are `db/moving.py` and `db/pulling.py`. The server of
this folder has to be stopped; without `--to`, the primary is the one of the settings.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from groupspaces.cli_call import add_json, agreed, print_json, print_table
from groupspaces.cli_long import Display, run
from groupspaces.db.folder import FolderError
from groupspaces.deployment_secrets import SECRET_FILE, fingerprints, secret_fingerprint, with_secrets
from groupspaces.errors import DatabaseRefused, SettingsError
from groupspaces.identity import identify
from groupspaces.settings import Settings, load
from groupspaces.settings_checks import in_good_form, shown

if TYPE_CHECKING:
    from groupspaces.db.comparison import Compared
    from groupspaces.db.folder import DataFolder
    from groupspaces.db.moving import Moved
    from groupspaces.db.prospect import Prospect, Source
    from groupspaces.db.pulling import Pulled
    from groupspaces.db.remote_primary import RemotePrimary

_EXIT_FAILED = 1
_HOW = """From a folder to a primary:
  1. stop the server
  2. make a new, empty database at a libSQL primary, and set TURSO_CONNECTION_URL and TURSO_AUTH_TOKEN
  3. set AUTH_SECRET to the secret in the data folder, so that nobody is signed out
  4. groupspaces db push
  5. start the server; others may join with the same three settings

From a primary to a folder:
  1. stop every instance
  2. groupspaces db pull, with the same three settings
  3. unset TURSO_CONNECTION_URL, keep AUTH_SECRET, and start the server"""


def add_commands(commands: Any) -> None:
    """Add `db` and its actions to the command line."""
    db = commands.add_parser(
        "db",
        help="move all data to a primary, or back",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = db.add_subparsers(required=True, metavar="ACTION")
    push = actions.add_parser("push", help="move the data of this folder into an empty primary")
    push.add_argument("--to", metavar="URL", help="the primary (TURSO_CONNECTION_URL)")
    push.set_defaults(command=_push)
    pull = actions.add_parser("pull", help="move the data of the primary into this folder")
    pull.add_argument(
        "--anyway", action="store_true", help="also while other instances live; they save nothing more then"
    )
    pull.set_defaults(command=_pull)
    unmark = actions.add_parser("unmark", help="serve again from where the data were moved away")
    unmark.add_argument(
        "--primary", action="store_true", help="from the primary, not from this folder's file"
    )
    unmark.set_defaults(command=_unmark)
    for action in (push, pull, unmark):
        action.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    add_json(push, pull, unmark)


def _push(arguments: argparse.Namespace) -> int:
    from groupspaces.db.folder import DataFolder

    settings = load(os.environ)
    url = _target(settings, arguments.to)
    folder = DataFolder(settings.data_dir)
    folder.claim()
    try:
        ours = _secrets(settings)
        if not arguments.yes and not agreed(f"Move all data of {folder.database} to {_place(url)}?", "yes"):
            print("Nothing was changed.", file=sys.stderr)
            return _EXIT_FAILED
        moved = run(_pushed(settings, url, ours, Display(arguments)))
    finally:
        folder.release()
    _report(arguments, moved)
    if not arguments.json:
        print(_next_steps(settings, url))
    return 0


async def _pushed(settings: Settings, url: str, ours: Sequence[str], display: Display) -> Moved:
    from groupspaces.db import moving
    from groupspaces.db.folder import DataFolder

    async with _primary(settings, url) as target:
        try:
            return await moving.push(
                DataFolder(settings.data_dir).database,
                target,
                to=_place(url),
                fingerprints=ours,
                on_progress=display.show,
                on_step=display.step,
            )
        finally:
            display.end()


@asynccontextmanager
async def _primary(settings: Settings, url: str) -> AsyncIterator[RemotePrimary]:
    from groupspaces.db.moving import WRITE_TIMEOUT_S
    from groupspaces.db.remote_primary import RemotePrimary

    primary = RemotePrimary(url, settings.primary.token or None, timeout_s=WRITE_TIMEOUT_S)
    await primary.start()
    try:
        yield primary
    finally:
        await primary.close()


def _target(settings: Settings, given: str | None) -> str:
    try:
        url = str(in_good_form("primary.url", given or "")) or settings.primary.url
    except ValueError as error:
        raise SettingsError(f"--to {shown('primary.url', given)}: {error}") from error
    if not url:
        raise SettingsError("Where to? Set TURSO_CONNECTION_URL, or give --to URL.")
    return url


def _place(url: str) -> str:
    return str(shown("primary.url", url))


def _secrets(settings: Settings) -> list[str]:
    """Return the fingerprints to go on with. Raises DatabaseRefused where they are not of the secret that was used in this folder."""
    path = settings.data_dir / SECRET_FILE
    if not settings.auth.secret:
        if not path.exists():
            raise DatabaseRefused(
                f"There is neither AUTH_SECRET nor {path}: this folder has never been served."
            )
        return fingerprints(with_secrets(settings, settings.data_dir))
    ours = fingerprints(settings)
    try:
        used = path.read_text("utf-8").strip() if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}, which holds this instance's secret, cannot be read: {error}") from error
    if used and secret_fingerprint(used) not in ours:
        raise DatabaseRefused(
            f"AUTH_SECRET is not the secret in {path}, with which people were signed in here. Set AUTH_SECRET to that one, or "
            f"AUTH_SECRET_PREVIOUS. (If AUTH_SECRET was always set here, remove {path}.) Nothing was changed."
        )
    return ours


# --- words ---


def _report(arguments: argparse.Namespace, moved: Moved) -> None:
    if arguments.json:
        tables = [_facts(one) for one in moved.tables]
        print_json({"moved_to": moved.to, "rows": moved.rows, "tables": tables})
        return
    if not moved.tables:
        print(f"An earlier run had moved everything to {moved.to}.")
        return
    _print_compared(moved.tables)
    print(f"{moved.rows:,} rows are at {moved.to} now; every table is equal.")


def _print_compared(tables: Sequence[Compared]) -> None:
    names = ("table", "rows here", "rows there", "digest")
    print_table(
        names,
        (
            (one.table, one.rows_here, one.rows_there, "same" if one.same_digest else "DIFFERS")
            for one in tables
        ),
    )


def _facts(one: Compared) -> dict[str, Any]:
    return {"table": one.table, "rows_here": one.rows_here, "rows_there": one.rows_there, "equal": one.equal}


def _next_steps(settings: Settings, url: str) -> str:
    steps = []
    if settings.primary.url != url:
        steps.append(f"TURSO_CONNECTION_URL={_place(url)}")
    if not settings.auth.secret:
        steps.append(
            f"AUTH_SECRET to what {settings.data_dir / SECRET_FILE} holds, so that everybody stays signed in"
        )
    if not steps:
        return "Start the server: it serves from there, and nobody is signed out."
    return f"Set {' and '.join(steps)}; then start the server. This folder's own copy is served no more."


# --- back ---


def _pull(arguments: argparse.Namespace) -> int:
    from groupspaces.db.folder import DataFolder

    settings = load(os.environ)
    if settings.mode != "replica":
        raise SettingsError("Where from? Set TURSO_CONNECTION_URL to the primary.")
    place = _place(settings.primary.url)
    folder = DataFolder(settings.data_dir)
    folder.claim()
    try:
        source = _source(settings, folder)
        prospect = run(_looked(settings, folder, source, arguments))
        _warn(arguments, folder, prospect)
        question = f"Move all data of {place} to {folder.database}? Nobody can write there afterwards."
        if not arguments.yes and not agreed(question, "yes"):
            print("Nothing was changed.", file=sys.stderr)
            return _EXIT_FAILED
        pulled = run(_pulled(settings, folder, source, prospect, arguments))
    finally:
        folder.release()
    kept = str(pulled.kept) if pulled.kept else None
    if arguments.json:
        tables = [_facts(one) for one in pulled.tables]
        print_json({"moved_from": place, "kept": kept, **_facts_of_loss(prospect), "tables": tables})
        return 0
    if pulled.tables:
        _print_compared(pulled.tables)
    else:
        print("An earlier run had fetched everything.")
    print(
        f"Everything is in {folder.database} now."
        + (f" The file before it is kept as {kept}." if kept else "")
    )
    print(
        "Unset TURSO_CONNECTION_URL, keep AUTH_SECRET, and start the server. Nobody can write at the primary any more."
    )
    return 0


def _warn(arguments: argparse.Namespace, folder: DataFolder, prospect: Prospect) -> None:
    """Say what the primary has lost, and where it will still be."""
    if not prospect.has_other_history or prospect.only_here == 0:
        return
    if arguments.json:
        print_json(_facts_of_loss(prospect))
        return
    number = prospect.generation
    have = (
        "The primary has another history than this instance's replica, which cannot be read: nobody can tell what only the replica has. It"
        if prospect.only_here is None
        else f"The primary has another history: {prospect.only_here:,} changes are only in this instance's replica. What they did"
    )
    print(
        f"{have} will not be in {folder.database}. The replica is kept as it is, as generation {number} in {folder.replica}: "
        f"`groupspaces replica promote --generation {number}` makes a primary of it.",
        file=sys.stderr,
        flush=True,
    )


def _facts_of_loss(prospect: Prospect) -> dict[str, Any]:
    stays = prospect.has_other_history and prospect.only_here != 0
    return {
        "only_here": prospect.only_here,
        "kept_generation": prospect.generation if stays else None,
    }


def _source(settings: Settings, folder: DataFolder) -> Source:
    from groupspaces.db.prospect import Source

    return Source(
        url=_place(settings.primary.url),
        replica_url=settings.replica_url,
        replica_token=settings.replica_token or None,
        timeout_s=settings.replica.timeout_s,
        fingerprints=fingerprints(settings),
        to=f"{folder.path.resolve()} on {socket.gethostname()}",
        by=identify(settings).id,
    )


async def _looked(
    settings: Settings, folder: DataFolder, source: Source, arguments: argparse.Namespace
) -> Prospect:
    from groupspaces.db import pulling

    async with _primary(settings, settings.primary.url) as primary:
        return await pulling.prospect_of(folder, primary, source, anyway=arguments.anyway)


async def _pulled(
    settings: Settings,
    folder: DataFolder,
    source: Source,
    prospect: Prospect,
    arguments: argparse.Namespace,
) -> Pulled:
    from groupspaces.clock import SystemClock
    from groupspaces.db import pulling

    async with _primary(settings, settings.primary.url) as primary:
        return await pulling.pull(
            folder,
            primary,
            source,
            SystemClock(),
            prospect,
            anyway=arguments.anyway,
            on_step=Display(arguments).step,
        )


# --- giving a move up ---


def _unmark(arguments: argparse.Namespace) -> int:
    from groupspaces.db.folder import DataFolder

    settings = load(os.environ)
    if arguments.primary:
        return _unmark_primary(settings, arguments)
    from groupspaces.db import unmarking

    folder = DataFolder(settings.data_dir)
    folder.claim()
    try:
        place = unmarking.file_moved_to(folder.database)
        if place is None:
            raise DatabaseRefused(f"{folder.database} is not marked as moved.")
        if not _may_unmark(arguments, place, str(folder.database)):
            return _EXIT_FAILED
        unmarking.unmark_file(folder.database)
    finally:
        folder.release()
    _report_unmarked(arguments, str(folder.database), place)
    return 0


def _unmark_primary(settings: Settings, arguments: argparse.Namespace) -> int:
    from groupspaces.db import offline, unmarking

    if settings.mode != "replica":
        raise SettingsError("Which primary? Set TURSO_CONNECTION_URL.")
    url = _place(settings.primary.url)

    async def unmark() -> str | None:
        async with offline.primary(settings) as primary:
            place = await unmarking.primary_moved_to(primary)
            if place is None:
                raise DatabaseRefused(f"{url} is not marked as moved.")
            if not _may_unmark(arguments, place, url):
                return None
            await unmarking.unmark_primary(primary)
            return place

    place = asyncio.run(unmark())
    if place is None:
        return _EXIT_FAILED
    _forget_copy(settings)
    _report_unmarked(arguments, url, place)
    return 0


def _forget_copy(settings: Settings) -> None:
    """Remove what the pull that is given up may have left here, unless a server uses the folder."""
    from groupspaces.db import pulling
    from groupspaces.db.folder import DataFolder

    folder = DataFolder(settings.data_dir)
    with suppress(FolderError):
        folder.claim()
        pulling.forget_copy(folder)
        folder.release()


def _may_unmark(arguments: argparse.Namespace, place: str, here: str) -> bool:
    question = f"What was written at {place} since the move is not in {here}. Serve from {here} again?"
    if arguments.yes or agreed(question, "yes"):
        return True
    print("Nothing was changed.", file=sys.stderr)
    return False


def _report_unmarked(arguments: argparse.Namespace, here: str, place: str) -> None:
    if arguments.json:
        print_json({"unmarked": here})
    else:
        print(f"{here} may be served again. Nobody should write at {place} any more.")
