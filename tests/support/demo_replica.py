"""Two instances and their primary on this machine: `make demo-replica`, ended by Ctrl-C.

A message posted on one appears on the other. Everything lies in a temporary folder, or in the one given by `--folder`.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.support.process import Process
from tests.support.server import Server
from tests.support.sqld import Sqld

PORTS = (3001, 3002)


def main(folder: Path, ports: Sequence[int] = PORTS) -> None:
    """Start a primary and two instances, and stop them at SIGINT or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        primary = stack.enter_context(Sqld(folder / "primary")).start()
        instances = start_instances(stack, folder, primary, ports)
        print(f"primary     {primary.url}  (sqld)")
        for instance in instances:
            print(f"instance    {instance.url}  data in {instance.data_folder}, log in {instance.log_path}")
        print("Sign up on one, open the other in a second browser. Ctrl-C stops all.", flush=True)
        stopped.wait()
        for process in [*instances, primary]:
            end(process)


def start_instances(stack: ExitStack, folder: Path, primary: Sqld, ports: Sequence[int]) -> list[Server]:
    """Start one instance for each port; the first brings the primary's schema up to date."""
    secret = secrets.token_urlsafe(32)
    instances = []
    for port in ports:
        settings = {
            "primary.url": primary.url,
            "auth.secret": secret,
            "server.public_url": f"http://127.0.0.1:{port}",
            "instance.id": f"demo-{port}",
            "instance.region": "this machine",
            "instance.url": f"http://127.0.0.1:{port}",
        }
        instance = stack.enter_context(Server(folder / f"instance-{port}", settings, port=port))
        instances.append(instance.start("--migrate"))
    return instances


def end(process: Process) -> None:
    """Stop a process that Ctrl-C in the terminal may have reached already."""
    if process.is_running():
        process.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Start a primary and two instances.")
    parser.add_argument("--folder", type=Path, help="keep everything here (default: a temporary folder)")
    parser.add_argument("--ports", type=int, nargs=2, default=PORTS, help="where the instances listen")
    options = parser.parse_args()
    if options.folder:
        main(options.folder.resolve(), options.ports)
    else:
        with tempfile.TemporaryDirectory(prefix="groupspaces-demo-") as temporary:
            main(Path(temporary), options.ports)
