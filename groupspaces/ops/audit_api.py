"""The calls of `/api/ops/audit*`: reading the audit record, taking it away as a file, and checking its seals."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from groupspaces.errors import Unavailable
from groupspaces.ops import audit, audit_export
from groupspaces.ops.audit import Entry, Filter
from groupspaces.ops.audit_export import Format
from groupspaces.ops.audit_seals import AuditSeals, Verdict
from groupspaces.times import rfc3339
from groupspaces.web.context import Context
from groupspaces.web.decoding import MAX_ID
from groupspaces.web.downloads import Download
from groupspaces.web.operations import OPERATOR, operation

TAG = "operations"

# A file to keep, whatever its form; its name says which.
_FILE = "application/octet-stream"

Moment = Annotated[datetime, Meta(tz=True)]
Word = Annotated[str, Meta(min_length=1, max_length=200)]


class FilterQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which entries: `since` belongs to what is wanted, `until` does not."""

    action: Word | None = None
    actor_id: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None
    subject: Word | None = None
    since: Moment | None = None
    until: Moment | None = None

    def wanted(self) -> Filter:
        """Return the same for `audit.page`."""
        return Filter(self.action, self.actor_id, self.subject, _ms(self.since), _ms(self.until))


class AuditQuery(FilterQuery, forbid_unknown_fields=True, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=MAX_ID)] | None = None


class ExportQuery(FilterQuery, forbid_unknown_fields=True, frozen=True):
    format: Format = "csv"


class AuditList(msgspec.Struct, frozen=True):
    """`next` is the cursor of the page after this one."""

    items: list[Entry]
    next: int | None


@operation(
    "GET",
    "/api/ops/audit",
    access=OPERATOR,
    summary="Who did what to whom, newest first",
    tag=TAG,
    query=AuditQuery,
    returns=AuditList,
)
async def get_audit(ctx: Context, query: AuditQuery) -> AuditList:
    """Answer one page."""
    before_id = query.cursor or MAX_ID
    found = await audit.page(ctx.services.db, query.wanted(), before_id=before_id, limit=query.limit + 1)
    items = found[: query.limit]
    return AuditList(items, items[-1].id if len(found) > query.limit else None)


@operation(
    "GET",
    "/api/ops/audit/export",
    access=OPERATOR,
    summary="Take the audit record away as a file, newest first",
    tag=TAG,
    query=ExportQuery,
    returns=str,
    media_type=_FILE,
)
async def get_audit_export(ctx: Context, query: ExportQuery) -> Response:
    """Stream what fits the filter, in pages: CSV, or a JSON object a line."""
    found = audit.pages(ctx.services.db, query.wanted(), before_id=MAX_ID)
    name = f"audit-{rfc3339(ctx.now_ms)[:10]}.{query.format}"
    return await Download.of(name, _FILE, _file(query.format, found))


@operation(
    "GET",
    "/api/ops/audit/verify",
    access=OPERATOR,
    summary="Check whether anybody changed the audit record",
    tag=TAG,
    returns=Verdict,
)
async def get_audit_verify(ctx: Context) -> Verdict:
    """Compare every entry with the seals on them, as the primary has them now where it can be reached."""
    with suppress(Unavailable):
        await ctx.services.db.sync(force=True)
    return await ctx.part(AuditSeals).verify()


async def _file(form: Format, pages: AsyncIterator[list[Entry]]) -> AsyncGenerator[bytes]:
    lines = audit_export.body(form)
    first: list[Entry] = await anext(pages, [])
    yield audit_export.head(form) + lines(first)
    async for entries in pages:
        yield lines(entries)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


OPERATIONS = (get_audit, get_audit_export, get_audit_verify)
