"""The parent's side of `errand_process`: run an errand, hear how far it is, and have it end with whoever asked.

Decides nothing about what is made of a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from groupspaces.db.replica_child import Child, ChildFailed
from groupspaces.errors import AppError, Unavailable
from groupspaces.ops.backups.manifest import ArchiveRefused
from groupspaces.ops.backups.progress import Progress

_T = TypeVar("_T")

STORAGE = "STORAGE_UNAVAILABLE"

_MODULE = "groupspaces.errand_process"
# Without progress; copying and checking a database are one step each, in which the process reads or writes all the time.
_TIMEOUT_S = 600.0


async def run(
    errand: str, order: msgspec.Struct, expected: type[_T], on_progress: Callable[[Progress], None]
) -> _T:
    """Run an errand to its end and return what came of it; cancelling kills it.

    Raises ArchiveRefused; Unavailable (`STORAGE_UNAVAILABLE`, `ERRAND_FAILED` when its process ended or did not get on); AppError.
    """
    try:
        child = await Child.run(_MODULE, {})
        try:
            answer = await child.order(
                "begin", timeout_s=_TIMEOUT_S, errand=errand, facts=msgspec.to_builtins(order)
            )
            while "progress" in answer:
                on_progress(msgspec.convert(answer["progress"], Progress))
                answer = await child.order("go on", timeout_s=_TIMEOUT_S)
        finally:
            await child.kill()
    except ChildFailed as failure:
        raise Unavailable(
            f"The process that does this has ended: {failure}. Try again.",
            code="ERRAND_FAILED",
            retry_after_s=5,
        ) from failure
    if "refused" in answer:
        raise _refused(**answer["refused"])
    return msgspec.convert(answer["result"], expected)


def _refused(code: str, detail: str) -> AppError:
    if code == STORAGE:
        return Unavailable(detail, code=code, retry_after_s=60)
    if code == "DATABASE_REFUSED":
        return AppError(detail, code=code)
    return ArchiveRefused(detail, code=code)
