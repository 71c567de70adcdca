"""Making the seed of a new primary out of a replica: `groupspaces replica promote`.

Owns which copy is taken, what makes one unfit, and how a folder is written that `sqld` starts from, whole or not at all; an empty primary is
filled by `moving.py`. The replica itself is only read, in one transaction and from a process of its own (`VACUUM INTO`), so that the
instance may run meanwhile. Everything here blocks, for as long as reading or writing the whole file takes.

The seed holds one file and nothing of the driver's or the server's own (measured 2026-11, sqld 0.24.32: it makes those at its first start).
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from groupspaces.errors import DatabaseRefused, Unavailable

from . import moving, resting_file
from .acceptance import holding_in
from .batch import Statement
from .folder import FolderError
from .generations import Cause, Generations
from .lineage import HOLDING_SQL, Elsewhere, Holding, begin_epoch_script, holding_of
from .moved import MARKS_SQL, MOVED_FROM, MOVED_TO, TABLE_EXISTS_SQL, MovedTo, marks_of, remove
from .patience import Patience
from .reader import quick_check
from .remote_primary import RemotePrimary
from .resting_file import RestingFile
from .script import split_script

# Where sqld keeps the database that it serves, in its `--db-path`.
_IN_FOLDER = Path("dbs/default/data")
_SEED_NAME = "seed.db"
# The newest change of before the epoch that was begun in it.
_GIVEN_SQL = """SELECT seq, at_ms FROM change WHERE seq <= (SELECT ended_seq FROM lineage ORDER BY epoch DESC LIMIT 1)
ORDER BY seq DESC LIMIT 1"""
_IF_DAMAGED = "Promote another generation (--generation N) or at another instance, or restore a backup."
_REPEAT = "Repeat this command: it goes on where it stopped."
_IF_OLDER = "Promote it with the version that served it last, and migrate the new primary then."
# What is wrong with a copy that was to be replaced.
_UNFIT: dict[Cause, str] = {
    "differs": "Rows of it are not what the primary had, or are missing.",
    "damaged": "Its file is not whole.",
    "history": "When the primary was last reached it had another history, or this copy was overwritten with one.",
}
# VACUUM INTO writes about as much as there is; beginning an epoch needs a little more.
_ROOM_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Chosen:
    """A generation of this instance's replica, where in which history it stands, and what speaks against it, as sentences."""

    generation: int
    path: Path
    holding: Holding
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seed:
    """What a primary begins with: all up to `seq`, whose newest change is of `at_ms`."""

    path: Path
    seq: int
    at_ms: int
    size_bytes: int


def choose(replica: Path, generation: int | None) -> Chosen:
    """Return the generation that serves, or the one that is named.

    Raises DatabaseRefused for one that is not there, cut off, or unreadable; and for one that this instance has found unfit, unless it
    is named.
    """
    generations = Generations(replica)
    number = generations.current() if generation is None else generation
    if number is None:
        raise DatabaseRefused(f"There is no replica in {replica}: nothing can be promoted here.")
    path = generations.database(number)
    if not path.exists():
        raise DatabaseRefused(f"There is no generation {number} in {replica}.")
    if generations.has_shrunk(number):
        raise DatabaseRefused(f"{path} is damaged: somebody has cut it off. {_IF_DAMAGED}")
    if generations.is_filling(number):
        raise DatabaseRefused(
            f"{path} is only half there: fetching it was interrupted. `groupspaces replica status` names the whole ones."
        )
    doubts = tuple(_doubts(generations, number))
    if generation is None and _is_condemned(generations, number):
        kept = "".join(f", generation {mark.generation}" for mark in generations.kept())
        raise DatabaseRefused(
            f"{' '.join(doubts)} Promote at another instance if you can{kept}, or this one all the same: `--generation {number}`."
        )
    with RestingFile(path) as file:
        file.judge(if_damaged=_IF_DAMAGED, if_older=_IF_OLDER)
        marks, holding = file.marks(), holding_of(file.rows(HOLDING_SQL))
    if marks.moving is not None:
        raise DatabaseRefused(f"{path} holds half of a move, which has to be repeated where it was begun.")
    if marks.moved_to is not None and marks.moved_to.complete:
        raise DatabaseRefused(
            f"The data of this deployment were moved to {marks.moved_to.to}: serve from there. {path} is what was left behind."
        )
    if not holding.seq:
        raise DatabaseRefused(f"{path} holds nothing: its change feed is empty.")
    return Chosen(number, path, holding, doubts)


def others(chosen: Chosen) -> dict[int, Holding]:
    """Return what the other generations that are kept here hold, as far as they can be read."""
    generations = Generations(chosen.path.parent.parent)
    folders = generations.folders()
    paths = {int(folder.name): folder / chosen.path.name for folder in folders}
    return {
        number: holding_in(path)
        for number, path in paths.items()
        if number != chosen.generation and not generations.is_filling(number)
    }


def judge_folder(folder: Path, *, data: Path) -> None:
    """Raise DatabaseRefused unless a new primary may begin in this folder: empty or not there yet, and outside of an instance's `data`."""
    if folder.resolve().is_relative_to(data.resolve()):
        raise DatabaseRefused(
            f"{folder} is in this instance's data folder, which the instance tidies up. Name one elsewhere."
        )
    _judge_empty(folder)


def _is_condemned(generations: Generations, number: int) -> bool:
    wish = generations.wish()
    return wish is not None and wish.generation == number and wish.cause in _UNFIT


def _doubts(generations: Generations, number: int) -> Iterator[str]:
    """Yield what this instance has noted about one of its generations."""
    wish = generations.wish()
    if wish is not None and wish.generation == number and wish.cause in _UNFIT:
        yield f"Generation {number} was to be replaced: {wish.reason}. {_UNFIT[wish.cause]}"
    for mark in generations.kept():
        if mark.generation == number:
            yield f"Generation {number} was replaced: {mark.reason or 'why is not known'}."
    if generations.was_cut_off(number):
        yield "The machine stopped while this copy was being written: the last changes may be missing from it."


def _judge_empty(folder: Path) -> None:
    parent = folder.parent
    if not parent.is_dir():
        raise DatabaseRefused(f"There is no folder {parent} to make {folder.name} in.")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DatabaseRefused(f"{folder} is no folder.")
    if not folder.exists():
        return
    found = sorted(entry.name for entry in folder.iterdir())
    if found:
        shown = ", ".join(found[:5]) + (", …" if len(found) > 5 else "")
        raise DatabaseRefused(
            f"{folder} is not empty: it holds {shown}. Nothing was changed. Name an empty folder, or a new one."
        )
    if folder.stat().st_dev != parent.stat().st_dev:
        raise DatabaseRefused(
            f"{folder} is a disk of its own: name a folder in it, such as {folder / 'primary'}."
        )


def into_folder(chosen: Chosen, folder: Path, *, elsewhere: Elsewhere) -> Seed:
    """Write the folder that `sqld --db-path FOLDER` starts from, in a new epoch, beyond all that is known to have been given out elsewhere.

    It appears whole or not at all, whatever happens to the machine. Raises DatabaseRefused, and FolderError when it cannot be written.
    """
    _judge_empty(folder)
    place = folder.with_name(f"{folder.name}.promoting")
    with _claimed(place):
        try:
            _empty(place)
            path = place / _IN_FOLDER
            path.parent.mkdir(parents=True)
            seed = write_seed(chosen, path, elsewhere)
            _fsync(path, path.parent, path.parent.parent, place)
            place.rename(folder)
            _fsync(folder.parent)
        except OSError as error:
            _discard(place)
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                _judge_empty(folder)
            raise _unwritable(folder, error) from error
        except BaseException:
            _discard(place)
            raise
        return Seed(folder / _IN_FOLDER, seed.seq, seed.at_ms, seed.size_bytes)


async def into_primary(
    make: Callable[[Path], Seed],
    seq: int,
    place: Path,
    target: RemotePrimary,
    *,
    to: str,
    fingerprints: Sequence[str],
    on_progress: Callable[[moving.Progress], None],
    on_step: Callable[[str], None],
) -> Seed:
    """Move a seed of position `seq` into an empty primary, by way of a file that `make` writes in the folder `place`; or go on with what an earlier call began.

    The parameters and what is raised are those of `moving.push`, besides what `into_folder` raises. The copy stays until all has arrived;
    one that a killed run has left behind then is only cleared away.
    """
    with _claimed(place):
        path = place / _SEED_NAME
        if await _has_arrived(path, target, to, on_step):
            arrived = seed_of(path)
            _discard(place)
            return arrived
        seed = await asyncio.to_thread(_begun, path, to)
        if seed is None:
            on_step("copying")
            try:
                seed = await asyncio.to_thread(_make_in, place, make)
            except BaseException:
                _discard(place)
                raise
        elif seed.seq != seq:
            on_step(
                f"going on with the copy that an earlier run made, of feed position {seed.seq}; for another one make a new, empty "
                f"primary and remove {place}"
            )
        try:
            await moving.push(
                path,
                target,
                to=to,
                fingerprints=fingerprints,
                on_progress=on_progress,
                on_step=on_step,
                repeat=_REPEAT,
            )
        except BaseException:
            if _begun(path, to) is None:
                _discard(place)
            raise
        _discard(place)
        return seed


def _make_in(place: Path, make: Callable[[Path], Seed]) -> Seed:
    try:
        _empty(place)
        return make(place / _SEED_NAME)
    except OSError as error:
        raise _unwritable(place, error) from error


def write_seed(chosen: Chosen, path: Path, elsewhere: Elsewhere) -> Seed:
    """Write a generation as what a primary begins with. Raises DatabaseRefused and FolderError."""
    _copy(chosen, path)
    return begin_seed(path, elsewhere)


def begin_seed(path: Path, elsewhere: Elsewhere) -> Seed:
    """Begin a new epoch in a copy that is to go on in the place of what it was made from. Raises FolderError."""
    _begin_epoch(path, elsewhere)
    return seed_of(path)


def _mark_of(path: Path) -> MovedTo | None:
    """Return where an earlier run has begun to move its copy; None when there is none, or it was cut off while it was made."""
    if not path.exists():
        return None
    try:
        with RestingFile(path) as file:
            return file.marks().moved_to
    except (DatabaseRefused, apsw.Error):
        return None


async def _has_arrived(path: Path, target: RemotePrimary, to: str, on_step: Callable[[str], None]) -> bool:
    """Tell whether the copy of an earlier run is all there, whether or not that was noted here any more.

    Raises Unavailable and PrimaryRefused.
    """
    mark = _mark_of(path)
    if mark is None or mark.to != to:
        return False
    patience = Patience(target, to, on_step)
    try:
        if not await patience.read(TABLE_EXISTS_SQL):
            return False
        taken = marks_of(await patience.read(MARKS_SQL)).moved_from
    except Unavailable as error:
        raise Unavailable(f"{error.detail} {_REPEAT}") from error
    return taken is not None and taken.move == mark.move


def _begun(path: Path, to: str) -> Seed | None:
    """Return the seed that an earlier run has begun to move to `to`, None when that is done. Raises DatabaseRefused for one on its way elsewhere."""
    mark = _mark_of(path)
    if mark is None or mark.complete:
        return None
    if mark.to != to:
        raise DatabaseRefused(
            f"A promotion to {mark.to} was not seen to finish. Repeat that one: it goes on where it stopped, or finds that all had arrived. "
            f"To give it up, remove {path.parent}: no instance serves what is half there, and what is whole there stays."
        )
    return seed_of(path)


def seed_of(path: Path) -> Seed:
    """Describe a file in which an epoch was begun."""
    with RestingFile(path) as file:
        [(seq, at_ms)] = file.rows(_GIVEN_SQL)
    return Seed(path, int(str(seq)), int(str(at_ms)), path.stat().st_size)


def _copy(chosen: Chosen, path: Path) -> None:
    """Copy a generation as it stands at one moment into a new file, and check the copy. Raises DatabaseRefused and FolderError."""
    wal = chosen.path.with_name(f"{chosen.path.name}-wal")
    needed = chosen.path.stat().st_size + (wal.stat().st_size if wal.exists() else 0) + _ROOM_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise FolderError(f"{path.parent} has room for {free // 10**6} MB; {needed // 10**6} MB are needed.")
    try:
        with RestingFile(chosen.path) as file:
            file.connection.execute("VACUUM INTO ?", (str(path),))
        path.chmod(0o600)
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
        raise FolderError(f"{path} cannot be written: {error}.") from error
    except apsw.Error as error:
        raise DatabaseRefused(f"{chosen.path} is damaged: {error}. {_IF_DAMAGED}") from error
    with RestingFile(path) as seed:
        _check(seed, chosen.path)


def _begin_epoch(path: Path, elsewhere: Elsewhere) -> None:
    """Begin a new epoch in a seed, whose ids and positions are beyond all that may have been given out. Raises FolderError."""
    script = begin_epoch_script(lost=elsewhere.positions, after_epoch=elsewhere.epoch)
    try:
        resting_file.write(
            path,
            remove(MOVED_FROM),
            # Of a move out of the lost primary, which did not finish.
            remove(MOVED_TO),
            *map(Statement, split_script(script)),
        )
    except apsw.Error as error:
        raise FolderError(f"{path} cannot be written: {error}.") from error


@contextmanager
def _claimed(place: Path) -> Iterator[None]:
    """Have a folder to work in, for this process alone. Raises DatabaseRefused while another one does, and FolderError."""
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(place, error) from error
    try:
        _lock(fd, place)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, place: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatabaseRefused(f"Another promotion works in {place}.") from error


def _check(seed: RestingFile, source: Path) -> None:
    found = quick_check(seed.path)
    if found != "ok":
        raise DatabaseRefused(f"{source} is damaged: {found}. {_IF_DAMAGED}")
    broken = seed.rows("PRAGMA foreign_key_check")
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise DatabaseRefused(
            f"{source} is damaged: {len(broken)} rows of {tables} refer to rows that are not there. {_IF_DAMAGED}"
        )


def _empty(place: Path) -> None:
    """Remove what a run that was killed has left."""
    for entry in place.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _discard(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> FolderError:
    return FolderError(f"{folder} cannot be written: {error.strerror}.")


def _fsync(*paths: Path) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
