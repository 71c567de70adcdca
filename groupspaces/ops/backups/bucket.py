"""Archives in object storage: one bucket that speaks S3, by `obstore`.

Owns the names of objects, deadlines, and in whose words failures are told. What is sent appears under its name whole or not at all: the
library sends large files in parts, which the server puts together in the end. What is fetched is checked by whoever opens it. Secrets
never get into a message: what the library says is cut to its kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupspaces.errors import AppError, NotFound, Unavailable
from groupspaces.settings import Backup

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

_CHUNK_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
# Without a part sent or received; each is some seconds on a slow line.
_REQUEST_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 10
_RETRY_TIMEOUT_S = 30


class Bucket:
    """The bucket that settings name."""

    def __init__(self, settings: Backup) -> None:
        self._settings = settings
        self._opened: S3Store | None = None

    @property
    def is_set(self) -> bool:
        """Tell whether there is one."""
        return bool(self._settings.s3_bucket)

    async def put(self, path: Path) -> None:
        """Send a file under its name. Raises Unavailable (`STORE_UNAVAILABLE`) and AppError (`STORE_REFUSED`)."""
        import obstore

        store = await self._store()
        with _told(self._settings):
            await obstore.put_async(store, path.name, path, chunk_size=_CHUNK_BYTES, max_concurrency=2)
            size_bytes = (await obstore.head_async(store, path.name))["size"]
        if size_bytes != await asyncio.to_thread(lambda: path.stat().st_size):
            raise Unavailable(
                f"{path.name} did not arrive whole.", code="STORE_UNAVAILABLE", retry_after_s=60
            )

    @asynccontextmanager
    async def file(self, name: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Have an object as it comes. Raises NotFound, Unavailable, also when it breaks off while it is read, and AppError."""
        import obstore

        store = await self._store()
        with _told(self._settings):
            found = await obstore.get_async(store, name)
            yield _pieces(found)

    async def delete(self, name: str) -> None:
        """Remove an object; one that is gone is no error. Raises Unavailable and AppError."""
        import obstore

        store = await self._store()
        try:
            with _told(self._settings):
                await obstore.delete_async(store, name)
        except NotFound:
            return

    async def _store(self) -> S3Store:
        if self._opened is None:
            self._opened = await asyncio.to_thread(_open, self._settings)
        return self._opened


def _open(settings: Backup) -> S3Store:
    # Importing the library takes 60 ms, which only those need who have a bucket.
    from obstore.store import S3Store

    options: dict[str, Any] = {"region": settings.s3_region or "us-east-1"}
    if settings.s3_endpoint:
        options |= {"endpoint": settings.s3_endpoint, "virtual_hosted_style_request": False}
    if settings.s3_access_key:
        options |= {"access_key_id": settings.s3_access_key, "secret_access_key": settings.s3_secret_key}
    return S3Store(
        settings.s3_bucket,
        prefix=settings.s3_prefix.strip("/") or None,
        client_options={
            "allow_http": settings.s3_endpoint.startswith("http://"),
            "timeout": timedelta(seconds=_REQUEST_TIMEOUT_S),
            "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
        },
        retry_config={
            "max_retries": 4,
            "retry_timeout": timedelta(seconds=_RETRY_TIMEOUT_S),
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
        **options,
    )


class _told:  # noqa: N801  (a context, used like a function)
    """Tell what the library raises as what it means to an operator."""

    def __init__(self, settings: Backup) -> None:
        self._where = f"the bucket {settings.s3_bucket}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        from obstore import exceptions

        if error is None or not isinstance(error, exceptions.BaseError):
            return
        if isinstance(error, exceptions.NotFoundError):
            raise NotFound(f"There is no such archive in {self._where}, or no such bucket.") from None
        if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
            raise AppError(
                f"{self._where} refuses us: look at backup.s3_access_key, its secret, and what it may do there.",
                code="STORE_REFUSED",
            ) from None
        raise Unavailable(
            f"{self._where} does not answer, or the connection broke ({type(error).__name__}).",
            code="STORE_UNAVAILABLE",
            retry_after_s=60,
        ) from None


async def _pieces(found: GetResult) -> AsyncIterator[bytes]:
    async for piece in found.stream(min_chunk_size=_PIECE_BYTES):
        yield bytes(piece)
