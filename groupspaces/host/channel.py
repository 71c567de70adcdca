"""The control socket of a data folder: how the command line and the other workers talk to the process that leads.

Owns `data/control.sock` (0600: whoever may open it owns the folder), the connections on it and their deadlines. Both sides may
`ask` (and get an answer or the `AppError` that it ended with) and `tell`. Never knows what a verb means.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from groupspaces import errors
from groupspaces.errors import AppError, Unavailable
from groupspaces.logging_context import log

from .frames import LENGTH, BadFrame, Frame, decode, encode, length_of
from .local_call import Answer, Call

SOCKET_NAME = "control.sock"
# The verb of the command line. What workers pass on for others goes by another one, which gives nobody any rights.
OPERATE = "operate"

_log = logging.getLogger("groupspaces.host")

_BACKLOG = 128
# The kernel's own limit is 108 bytes on Linux, 104 elsewhere, a zero at the end included.
_MAX_ADDRESS_BYTES = 100
_CONNECT_TIMEOUT_S = 2.0
# Asks of one connection that are answered at the same time; who has more waits to be read.
_MAX_ASKS = 256
# What may wait to be sent to one that does not read, before the connection is given up.
_MAX_UNSENT_BYTES = 32 * 1024 * 1024

Verb = Callable[["Line", Any], Awaitable[Any]]


class Line:
    """One end of a connection. `worker` is the caller's number once it said so, None for the command line."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, verbs: Mapping[str, Verb]
    ) -> None:
        self.worker: int | None = None
        self._reader = reader
        self._writer = writer
        self._verbs = verbs
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_MAX_ASKS)

    async def ask(self, verb: str, payload: Any = None, *, timeout_s: float) -> Any:
        """Return the other side's answer. Raises the AppError it ended with, or Unavailable (`WORKER_UNAVAILABLE`)."""
        number = next(self._numbers)
        self._asked[number] = future = asyncio.get_running_loop().create_future()
        try:
            self._send(Frame("ask", number, verb, payload))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise _no_answer(f"{verb} took more than {timeout_s:g} s") from error
        finally:
            del self._asked[number]

    def tell(self, verb: str, payload: Any = None) -> None:
        """Say something and expect nothing; lost when the other side has gone."""
        with suppress(Unavailable):
            self._send(Frame("tell", 0, verb, payload))

    async def follow(self) -> None:
        """Serve what comes until the other side goes. Cancels what it asked for and nobody will read."""
        try:
            while True:
                body = await self._reader.readexactly(length_of(await self._reader.readexactly(LENGTH.size)))
                await self._take(decode(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except BadFrame as bad:
            log(_log, logging.WARNING, "control socket misused", error=str(bad))
        finally:
            self.close()
            for task in self._serving:
                task.cancel()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(_no_answer("the process that leads has gone"))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    def _send(self, frame: Frame) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            raise _no_answer("the process that leads has gone")
        if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            transport.abort()
            raise _no_answer("the other side does not read")
        self._writer.write(encode(frame))

    async def _take(self, frame: Frame) -> None:
        if frame.kind in ("answer", "refusal"):
            future = self._asked.get(frame.number)
            if future is None or future.done():
                return
            if frame.kind == "answer":
                future.set_result(frame.payload)
            else:
                future.set_exception(_error_of(frame.payload))
            return
        await self._room.acquire()
        task = asyncio.create_task(self._serve(frame), name=f"control socket: {frame.verb}")
        self._serving.add(task)
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._room.release()

    async def _serve(self, frame: Frame) -> None:
        answer = Frame("answer", frame.number, "")
        try:
            verb = self._verbs.get(frame.verb)
            if verb is None:
                raise errors.NotFound(f"There is no {frame.verb!r} here.")
            answer = Frame("answer", frame.number, "", await verb(self, frame.payload))
        except AppError as error:
            answer = Frame("refusal", frame.number, "", _facts_of(error))
        except Exception as error:  # noqa: BLE001  (the edge of this socket)
            log(_log, logging.ERROR, "control socket: request failed", verb=frame.verb, exc_info=error)
            answer = Frame("refusal", frame.number, "", _facts_of(AppError("This is a fault on our side.")))
        if frame.kind == "ask":
            with suppress(Unavailable):
                self._answer(answer)

    def _answer(self, answer: Frame) -> None:
        try:
            self._send(answer)
        except BadFrame:
            refused = AppError("The answer is too large for this socket.", code="ANSWER_TOO_LARGE")
            self._send(Frame("refusal", answer.number, "", _facts_of(refused)))


class Channel:
    """The listening end, held by the process that leads."""

    def __init__(self, folder: Path, verbs: Mapping[str, Verb]) -> None:
        self._folder = folder
        self._verbs = verbs
        self._server: asyncio.Server | None = None
        self._closed = False
        self._followers: set[asyncio.Task[None]] = set()
        self.lines: set[Line] = set()

    async def open(self) -> None:
        """Listen, in the place of whoever did before. The caller makes sure that nobody does. Raises OSError."""
        listener = _listen(self._folder)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener)

    async def close(self) -> None:
        """Hang up on everybody."""
        self._closed = True
        if self._server is None:
            return
        with suppress(FileNotFoundError):
            (self._folder / SOCKET_NAME).unlink()
        self._server.close()
        self._server = None
        followers = list(self._followers)
        for line in self.lines:
            line.close()
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.close()  # accepted just before the end
            return
        line = Line(reader, writer, self._verbs)
        # A task of our own: asyncio would log the cancelling of its own as an error.
        follower = asyncio.create_task(line.follow(), name="control socket")
        self._followers.add(follower)
        self.lines.add(line)
        follower.add_done_callback(lambda _: self._forget(line, follower))

    def _forget(self, line: Line, follower: asyncio.Task[None]) -> None:
        self.lines.discard(line)
        self._followers.discard(follower)


async def connect(folder: Path, verbs: Mapping[str, Verb]) -> Line:
    """Return a line to the process that leads; follow it in a task. Raises OSError when there is none."""
    connected = _connected_socket(folder, 0)  # on this machine it is there or it is not
    reader, writer = await asyncio.open_unix_connection(sock=connected)
    return Line(reader, writer, verbs)


def request(
    data_dir: Path,
    method: str,
    path: str,
    query: str = "",
    body: bytes = b"",
    *,
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),),
    timeout_s: float = 30.0,
) -> Answer:
    """Make one call to the server that runs in this data folder, as its local operator; blocks.

    Raises Unavailable: `NO_SERVER` when none runs there, `NO_ANSWER` when it stays silent.
    """
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    call = Call(method, path, query.encode(), encoded, body)
    try:
        connected = _connected_socket(data_dir)
    except OSError as error:
        raise Unavailable(
            f"No server runs in the data folder {data_dir} ({error.strerror or error}). Start it with `groupspaces serve`, "
            "or name its folder with GROUPSPACES__DATA__DIR.",
            code="NO_SERVER",
        ) from error
    with connected:
        connected.settimeout(timeout_s)
        try:
            connected.sendall(encode(Frame("ask", 1, OPERATE, call)))
            answer = decode(_read(connected, length_of(_read(connected, LENGTH.size))))
        except (OSError, BadFrame) as error:
            raise Unavailable(f"The server did not answer: {error}.", code="NO_ANSWER") from error
    if answer.kind == "refusal":
        raise _error_of(answer.payload)
    return msgspec.convert(answer.payload, Answer)


# --- the socket ---


@contextmanager
def _address(folder: Path) -> Iterator[str]:
    """Give the socket's address, which the kernel wants short, however deep the folder is."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) <= _MAX_ADDRESS_BYTES:
        yield path
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def _listen(folder: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        (folder / SOCKET_NAME).unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        with _address(folder) as address:
            listener.bind(address)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.setblocking(False)
    return listener


def _connected_socket(folder: Path, timeout_s: float = _CONNECT_TIMEOUT_S) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(timeout_s)
    try:
        with _address(folder) as address:
            connected.connect(address)
    except BaseException:
        connected.close()
        raise
    return connected


def _read(connected: socket.socket, length: int) -> bytes:
    parts: list[bytes] = []
    while length:
        part = connected.recv(min(length, 1 << 20))
        if not part:
            raise BadFrame("it hung up")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


# --- errors on the wire ---


def _facts_of(error: AppError) -> dict[str, Any]:
    # One that is declared elsewhere travels as what it is a kind of: the other side may not know it.
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return {
        "error": known.__name__,
        "detail": error.detail,
        "code": error.code,
        "retry_after_s": error.retry_after_s,
    }


def _error_of(facts: Mapping[str, Any]) -> AppError:
    """Make the error again that the other side ended with."""
    kind = getattr(errors, facts["error"], AppError)
    made: AppError = kind(facts["detail"], code=facts["code"], retry_after_s=facts["retry_after_s"])
    return made


def _no_answer(reason: str) -> Unavailable:
    error = Unavailable(
        "The process of this instance that does this cannot answer right now. Try again shortly.",
        code="WORKER_UNAVAILABLE",
        retry_after_s=1,
    )
    error.add_note(reason)
    return error
