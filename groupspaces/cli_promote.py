"""`groupspaces replica promote`: begin a new primary with what this instance holds, after the old one was lost.

Owns the words: what may be missing, who has more, and what to do next. What is done is in `db/promote.py` (a folder) and `db/moving.py` (an
empty primary), what may be missing in `db/losses.py`. The instance may run or be stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupspaces.cli_call import agreed, print_json
from groupspaces.cli_long import Display, run
from groupspaces.cli_running import counted
from groupspaces.deployment_secrets import fingerprints
from groupspaces.errors import SettingsError, Unavailable
from groupspaces.identity import identify
from groupspaces.settings import Settings, load
from groupspaces.settings_checks import in_good_form, shown
from groupspaces.times import rfc3339

if TYPE_CHECKING:
    from groupspaces.db.lineage import Elsewhere
    from groupspaces.db.losses import Losses, Witness
    from groupspaces.db.promote import Chosen, Seed

_EXIT_FAILED = 1
_HEAR_TIMEOUT_S = 2.0
_WORK_FOLDER = "promoting"
_HOW = """For when the primary is lost for good. Run it at the instance that is furthest ahead: it asks the others and says which one that is.

A folder (empty, or not there yet) becomes one that `sqld --db-path FOLDER` starts from; with a URL, the data go straight into an empty
primary. Either begins a new epoch: instances recognise it and fetch everything anew, refuse the old primary should it come back, and no id
is given out twice. This instance's own data stay as they are."""


def add_action(actions: Any) -> None:
    """Add `promote` to the actions of `replica`."""
    promote = actions.add_parser(
        "promote",
        help="begin a new primary with this instance's data, after the old one was lost",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    promote.add_argument("--to", metavar="FOLDER|URL", required=True, help="where the new primary begins")
    promote.add_argument(
        "--generation",
        type=int,
        metavar="N",
        help="another copy that is kept, or one that is doubted (the one that serves)",
    )
    promote.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    promote.add_argument("--json", action="store_true", help="print JSON for programs")
    promote.set_defaults(command=_promote)


def _promote(arguments: argparse.Namespace) -> int:
    from groupspaces.db import promote
    from groupspaces.db.folder import DataFolder

    settings = load(os.environ)
    if not arguments.to.strip():
        raise SettingsError("--to must name a folder or the address of a primary.")
    url = _url(settings, arguments.to) if "://" in arguments.to else None
    folder = Path(arguments.to).absolute()
    if url is None:
        promote.judge_folder(folder, data=settings.data_dir)
    to = str(shown("primary.url", url)) if url else str(folder)
    chosen = promote.choose(DataFolder(settings.data_dir).replica, arguments.generation)
    losses = asyncio.run(_losses(settings, chosen))
    if not arguments.json:
        print("\n".join(_described(chosen, losses)), file=sys.stderr)
    if not arguments.yes and not agreed(_question(losses, to), "yes"):
        print("Nothing was changed.", file=sys.stderr)
        return _EXIT_FAILED
    began_s = time.monotonic()
    if url is None:
        seed = promote.into_folder(chosen, folder, elsewhere=losses.elsewhere)
    else:
        seed = run(_moved(settings, chosen, url, losses.elsewhere, Display(arguments)))
    if arguments.json:
        duration_ms = round((time.monotonic() - began_s) * 1000, 1)
        print_json({"to": to, "duration_ms": duration_ms} | _facts(chosen, losses, seed))
    else:
        print("\n".join(_next_steps(to, seed, is_folder=url is None)))
    return 0


def _url(settings: Settings, given: str) -> str:
    if not settings.auth.secret:
        raise SettingsError("Set AUTH_SECRET to the secret of this deployment.")
    try:
        return str(in_good_form("primary.url", given))
    except ValueError as error:
        raise SettingsError(f"--to {shown('primary.url', given)}: {error}") from error


async def _moved(
    settings: Settings, chosen: Chosen, url: str, elsewhere: Elsewhere, display: Display
) -> Seed:
    from groupspaces.db import moving, promote
    from groupspaces.db.remote_primary import RemotePrimary

    target = RemotePrimary(url, settings.primary.token or None, timeout_s=moving.WRITE_TIMEOUT_S)
    await target.start()
    try:
        return await promote.into_primary(
            functools.partial(promote.write_seed, chosen, elsewhere=elsewhere),
            chosen.holding.seq,
            settings.data_dir / _WORK_FOLDER,
            target,
            to=str(shown("primary.url", url)),
            fingerprints=fingerprints(settings),
            on_progress=display.show,
            on_step=display.step,
        )
    finally:
        display.end()
        await target.close()


async def _losses(settings: Settings, chosen: Chosen) -> Losses:
    from groupspaces.db import losses, promote
    from groupspaces.db.peers import Peer
    from groupspaces.db.reader import read_once

    rows = read_once(chosen.path, losses.INSTANCES_SQL, (identify(settings).id,))
    return await losses.ask(
        chosen.holding,
        [Peer(str(row[0]), str(row[1]), str(row[2])) for row in rows],
        own_health=_own_health(settings),
        primary_url=settings.primary.url if settings.mode == "replica" else "",
        primary_token=settings.primary.token or None,
        kept=promote.others(chosen),
    )


def _own_health(settings: Settings) -> bytes | None:
    """Return what this instance says of itself; None when it does not run."""
    from groupspaces.host import channel

    try:
        return channel.request(
            settings.data_dir, "GET", "/api/health", "", b"", timeout_s=_HEAR_TIMEOUT_S
        ).body
    except Unavailable:
        return None


# --- words ---


def _described(chosen: Chosen, losses: Losses) -> Iterator[str]:
    ours = chosen.holding
    yield f"Generation {chosen.generation} stands at feed position {ours.seq}, of {rfc3339(ours.at_ms)} (epoch {ours.epoch or 1})."
    yield from chosen.doubts
    for one in losses.instances:
        yield f"Instance {_witnessed(one, losses)}"
    for other in (*losses.kept, losses.primary):
        if other is not None:
            yield _capitalised(_witnessed(other, losses))
    yield from _missing(losses)


def _witnessed(one: Witness, losses: Losses) -> str:
    place = shown("primary.url", one.where) if "://" in one.where else one.where
    name = f"{one.name} ({place})" if place else one.name
    if one.seq is None:
        return f"{name} was not heard: {one.why}."
    if one.is_apart:
        return f"{name} is at {one.seq}, {_apart(one, losses)}."
    more = one.seq - losses.holding.seq
    standing = f"{more} further" if more > 0 else "no further" if not more else f"{-more} behind"
    primary = ", and reaches its primary" if one.follows and one is not losses.primary else ""
    return f"{name} is at {one.seq}, {standing}{primary}."


def _apart(one: Witness, losses: Losses) -> str:
    ours, theirs = losses.holding.epoch or 1, one.epoch or 1
    if theirs > ours:
        return f"in epoch {theirs}: another primary was begun already"
    if theirs < ours:
        return f"in epoch {theirs}, of before the primary of this copy was begun"
    return "of another primary that was begun beside the one of this copy"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _missing(losses: Losses) -> Iterator[str]:
    ours, furthest = losses.holding.seq, losses.furthest
    if losses.primary is not None and losses.primary.seq is not None:
        yield "The primary answers: it is not lost. Who goes on using it splits the deployment."
    if not losses.lost:
        yield "Nobody who was asked has more. What the lost primary took and brought to nobody is lost."
        return
    yield (
        f"Up to {counted(losses.lost, 'change')} ({ours + 1} to {ours + losses.lost}) would be lost, and what the lost primary took and "
        "brought to nobody."
    )
    if furthest is None:
        yield "It was heard that they were made; nobody who was asked has them."
    elif furthest in losses.kept:
        yield f"{_capitalised(furthest.name)} of this instance has {_some(losses)}: promote it with `--{furthest.name}`."
    elif furthest is not losses.primary:
        yield f"Instance {furthest.name} has {_some(losses)}: promote there instead."


def _some(losses: Losses) -> str:
    furthest = losses.furthest
    had = (furthest.seq or 0) - losses.holding.seq if furthest else 0
    return "them" if had == losses.lost else f"{had} of them"


def _question(losses: Losses, to: str) -> str:
    missing = f", without {counted(losses.lost, 'change')} that are known of" if losses.lost else ""
    return f"Begin a new primary in {to}{missing}?"


def _next_steps(to: str, seed: Seed, *, is_folder: bool) -> Iterator[str]:
    start = f"Start the new one: sqld --db-path {to}, with the other options of the old one. (Elsewhere: copy the folder there first.)"
    own = f"Give it to the user that sqld runs as: chown -R USER {to}. So far nobody but you may read it."
    steps = [
        "Make sure that the old primary stays away.",
        *([own, start] if is_folder else []),
        "Set TURSO_CONNECTION_URL to it at every instance (and TURSO_AUTH_TOKEN), keep AUTH_SECRET, and restart them.",
    ]
    yield f"{to} holds everything up to feed position {seed.seq}. What to do next:"
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {step}"
    yield "Each instance then fetches everything anew, and keeps the copy that it had. Nobody is signed out."


def _facts(chosen: Chosen, losses: Losses, seed: Seed) -> dict[str, Any]:
    furthest = losses.furthest
    return {
        "generation": chosen.generation,
        "doubts": list(chosen.doubts),
        "feed_seq": seed.seq,
        "newest_change_at": rfc3339(seed.at_ms),
        "size_bytes": seed.size_bytes,
        "lost": losses.lost,
        "known_seq": losses.holding.seq + losses.lost,
        "promote_instead": None if furthest is None else _told(furthest),
        "instances": [_told(one) for one in losses.instances],
        "primary": None if losses.primary is None else _told(losses.primary),
        "kept": [_told(one) for one in losses.kept],
    }


def _told(one: Witness) -> dict[str, Any]:
    return {
        "name": one.name,
        "where": shown("primary.url", one.where),
        "feed_seq": one.seq,
        "why": one.why or None,
        "reaches_primary": one.follows,
        "epoch": one.epoch,
        "other_history": one.is_apart,
    }
