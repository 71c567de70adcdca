"""Writing notes to a primary through `RemotePrimary`, and things that are not a primary at all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record_last
from groupspaces.db.remote_primary import RemotePrimary
from groupspaces.errors import Conflict, Forbidden
from tests.support.sqld import Sqld

TIMEOUT_S = 1.5
NO_NOTE = Forbidden("You may not write here.")

SCHEMA = """
CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE, CHECK (text <> 'forbidden')) STRICT;
CREATE TABLE thing (id INTEGER PRIMARY KEY, value ANY) STRICT;
"""


def new_note(text: str, *, allowed: bool = True) -> Batch:
    """What a feature writes: a guarded insert and its change row."""
    return Batch(
        [
            Statement(
                "INSERT INTO note (text) SELECT ? WHERE ? RETURNING id", [text, int(allowed)], refused=NO_NOTE
            ),
            record_last("note.created", actor_id=1, audience="nobody"),
        ],
        conflicts={"note.text": Conflict("That note exists.", code="NOTE_EXISTS")},
    )


def note_texts(sqld: Sqld) -> list[Any]:
    return [row[0] for row in sqld.execute("SELECT text FROM note ORDER BY id")]


@contextlib.asynccontextmanager
async def connected(url: str, token: str | None = None, **options: Any) -> AsyncIterator[RemotePrimary]:
    primary = RemotePrimary(url, token, **{"timeout_s": TIMEOUT_S} | options)
    await primary.start()
    try:
        yield primary
    finally:
        await primary.close()


@contextlib.contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Something that is not a primary: answers every POST with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            if body.startswith(b"\x1f\x8b"):
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
