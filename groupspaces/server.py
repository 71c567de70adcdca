"""The processes that serve: a socket, uvicorn, signals and an orderly end.

Owns the order of starting (the port is free, the database is open, then requests) and of stopping (not ready, streams closed,
requests finished, jobs drained, database closed). Each way to fail at start is an error of its own. One worker is this process;
several are forked from it, and it only looks after them (`host/supervisor.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from groupspaces import __version__
from groupspaces.app import Application, with_secret
from groupspaces.db.folder import DataFolder
from groupspaces.errors import PortTaken, SettingsError
from groupspaces.host.board import Board, Seat
from groupspaces.host.supervisor import Supervisor
from groupspaces.logging_context import log
from groupspaces.ops import logs
from groupspaces.settings import Settings, unused
from groupspaces.web.http_protocol import BoundedHead

_log = logging.getLogger("groupspaces")

_BACKLOG = 2048
# Longer than the keep-alive of the usual proxies in front, so that they never find a connection just closed.
_KEEP_ALIVE_S = 75
# Of the time a stop may take, this much is left for draining jobs and closing the database.
_CLOSING_S = 2.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXIT_ORPHANED = 1


def run(settings: Settings, exit_code: Callable[[SettingsError], int]) -> int:
    """Serve until a signal. Returns the exit code; raises `SettingsError` when starting would be wrong.

    `exit_code` says with which code a worker ends that cannot start.
    """
    _allow_many_connections()
    if settings.server.workers > 1:
        return _run_workers(settings, exit_code)
    return _run(settings, lambda: _listen(settings.server.host, settings.server.port), None, None)


def _run_workers(settings: Settings, exit_code: Callable[[SettingsError], int]) -> int:
    """Look after several workers, with what must be there once: the folder's lock, the secret, the socket, the board."""
    listener = _listen(settings.server.host, settings.server.port)
    folder = DataFolder(settings.data_dir)
    folder.claim()
    settings = with_secret(settings)
    board, boot = Board(settings.server.workers), Seat().boot

    def worker(number: int, lifeline: int) -> int:
        try:
            return _run(settings, lambda: listener, Seat(board, number, boot), lifeline)
        except SettingsError as error:
            # At a start, those who find it out after the first say nothing more.
            if not board.failed:
                board.failed = not board.welcomed
                sys.stderr.write(f"groupspaces: {error}\n")
            return exit_code(error)

    def stop() -> None:
        board.stopping = True
        listener.close()

    supervisor = Supervisor(
        settings.server.workers,
        worker,
        # A first start that fails would fail again. Later, the others serve while one cannot be replaced.
        is_final=lambda code: code > 0 and not board.welcomed,
        alive_at_s=board.alive_at_s,
        on_stop=stop,
        on_ended=board.ended,
        stop_timeout_s=settings.server.shutdown_timeout_s,
    )
    try:
        return supervisor.run()
    finally:
        folder.release()


def _run(
    settings: Settings, listen: Callable[[], socket.socket], seat: Seat | None, lifeline: int | None
) -> int:
    output = logs.configure(settings, worker=None if seat is None else seat.number)
    try:
        listener = listen()
        application = Application(settings, seat)
        config = uvicorn.Config(
            application.asgi,
            http=BoundedHead,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=max(1, round(settings.server.shutdown_timeout_s - _CLOSING_S)),
        )
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(application, _Server(config, application.drain), listener, lifeline))
    finally:
        output.close()
    return 0


class _Server(uvicorn.Server):
    """Uvicorn that says when a signal came, and leaves the process to us afterwards instead of raising it again."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        # A worker leaves what its parent has it ignore to the parent.
        heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        for number in heeded:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in heeded:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


async def _serve(
    application: Application, server: _Server, listener: socket.socket, lifeline: int | None
) -> None:
    if lifeline is not None:
        # Nothing is ever written there: it can be read once the parent is gone.
        asyncio.get_running_loop().add_reader(lifeline, os._exit, _EXIT_ORPHANED)
    await application.start()
    try:
        if lifeline is not None:
            log(_log, logging.INFO, "worker serves", pid=os.getpid())
        if application.is_first():
            _welcome(application, listener.getsockname()[1])
        await server.serve(sockets=[listener])
    finally:
        await application.stop()


def _allow_many_connections() -> None:
    """Let this process open as many files as it may: shells allow few (256 or 1024), and each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS calls it unlimited and then takes no such number; it stays as it was there.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise PortTaken(
            f"Cannot listen on {host} port {port}: {error.strerror}. "
            "Stop what uses it, or choose another with PORT (and HOST)."
        ) from error


def _welcome(application: Application, port: int) -> None:
    """Tell where it runs: for people on stderr, for machines in the log."""
    settings = application.settings
    url = settings.server.public_url or f"http://localhost:{port}"
    place = (
        f"data in {settings.data.dir}"
        if settings.mode == "standalone"
        else f"replica of {settings.primary.url}"
    )
    lines = [f"Group Spaces {__version__} runs at {url} ({settings.mode}, {place})."]
    if application.setup_code is not None:
        lines.append(
            f"The first account becomes the operator and needs this set-up code: {application.setup_code}"
        )
    sys.stderr.write("\n".join(lines) + "\n")
    facts = {"mode": settings.mode, "version": __version__, "workers": settings.server.workers}
    log(_log, logging.INFO, "serving", url=url, port=port, **facts)
    for note in unused(settings):
        log(_log, logging.WARNING, "setting without effect", note=note)
