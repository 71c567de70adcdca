"""What a command does that something stands in the way of: it asks again, and when it ends early its last word is for an operator.

Owns how long a command waits for a primary that is away, and that nothing ends it without a word about the state it leaves behind. Never
decides what is asked, nor what that state is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from groupspaces.errors import AppError, PrimaryRefused, SettingsError, Unavailable

from .batch import Row, Value
from .remote_primary import RemotePrimary

T = TypeVar("T")

# How long a primary may be away before a command stops, to be repeated later.
PATIENCE_S = 60.0
_RETRY_PAUSE_S = 0.5


class Patience:
    """What one command has with one primary; `place` names it to people, and `on_step` is told when waiting begins."""

    def __init__(
        self,
        primary: RemotePrimary,
        place: str,
        on_step: Callable[[str], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._primary = primary
        self._place = place
        self._on_step = on_step
        self.patience_s = patience_s

    async def ask(self, request: Callable[[], Awaitable[T]], *, patience_s: float | None = None) -> T:
        """Send a request until it is answered. What it asks for must do no harm when it is done twice: an unheard answer may have been yes.

        Raises Unavailable when the primary stays away, PrimaryRefused at once when it does not accept the token, and what `request` raises.
        """
        loop = asyncio.get_running_loop()
        patience_s = self.patience_s if patience_s is None else patience_s
        give_up_at_s = loop.time() + patience_s
        is_told = False
        while True:
            try:
                return await request()
            except Unavailable as error:
                why = self._why(error)
                if loop.time() + _RETRY_PAUSE_S > give_up_at_s:
                    raise Unavailable(f"{self._place} is away ({why}).") from error
            if not is_told:
                self._on_step(f"{self._place} is away ({why}): waiting up to {patience_s:.0f} s")
                is_told = True
            await asyncio.sleep(_RETRY_PAUSE_S)

    async def once(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request that nothing depends on yet. Raises Unavailable at once, besides what `ask` raises."""
        return await self.ask(request, patience_s=0)

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """Read, and raise, like `ask`."""
        return await self.ask(lambda: self._primary.read(sql, params))

    def _why(self, error: Unavailable) -> str:
        """Say what silence means to operators; what a web request would be told is of no use to them. Raises PrimaryRefused."""
        if self._primary.refused:
            raise PrimaryRefused(
                "The primary does not accept the token. Set TURSO_AUTH_TOKEN to one that may read and write."
            ) from error
        return (
            self._primary.last_error
            or "; ".join(getattr(error, "__notes__", ()))
            or "it did not answer in time"
        )


@asynccontextmanager
async def last_word(
    state: Callable[[BaseException], Awaitable[str]], on_step: Callable[[str], None]
) -> AsyncIterator[None]:
    """Have whatever ends this early say what `state` it leaves behind, which may first try to mend it.

    It ends the text of an error that is meant for people; for all others, and who interrupts, `on_step` is told.
    """
    try:
        yield
    except AppError as error:
        kind = Unavailable if isinstance(error, Unavailable) else AppError
        raise kind(f"{error.detail} {await state(error)}", code=error.code) from error
    except SettingsError as error:
        raise type(error)(f"{error} {await state(error)}") from error
    except BaseException as error:
        on_step(await state(error))
        raise
