"""Who writes the file of a standalone host with two workers: each for itself in turns, or the elected one for both.

The second is a prototype that lives here alone: this module, run as a program, is the product with the other worker's writes sent to
the elected one over the control socket.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from groupspaces.cli import main
from groupspaces.db.batch import Batch, Statement, Written
from groupspaces.db.standalone import Standalone
from groupspaces.errors import Conflict
from groupspaces.host.channel import Line, Verb
from groupspaces.host.crew import Crew
from tests.bench import load
from tests.bench.report import Report
from tests.bench.scene import GENEROUS, Room, room
from tests.bench.workers import ONE, post_script, race, start
from tests.support import server as support
from tests.support.server import Server

ITSELF, ELECTED = "2, each writes itself", "2, the elected one writes"
_CONNECTIONS = (1, 16, 64)


async def run(folder: Path, report: Report) -> None:
    """Let the ways take turns at growing numbers of connections."""
    report.begin(
        "workers-writing",
        "POST message, standalone, two workers: two ways to write, and one worker beside them",
    )
    if not load.available():
        report.note("skipped: this needs the load generator wrk (Debian: apt-get install wrk)")
        return
    async with AsyncExitStack() as stack:
        servers: dict[str, Server] = {}
        rooms: dict[str, Room] = {}
        for name, workers in ((ONE, 1), (ITSELF, 2), (ELECTED, 2)):
            kind = ThroughElected if name == ELECTED else Server
            server = kind(folder / name.replace(" ", "-"), GENEROUS | {"server.workers": workers})
            servers[name] = start(stack.enter_context(server), workers)
            rooms[name] = await stack.enter_async_context(room(server.url))
        script = post_script(folder)
        for connections in _CONNECTIONS:
            turns = race(servers, rooms, script, connections)
            report.note(f"{connections} connections:")
            report.table(load.COLUMNS, load.rows(turns))
            for name in (ITSELF, ELECTED):
                times = load.ratio(turns[name], turns[ONE], "requests_per_s")
                report.figure(f"writes/s at {connections}: {name}, against 1 worker", f"{times:.2f}")
            times = load.ratio(turns[ITSELF], turns[ELECTED], "requests_per_s")
            report.figure(f"writes/s at {connections}: each itself against the elected one", f"{times:.2f}")
            times = load.ratio(turns[ITSELF], turns[ELECTED], "p99_ms")
            report.figure(f"p99 at {connections}: each itself against the elected one", f"{times:.2f}")


class ThroughElected(Server):
    """The product with the prototype."""

    def _spawn(self, command: Any, environment: Mapping[str, str], **pipes: int) -> Any:
        arguments = command[len(support._GROUPSPACES) :]
        return super()._spawn([sys.executable, "-m", __name__, *arguments], environment, **pipes)


# --- the prototype ---


def _install() -> None:
    """Send the writes of a worker that does not lead to the one that does."""
    write_itself = Standalone.write
    lead = Crew.lead
    led: list[Standalone] = []

    async def write(standalone: Standalone, batch: Batch) -> Written:
        crew = standalone._crew
        if crew.is_elected:
            led[:] = [standalone]
            return await write_itself(standalone, batch)
        seq, rows = await crew.ask("write", _encoded(batch), timeout_s=10)
        standalone.refresh()
        return Written(seq, [[tuple(row) for row in each] for each in rows])

    async def write_for(line: Line, payload: Any) -> Any:
        written = await write_itself(led[0], _decoded(payload))
        return written.seq, written.rows

    async def lead_and_write(crew: Crew, verbs: Mapping[str, Verb]) -> None:
        await lead(crew, {**verbs, "write": write_for})

    opened = Standalone.open

    async def open_it(standalone: Standalone) -> None:
        await opened(standalone)
        led[:] = [standalone]

    Standalone.write = write  # type: ignore[method-assign]
    Standalone.open = open_it  # type: ignore[method-assign]
    Crew.lead = lead_and_write  # type: ignore[method-assign]


def _encoded(batch: Batch) -> Any:
    """Errors stay here: what is measured succeeds."""
    return (
        [(s.sql, list(s.params), s.refused is not None) for s in batch.statements],
        [(s.sql, list(s.params)) for s in batch.requires],
    )


def _decoded(payload: Any) -> Batch:
    statements, requires = payload
    refused = Conflict("refused")
    return Batch(
        [Statement(sql, params, refused if guarded else None) for sql, params, guarded in statements],
        requires=[Statement(sql, params, refused) for sql, params in requires],
    )


if __name__ == "__main__":
    _install()
    sys.exit(main())
