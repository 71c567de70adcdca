"""`groupspaces restore …`: going back to a backup, in place, into a new folder, or into a new primary.

Owns the words, what is asked before, and which way is taken: a running instance goes back by itself (`ops/backups/restoring.py`); where no
server can start any more because the database is damaged, this process puts the backup in its place and keeps the damaged files beside.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupspaces.cli_backup import PATH, Bar, begun, bring, followed
from groupspaces.cli_call import Operator, add_json, agreed, print_facts, print_json
from groupspaces.cli_long import Display, run
from groupspaces.cli_running import counted, size
from groupspaces.cli_sql import archive_of, is_dump
from groupspaces.db.folder import DATABASE_NAME, DataFolder, FolderError
from groupspaces.deployment_secrets import fingerprints, with_secrets
from groupspaces.errors import AppError, DatabaseRefused, SettingsError
from groupspaces.settings import Settings, load
from groupspaces.settings_checks import in_good_form, shown
from groupspaces.times import rfc3339

if TYPE_CHECKING:
    from groupspaces.db.promote import Seed
    from groupspaces.ops.backups.manifest import Manifest
    from groupspaces.ops.backups.preparing import Prepared

_EXIT_FAILED = 1
_UNDO = "undo"
_ID = re.compile(r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$")
_WORK_FOLDER = "restoring-primary"
_HOW = """ARCHIVE is a file, the id of a backup (`groupspaces backup list`), or `undo`: what was there before the last restore. A file
.sql or .sql.gz is what `groupspaces backup export --sql` wrote.

Without --to, --to-primary or --space, the deployment goes back to it, running or not. What was there before becomes a backup of its own, so
that `groupspaces restore undo` is the way back. With --to, a new data folder is made and nothing else is touched. With --to-primary,
everything goes into a new, empty primary; a run that was stopped is gone on with by repeating it. With --space, one space comes back as a
new one beside what is there."""


def add_commands(commands: Any) -> None:
    """Add `restore` to the command line."""
    restore = commands.add_parser(
        "restore",
        help="go back to a backup, or make a new folder or primary of it",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    restore.add_argument("archive", metavar="ARCHIVE", help="a file, the id of a backup, or undo")
    where = restore.add_mutually_exclusive_group()
    where.add_argument("--to", metavar="DIR", help="make a new data folder, empty or not there yet")
    where.add_argument("--to-primary", metavar="URL", help="into a new, empty primary")
    where.add_argument(
        "--space",
        metavar="SPACE",
        help="make a new space of this one alone, by its id or slug (`backup spaces`)",
    )
    restore.add_argument("--name", metavar="NAME", help="with --space: what it is called")
    restore.add_argument(
        "--members",
        choices=("everyone", "owners"),
        default="everyone",
        help="with --space: who of then belongs to it",
    )
    restore.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    restore.add_argument("--yes", action="store_true", help="do not ask, even at a terminal")
    add_json(restore)
    restore.set_defaults(command=_restore)


def _restore(arguments: argparse.Namespace) -> int:
    settings = load(os.environ)
    if not is_dump(arguments.archive):
        return _restore_archive(arguments, settings)
    beside = Path(arguments.to).absolute().parent if arguments.to else settings.data_dir
    dump, passphrase = _archive(settings, arguments.archive), settings.backup.passphrase
    with archive_of(dump, beside, passphrase, Bar(arguments)) as archive:
        arguments.archive = str(archive)
        return _restore_archive(arguments, settings)


def _restore_archive(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.space is not None:
        return _space(arguments, settings)
    if arguments.to is None and arguments.to_primary is None:
        return _in_place(arguments, settings)
    archive = _archive(settings, arguments.archive)
    manifest = _manifest(settings, archive)
    if not arguments.json or arguments.dry_run:
        _describe(arguments, settings, archive, manifest)
    if arguments.dry_run:
        return 0
    if arguments.to is not None:
        return _to_folder(arguments, settings, archive)
    return _to_primary(arguments, settings, archive, manifest)


# --- in place ---


def _in_place(arguments: argparse.Namespace, settings: Settings) -> int:
    try:
        operator = Operator()
        operator.call("GET", PATH, limit=1)
    except (DatabaseRefused, FolderError, SettingsError, AppError) as error:
        if settings.mode != "standalone" or getattr(error, "code", "") == "BACKUP_BUSY":
            raise
        return _instead_of_damaged(arguments, settings, error)
    with operator:
        backup_id = _known(operator, settings, arguments.archive)
        plan = operator.call("GET", f"{PATH}/{backup_id}/plan")
        if plan["refused"]:
            raise AppError(plan["refused"])
        if not arguments.json:
            print("\n".join(_planned(plan)), file=sys.stderr)
        if arguments.dry_run:
            if arguments.json:
                print_json(plan)
            return 0
        if not arguments.yes and not agreed(f"Go back to {backup_id}?", "yes"):
            print("Nothing was changed.", file=sys.stderr)
            return _EXIT_FAILED
        bar = Bar(arguments)
        begun(operator, f"{PATH}/{backup_id}/restore", bar, {"confirm": backup_id})
        followed(operator, "restore", bar)
        safety = _newest_safety(operator)
    if arguments.json:
        print_json({"restored": backup_id, "safety": safety})
    else:
        print(f"This instance is back at {backup_id}. The way back: groupspaces restore {safety}")
    return 0


def _known(operator: Operator, settings: Settings, given: str) -> str:
    """Return the id of the backup that is meant; a file from elsewhere is brought into the folder first."""
    if given == _UNDO:
        return _newest_safety(operator)
    if _ID.match(given):
        try:
            operator.call("GET", f"{PATH}/{given}")
        except AppError as error:
            if error.code != "NOT_FOUND":
                raise
            operator.call("POST", f"{PATH}/adopt")  # its archive may be there without a record
        return given
    from groupspaces.ops.backups.making import file_name

    archive = Path(given)
    manifest = _manifest(settings, archive)
    folder = settings.data_dir / "backups"
    to = folder / file_name(manifest.id, encrypted=archive.suffix == ".tar")
    if not to.exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = to.with_name(f"{to.name}.part")
        shutil.copyfile(archive, draft)
        draft.rename(to)
    operator.call("POST", f"{PATH}/adopt")
    return manifest.id


def _newest_safety(operator: Operator) -> str:
    for items in operator.pages(PATH):
        for one in items:
            if one["reason"] == "before restore":
                return str(one["id"])
    raise AppError("There is nothing to go back to: no restore has been made here.", code="NOT_FOUND")


def _planned(plan: dict[str, Any]) -> list[str]:
    since = ", ".join(
        (
            counted(plan["messages"], "message"),
            f"{plan['people']:,} new people",
            counted(plan["spaces"], "new space"),
        )
    )
    lines = [
        f"{plan['backup_id']} holds everything up to feed position {plan['seq']}, of {plan['created_at']}.",
        f"Since then came {'' if plan['complete'] else 'at least '}{counted(plan['changes'], 'change')}: {since}. They are set aside as a backup of their own.",
        "Sessions, tokens, passwords and suspensions are those of then: whoever signed in since signs in again, and what was revoked since stands again.",
    ]
    if not plan["proved"]:
        lines.append("It is not proved to be good. If it is not, nothing is changed.")
    return lines


def _instead_of_damaged(arguments: argparse.Namespace, settings: Settings, why: Exception) -> int:
    """Put a backup in the place of a database that cannot be opened. The damaged files are kept."""
    said = why.detail if isinstance(why, AppError) else str(why)
    print(f"The instance cannot be started: {said}", file=sys.stderr)
    archive = _archive(settings, arguments.archive)
    folder = DataFolder(settings.data_dir)
    folder.claim()
    try:
        kept = settings.data_dir / f"damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        print(f"Its database would be kept in {kept}, and {archive.name} put in its place.", file=sys.stderr)
        if arguments.dry_run:
            return 0
        if not arguments.yes and not agreed(f"Go back to {archive.name}?", "yes"):
            print("Nothing was changed.", file=sys.stderr)
            return _EXIT_FAILED
        prepared = settings.data_dir / "restored"
        shutil.rmtree(prepared, ignore_errors=True)
        found = _prepare(arguments, settings, archive, prepared)
        _exchange(folder.database, prepared, kept)
    finally:
        folder.release()
    if arguments.json:
        print_json({"restored": found.manifest.id, "kept": str(kept)})
    else:
        print(f"{found.manifest.id} is in place: start the server. What was damaged is in {kept}.")
    return 0


def _exchange(database: Path, prepared: Path, kept: Path) -> None:
    """Move what is damaged away, its log first: it must never be taken for that of the file that comes. Repeating it goes on."""
    from groupspaces.db.folder import fsync

    kept.mkdir(mode=0o700, exist_ok=True)
    for suffix in ("-wal", "-shm", "-journal", ""):
        path = database.with_name(database.name + suffix)
        if path.exists():
            path.rename(kept / path.name)
    fsync(kept)
    (prepared / DATABASE_NAME).rename(database)
    files = prepared / "files"
    for path in files.rglob("*") if files.is_dir() else ():
        to = database.parent / "files" / path.relative_to(files)
        if path.is_file() and not to.exists():
            to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.rename(to)
    fsync(database.parent)
    shutil.rmtree(prepared, ignore_errors=True)


# --- one space ---


def _space(arguments: argparse.Namespace, settings: Settings) -> int:
    """Make a new space of one that was in a backup."""
    with Operator() as operator:
        backup_id = _known(operator, settings, arguments.archive)
        bring(operator, backup_id, Bar(arguments))
        spaces = operator.call("GET", f"{PATH}/{backup_id}/spaces")["items"]
        then = next((one for one in spaces if arguments.space in (str(one["id"]), one["slug"])), None)
        if then is None:
            raise AppError(
                f"There is no space {arguments.space} in {backup_id}: see `groupspaces backup spaces {backup_id}`.",
                code="NOT_FOUND",
            )
        if arguments.dry_run:
            if arguments.json:
                print_json(then)
            else:
                print_facts(list(then.items()))
            return 0
        wish = {"space_id": then["id"], "name": arguments.name, "members": arguments.members}
        bar = Bar(arguments)
        begun(operator, f"{PATH}/{backup_id}/restore-space", bar, wish)
        made = followed(operator, "space", bar)
    if arguments.json:
        print_json({"restored": then["id"], "made": made})
    else:
        print(made)
    return 0


# --- elsewhere ---


def _to_folder(arguments: argparse.Namespace, settings: Settings, archive: Path) -> int:
    to = Path(arguments.to).absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise DatabaseRefused(f"{to} is not an empty folder. Name one that is empty, or not there yet.")
    found = _prepare(arguments, settings, archive, to)
    if arguments.json:
        print_json({"to": str(to), "backup_id": found.manifest.id, "feed_seq": found.manifest.seq})
        return 0
    print(f"{to} holds everything up to feed position {found.manifest.seq}. Serve from it:")
    print(f"  GROUPSPACES__DATA__DIR={to} groupspaces serve")
    if found.manifest.secret not in _fingerprints(settings):
        print(
            "Give it the AUTH_SECRET of the deployment that made the backup: second factors cannot be read without."
        )
    elif not settings.auth.secret:
        print(
            f"Copy {settings.data_dir / 'secret'} into it first: second factors and links cannot be read without."
        )
    return 0


def _prepare(arguments: argparse.Namespace, settings: Settings, archive: Path, to: Path) -> Prepared:
    from groupspaces.ops.backups import errands, workplace
    from groupspaces.ops.backups.preparing import Prepared, PrepareOrder

    bar = Bar(arguments)
    order = PrepareOrder(str(archive), str(to), settings.backup.passphrase)

    async def prepared() -> Prepared:
        return await errands.run(
            "prepare",
            order,
            Prepared,
            bar.show_progress,
        )

    try:
        return run(prepared())
    finally:
        bar.end()
        workplace.clear(to.parent)


def _to_primary(arguments: argparse.Namespace, settings: Settings, archive: Path, manifest: Manifest) -> int:
    try:
        url = str(in_good_form("primary.url", arguments.to_primary))
    except ValueError as error:
        raise SettingsError(f"--to-primary {shown('primary.url', arguments.to_primary)}: {error}") from error
    to = str(shown("primary.url", url))
    if not arguments.yes and not agreed(f"Put {manifest.id} into {to}?", "yes"):
        print("Nothing was changed.", file=sys.stderr)
        return _EXIT_FAILED
    seed = run(_moved(settings, archive, manifest, url, to, Display(arguments)))
    if arguments.json:
        print_json({"to": to, "backup_id": manifest.id, "feed_seq": seed.seq})
        return 0
    print(f"{to} holds everything up to feed position {seed.seq}. What to do next:")
    print(
        "  Set TURSO_CONNECTION_URL to it at every instance (and TURSO_AUTH_TOKEN), keep AUTH_SECRET, and restart them."
    )
    print("Each instance then fetches everything anew.")
    return 0


async def _moved(
    settings: Settings, archive: Path, manifest: Manifest, url: str, to: str, display: Display
) -> Seed:
    from groupspaces.db import moving, promote
    from groupspaces.db.remote_primary import RemotePrimary
    from groupspaces.ops.backups.preparing import PrepareOrder, prepare
    from groupspaces.ops.backups.progress import Progress

    def make(path: Path) -> Seed:
        prepared = path.with_name("prepared")
        for found in prepare(PrepareOrder(str(archive), str(prepared), settings.backup.passphrase)):
            if isinstance(found, Progress) and not found.done_bytes:
                display.step(found.step)
        (prepared / DATABASE_NAME).rename(path)
        shutil.rmtree(prepared)
        return promote.seed_of(path)

    DataFolder(settings.data_dir).prepare()
    target = RemotePrimary(url, settings.primary.token or None, timeout_s=moving.WRITE_TIMEOUT_S)
    await target.start()
    try:
        return await promote.into_primary(
            make,
            manifest.seq,
            settings.data_dir / _WORK_FOLDER,
            target,
            to=to,
            fingerprints=_fingerprints(settings),
            on_progress=display.show,
            on_step=display.step,
        )
    finally:
        display.end()
        await target.close()


# --- the archive ---


def _archive(settings: Settings, given: str) -> Path:
    """Return the file that is meant. Raises AppError when there is none."""
    path = Path(given)
    if not path.is_file():
        found = (
            sorted((settings.data_dir / "backups").glob(f"groupspaces-{given}.*")) if _ID.match(given) else []
        )
        if not found:
            raise AppError(
                f"There is no file {given}, nor a backup of that id in {settings.data_dir / 'backups'}.",
                code="NOT_FOUND",
            )
        path = found[0]
    return path.absolute()


def _manifest(settings: Settings, archive: Path) -> Manifest:
    from groupspaces.ops.backups import opening

    if not archive.is_file():
        raise AppError(f"There is no file {archive}.", code="NOT_FOUND")
    with tempfile.TemporaryDirectory(prefix="groupspaces-") as place:
        try:
            manifest = opening.manifest_of(archive, Path(place), settings.backup.passphrase)
        except OSError as error:
            raise AppError(f"{archive} cannot be read: {error.strerror}.") from error
    opening.judge_version(manifest)
    return manifest


def _describe(arguments: argparse.Namespace, settings: Settings, archive: Path, manifest: Manifest) -> None:
    facts = {
        "backup": manifest.id,
        "file": str(archive),
        "made": rfc3339(manifest.created_at_ms),
        "at": manifest.instance_id,
        "version": manifest.version,
        "schema": manifest.schema_version,
        "feed_seq": manifest.seq,
        "rows": sum(table.rows for table in manifest.tables),
        "size_bytes": manifest.size_bytes,
        "to": arguments.to or shown("primary.url", arguments.to_primary),
        "same_secret": manifest.secret in _fingerprints(settings),
    }
    if arguments.json:
        print_json(facts)
    else:
        print_facts([(name, size(value) if name == "size_bytes" else value) for name, value in facts.items()])


def _fingerprints(settings: Settings) -> list[str]:
    try:
        return fingerprints(with_secrets(settings, settings.data_dir))
    except SettingsError:
        return []
