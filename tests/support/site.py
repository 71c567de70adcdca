"""A small web application on a real database: the web layer with a few operations of its own.

Callers speak to it in this process (`Site.client`) or, for streams, over a socket (`Site.serve`). People are rows of the
real tables; their sessions are found by a query of its own, so that no feature is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.routing import BaseRoute

from groupspaces.clock import SystemClock
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import NOW_MS, audience_user, record, record_last
from groupspaces.db.database import Database
from groupspaces.errors import Unauthenticated
from groupspaces.keys import KeyRing
from groupspaces.live import Hub
from groupspaces.settings import Settings, load
from groupspaces.web.activity import Activity
from groupspaces.web.application import application
from groupspaces.web.bookmarks import Bookmarks
from groupspaces.web.context import Principal, Services
from groupspaces.web.cookies import SESSION_COOKIE, SessionCookies, hash_token, new_token
from groupspaces.web.devices import DeviceCookies
from groupspaces.web.guesses import Guesses
from groupspaces.web.http_protocol import BoundedHead
from groupspaces.web.limits import Limiter
from groupspaces.web.operations import Operation
from groupspaces.web.principal import Credential
from groupspaces.web.proxies import TrustedProxies
from groupspaces.web.traffic import Traffic

SECRET = "a secret that only tests know, long enough"
ORIGIN = "http://testserver"

_PRINCIPAL_SQL = """
SELECT user.id, session.id, user.name, user.username, user.is_operator, session.expires_at_ms
FROM session JOIN user ON user.id = session.user_id WHERE """
_MEMBERS_SQL = "SELECT user_id FROM member WHERE space_id = ?"


FOREVER_MS = 2**62


class _Credentials:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def session(self, token_hash: bytes) -> Principal | None:
        return await self._found(_PRINCIPAL_SQL + "session.token_hash = ?", token_hash)

    async def api_token(self, token_hash: bytes) -> Principal | None:
        return None

    async def again(self, credential: Credential) -> Principal | None:
        return await self._found(_PRINCIPAL_SQL + "session.id = ?", credential[1])

    async def _found(self, sql: str, key: bytes | int) -> Principal | None:
        row: Any = await self._db.read_one(sql, (key,))
        if row is None:
            return None
        user_id, session_id, name, username, is_operator, expires_at_ms = row
        return Principal(
            user_id, session_id, name, username, bool(is_operator), True, expires_at_ms, FOREVER_MS
        )

    def standing(self, principal: Principal, *, confirmed: bool) -> list[Statement]:
        query = "SELECT 1 FROM session WHERE id = ?"
        return [Statement(query, (principal.session_id,), refused=Unauthenticated("This session has ended."))]


class Site:
    """One application in this process."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self.db = db
        self.settings = settings
        self.traffic = Traffic()
        self.parts: dict[type[Any], Any] = {}
        self.hub = Hub(db, members=self._members)
        self.keys = KeyRing(SECRET)
        self.cookies = SessionCookies(self.keys, secure=False)
        self.limiter = Limiter(settings.limits, SystemClock())
        self.parts[DeviceCookies] = DeviceCookies(self.keys, secure=False)
        self.parts[Guesses] = Guesses(self.limiter, self.keys, self.parts[DeviceCookies])
        self.services = Services(
            settings=settings,
            clock=SystemClock(),
            db=db,
            hub=self.hub,
            credentials=_Credentials(db),
            cookies=self.cookies,
            bookmarks=Bookmarks(db, max_stale_s=settings.auth.max_stale_s),
            limiter=self.limiter,
            proxies=TrustedProxies(settings.server.trusted_proxies, settings.server.forwarded_header),
            activity=Activity(),
            parts=self.parts,
        )
        self.asgi: Any = None

    def mount(self, operations: Iterable[Operation], routes: Iterable[BaseRoute] = ()) -> Site:
        """Serve these operations and routes."""
        self.asgi = application(self.services, operations, routes, self.traffic)
        return self

    async def sign_in(self, name: str = "ada") -> Mapping[str, str]:
        """Make a person with a session and return the header that carries it."""
        token = new_token()
        user = Statement(
            "INSERT INTO user (email, name, username, password_hash, is_operator, created_at_ms) "
            f"VALUES (?, ?, ?, '', 0, {NOW_MS})",
            (f"{name}@example.org", name.title(), name),
        )
        session = Statement(
            "INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms) "
            f"VALUES (?, last_insert_rowid(), '', {NOW_MS}, {NOW_MS} + 86400000) RETURNING user_id",
            (hash_token(token),),
        )
        created = record_last("session.created", actor_id=None, audience="nobody")
        written = await self.db.write(Batch([user, session, created]))
        value = self.cookies.issue(token, written.seq, 3600)[1].decode().partition(";")[0].partition("=")[2]
        return {"cookie": f"{SESSION_COOKIE}={value}"}

    async def user_id(self, name: str = "ada") -> int:
        """Return the id of somebody who was signed in."""
        return int(str((await self.db.read("SELECT id FROM user WHERE username = ?", (name,)))[0][0]))

    async def end_session(self, name: str = "ada") -> None:
        """End a person's session, as signing out does."""
        user_id = await self.user_id(name)
        rows = await self.db.read("SELECT id FROM session WHERE user_id = ?", (user_id,))
        session_id = int(str(rows[0][0]))
        await self.db.write(
            Batch(
                [
                    Statement("DELETE FROM session WHERE id = ?", (session_id,)),
                    record(
                        "session.ended",
                        actor_id=user_id,
                        audience=audience_user(user_id),
                        subject_id=session_id,
                    ),
                ]
            )
        )

    def client(self, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
        """Return a client that calls the application without a socket."""
        transport = httpx2.ASGITransport(app=self.asgi, raise_app_exceptions=False)
        return httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free port and yield its URL."""
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self.asgi,
            http=BoundedHead,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=2,
        )
        server = _EmbeddedServer(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            self.hub.drain()
            server.should_exit = True
            await task

    async def _members(self, space_id: int) -> set[int]:
        return {int(str(row[0])) for row in await self.db.read(_MEMBERS_SQL, (space_id,))}


class _EmbeddedServer(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


@contextlib.asynccontextmanager
async def open_site(folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Site]:
    """Open a database in `folder` and a site on it; nothing is mounted yet."""
    overrides = {"data.dir": str(folder / "data"), "server.public_url": ORIGIN} | dict(settings or {})
    loaded = load({}, config_path=None, overrides=overrides)
    db = Database(loaded, SystemClock())
    await db.open()
    site = Site(db, loaded)
    try:
        yield site
    finally:
        await site.hub.close()
        await db.close()
