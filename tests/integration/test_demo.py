"""The two-instance demo starts both on one primary and leaves nothing behind when it is ended."""

from __future__ import annotations

import json
import signal
import sys
import urllib.request
from pathlib import Path

from groupspaces.ops.torture.ports import free_port
from tests.support.process import Process, clean_environment, http_status
from tests.support.wait import block_until


class Demo(Process):
    """`python -m tests.support.demo_replica`, as `make demo-replica` runs it."""

    def start(self, ports: tuple[int, int]) -> None:
        """Start it; the instances take a few seconds."""
        command = [sys.executable, "-m", "tests.support.demo_replica", "--folder", str(self.folder)]
        self._spawn([*command, "--ports", *map(str, ports)], clean_environment())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._running().send_signal(signal.SIGINT)


def test_both_instances_serve_one_primary_until_ctrl_c(tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    with Demo("demo", tmp_path) as demo:
        demo.start(ports)
        block_until(
            lambda: "Ctrl-C stops all" in demo.log_tail() or not demo.is_running(), 40, "both have started"
        )
        assert demo.is_running(), demo.log_tail()
        for url in urls:
            assert url in demo.log_tail()
            with urllib.request.urlopen(f"{url}/api/health", timeout=5) as answer:
                health = json.load(answer)
            assert (health["status"], health["mode"]) == ("healthy", "replica")
        demo.interrupt()
        block_until(lambda: not demo.is_running(), what="the demo has ended")
        assert demo.exit_code == 0, demo.log_tail()
    assert [http_status(f"{url}/api/health/live") for url in urls] == [None, None]
