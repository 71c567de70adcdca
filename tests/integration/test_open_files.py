"""How many connections a server can hold: as many as the machine lets it, whatever the shell it was started from says."""

from __future__ import annotations

import resource

import psutil

from tests.conftest import StartServer


def test_a_server_opens_as_many_files_as_it_may(start_server: StartServer) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(256, hard // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        server = start_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE) == (hard, hard)
