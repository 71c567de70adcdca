"""Several workers behind one port: which process is which, and how to talk to one of them.

What the product does not tell (which worker answers) is read from the kernel: who holds the lock of the elected one, and whose
connection has our port at its other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil

from tests.conftest import StartServer
from tests.support.client import Participant
from tests.support.server import Server, Setting
from tests.support.wait import block_until, wait_until

_ATTEMPTS = 400


def worker_pids(server: Server) -> set[int]:
    """Return the workers that run now."""
    return {child.pid for child in psutil.Process(server.pid).children()}


def elected_pid(server: Server) -> int | None:
    """Return the worker that leads, None while nobody does."""
    with contextlib.suppress(FileNotFoundError):
        inode = (server.data_folder / "elected").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and int(fields[5].rsplit(":", 1)[1]) == inode:
                return int(fields[4])
    return None


def other_pid(server: Server) -> int:
    """Return a worker that does not lead."""
    [pid] = worker_pids(server) - {elected_pid(server)}
    return pid


def answered_by(server: Server, answer: httpx2.Response) -> int | None:
    """Return which worker has the connection that an answer came on; None when that is gone."""
    return _served_by(server, answer.extensions["network_stream"].get_extra_info("client_addr")[1])


def _served_by(server: Server, port: int) -> int | None:
    for pid in worker_pids(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            if any(
                found.raddr and found.raddr.port == port
                for found in psutil.Process(pid).net_connections("tcp")
            ):
                return pid
    return None


@contextlib.asynccontextmanager
async def at_worker(
    server: Server, pid: int, person: Participant | None = None
) -> AsyncIterator[Participant]:
    """A person (or a stranger) whose requests, one after the other, all go to this worker."""
    for _ in range(_ATTEMPTS):
        cookies = None if person is None else person.http.cookies
        async with Participant(server.url, cookies=cookies) as caller:
            if answered_by(server, await caller.get("/api/health/live")) == pid:
                if person is not None:
                    caller.id, caller.name, caller.email = person.id, person.name, person.email
                yield caller
                return
    raise AssertionError(f"{_ATTEMPTS} connections, and none reached worker {pid}")


@contextlib.asynccontextmanager
async def wire_to(
    server: Server, pid: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to this worker, for what no client would send."""
    for _ in range(_ATTEMPTS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
        if _served_by(server, writer.get_extra_info("sockname")[1]) == pid:
            try:
                yield reader, writer
            finally:
                writer.close()
            return
        writer.close()
    raise AssertionError(f"{_ATTEMPTS} connections, and none reached worker {pid}")


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def tree_pids(server: Server) -> set[int]:
    """Return the server's process and everything below it."""
    parent = psutil.Process(server.pid)
    return {parent.pid, *(child.pid for child in parent.children(recursive=True))}


def kill(pid: int) -> None:
    """End a process as kill -9 does."""
    os.kill(pid, 9)


def two_workers(start_server: StartServer, settings: dict[str, Setting]) -> Server:
    """Start an instance and return it once both of its workers serve."""
    server = start_server(settings | {"server.workers": 2}, arguments=("--migrate",))
    block_until(lambda: len(server.logs(message="worker serves")) == 2, what="both workers serve")
    return server


async def can_write_again(person: Participant, space_id: int, timeout_s: float = 15) -> None:
    """Wait until a message is taken."""
    await wait_until(lambda: takes_writes(person, space_id), timeout_s, "writes go on")


async def takes_writes(person: Participant, space_id: int) -> bool:
    """Post a message; a connection that breaks is a no."""
    with contextlib.suppress(httpx2.TransportError):
        return (await person.post_message(space_id, "after")).status_code == 201
    return False
