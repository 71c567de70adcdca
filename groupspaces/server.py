"""The process that serves: a socket, uvicorn, signals and an orderly end.

Owns the order of starting (the port is free, the database is open, then requests) and of stopping (not ready, streams closed,
requests finished, jobs drained, database closed). Each way to fail at start is an error of its own.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from groupspaces import __version__
from groupspaces.app import Application
from groupspaces.errors import PortTaken
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


def run(settings: Settings) -> int:
    """Serve until a signal. Returns the exit code; raises `SettingsError` when starting would be wrong."""
    output = logs.configure(settings)
    _allow_many_connections()
    try:
        listener = _listen(settings.server.host, settings.server.port)
        application = Application(settings)
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
            runner.run(_serve(application, _Server(config, application.drain), listener))
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
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


async def _serve(application: Application, server: _Server, listener: socket.socket) -> None:
    await application.start()
    try:
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
    log(_log, logging.INFO, "serving", url=url, port=port, mode=settings.mode, version=__version__)
    for note in unused(settings):
        log(_log, logging.WARNING, "setting without effect", note=note)
