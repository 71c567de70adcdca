"""The browser client: its files, and the page that every address of the client gets.

Owns `/static/<digest>/…` (all files in memory, each compressed when it is first asked for, cached by browsers for ever:
another content has another digest) and the shell, `index.html`, which names the current digest. Never touches the disk for a request, except in
development, where an edit shows at the next reload.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from groupspaces.settings import Settings

from .compression import MIN_BYTES, Compression
from .dispatch import HEADERS, PAGE, ROUTE
from .problems import MethodNotAllowed, nothing_here

# First segments of paths that are no pages of the client: unknown addresses below them are 404.
RESERVED = frozenset(("api", "auth", "avatars", "files", "internal", "metrics", "static"))

_PREFIX = "/static/"
_ALIASES = {"/favicon.ico": ("favicon.ico", "img/favicon.ico", "img/favicon.svg", "favicon.svg")}
_NEEDED = ("index.html", "vendor/preact.js")
_DIGEST_CHARS = 12
_GZIP_LEVEL = 6
# Larger ones are compressed off the loop (1 ms of work).
_INLINE_BYTES = 32_768
_IMMUTABLE = b"public, max-age=31536000, immutable"
_REVALIDATE = b"no-cache"

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_COMPRESSIBLE = frozenset((".css", ".html", ".ico", ".js", ".json", ".svg", ".txt", ".webmanifest"))

_log = logging.getLogger("groupspaces.web")

Headers = list[tuple[bytes, bytes]]


class File:
    """One file, ready to be sent."""

    __slots__ = ("_gzipped", "body", "etag", "is_compressible", "media_type")

    def __init__(self, name: str, body: bytes) -> None:
        suffix = Path(name).suffix.lower()
        self.body = body
        self.media_type = _MEDIA_TYPES.get(suffix, "application/octet-stream").encode()
        self.etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:24].encode()
        self.is_compressible = suffix in _COMPRESSIBLE and len(body) >= MIN_BYTES
        self._gzipped: bytes | None = None

    async def gzipped(self) -> bytes:
        """Return the body compressed, which is done once."""
        if self._gzipped is None:
            if len(self.body) <= _INLINE_BYTES:
                self._gzipped = _gzip(self.body)
            else:
                self._gzipped = await asyncio.to_thread(_gzip, self.body)
        return self._gzipped


class Client:
    """All files of the browser client, as of one moment."""

    def __init__(self, folder: Path, *, base_url: str = "", analytics_id: str = "") -> None:
        """Read every file of `folder` (about 50 ms). `base_url` names a CDN that serves `/static/` for us.

        With an `analytics_id` the page names it and loads what tells Google of visits.
        """
        contents = {name: path.read_bytes() for name, path in _files(folder)}
        self.digest = _digest(contents)
        self.files = {name: File(name, body) for name, body in contents.items()}
        self.shell = self._shell(contents.get("index.html"), base_url.rstrip("/"), analytics_id)
        self.missing = [name for name in _NEEDED if name not in contents]

    def _shell(self, index: bytes | None, base_url: str, analytics_id: str) -> File:
        page = index or _MISSING_PAGE
        if analytics_id:
            page = page.replace(b"</head>", _ANALYTICS % analytics_id.encode() + b"</head>", 1)
        return File("index.html", page.replace(b"/static/", f"{base_url}/static/{self.digest}/".encode()))


class ClientRoute(BaseRoute):
    """Serve the client: files below `/static/`, the shell everywhere else."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Read the files, and say in the log when the client is not complete."""
        self._folder = folder
        self._base_url = settings.assets.base_url
        self._analytics_id = settings.analytics.google_id
        self._follows_edits = settings.server.environment == "development"
        self._client = self._read()
        self._stamp = _stamp(folder) if self._follows_edits else ()
        if self._client.missing:
            _log.error(
                "the browser client is not complete: run `make assets`, or install a released wheel",
                extra={"fields": {"folder": str(folder), "missing": self._client.missing}},
            )

    @property
    def digest(self) -> str:
        """Name the current version of the client."""
        return self._client.digest

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, the shell, 304, 404 or 405."""
        path: str = scope["path"]
        file, cache_control, route = self._found(path)
        scope[ROUTE] = route
        if file is None:
            raise nothing_here()
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD")
        scope[PAGE] = True
        await _send_file(file, self._headers(path, file, cache_control), scope, send)

    def _headers(self, path: str, file: File, cache_control: bytes) -> Headers:
        headers: Headers = [(b"etag", file.etag), (b"cache-control", cache_control)]
        if file.is_compressible:
            headers.append((b"vary", b"accept-encoding"))
        if self._base_url and path.startswith(_PREFIX):
            # What a CDN passes on: browsers take modules and fonts of another site only with its leave.
            headers.append((b"access-control-allow-origin", b"*"))
        return headers

    def _found(self, path: str) -> tuple[File | None, bytes, str]:
        if path.startswith(_PREFIX):
            return (*self._static(path[len(_PREFIX) :]), "/static/{file}")
        if path in _ALIASES:
            files = self._client.files
            return next((files[name] for name in _ALIASES[path] if name in files), None), _REVALIDATE, path
        if path.split("/", 2)[1] in RESERVED:
            return None, b"", "unmatched"
        if self._follows_edits:
            self._reload_if_edited()
        return self._client.shell, _REVALIDATE, "page"

    def _static(self, name: str) -> tuple[File | None, bytes]:
        """Find a file; one asked for under another version's digest is the current one and not to be kept."""
        digest, _, rest = name.partition("/")
        if digest == self._client.digest:
            return self._client.files.get(rest), _IMMUTABLE
        files = self._client.files
        return files.get(name) or (files.get(rest) if _is_digest(digest) else None), _REVALIDATE

    def _read(self) -> Client:
        return Client(self._folder, base_url=self._base_url, analytics_id=self._analytics_id)

    def _reload_if_edited(self) -> None:
        stamp = _stamp(self._folder)
        if stamp != self._stamp:
            self._client = self._read()
            self._stamp = stamp


async def _send_file(file: File, headers: Headers, scope: Scope, send: Send) -> None:
    if _has_etag(scope[HEADERS], file.etag):
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body"})
        return
    body = file.body
    if file.is_compressible and Compression.accepted(scope[HEADERS]):
        body = await file.gzipped()
        headers.append((b"content-encoding", b"gzip"))
    headers += ((b"content-type", file.media_type), (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)


def _has_etag(headers: Mapping[bytes, bytes], etag: bytes) -> bool:
    wanted = headers.get(b"if-none-match", b"")
    return any(tag.strip().removeprefix(b"W/") in (etag, b"*") for tag in wanted.split(b","))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name every file below `folder` in a fixed order; hidden ones and links that lead out are left alone."""
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            leads_out = path.is_symlink() and not path.resolve().is_relative_to(root)
            if not name.startswith(".") and not leads_out and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _digest(contents: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, body in contents.items():
        digest.update(f"{name}\0{len(body)}\0".encode())
        digest.update(body)
    return digest.hexdigest()[:_DIGEST_CHARS]


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST_CHARS and all(character in "0123456789abcdef" for character in text)


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Tell one state of the folder from another by times and sizes (1 ms for 100 files)."""
    return tuple((name, (stat := path.stat()).st_mtime_ns, stat.st_size) for name, path in _files(folder))


_ANALYTICS = b"""<meta name="google-analytics" content="%s">
<script type="module" src="/static/analytics.js"></script>
"""

_MISSING_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Group Spaces</title>
<h1>The browser client is missing</h1><p>Run <code>make assets</code>, or install a released wheel, then restart.</p>
<p>The API works: see <a href="/api/docs">its documentation</a>.</p></html>"""
