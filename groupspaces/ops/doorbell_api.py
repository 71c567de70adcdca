"""`POST /internal/doorbell`: another instance says that the primary has news.

Owns the order of refusals: too large (413), not signed by this deployment (401, and 429 for an address that keeps trying), not
readable (400, 422). What a good ring does is `db/doorbell.py`'s. For instances alone: no session has anything to do with it.
"""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from groupspaces.db.doorbell import MAX_RING_BYTES, PATH, Doorbell, Ring
from groupspaces.errors import Malformed, Unauthenticated
from groupspaces.signing import HEADER
from groupspaces.web.context import Context
from groupspaces.web.decoding import invalid, read_body
from groupspaces.web.dispatch import ANSWER_HEADERS
from groupspaces.web.operations import PUBLIC, operation
from groupspaces.web.proxies import limit_key

_HEADER = HEADER.lower().encode()
_decode = msgspec.json.Decoder(Ring).decode


@operation(
    "POST",
    PATH,
    access=PUBLIC,
    summary="Tell this instance that another one wrote (signed, between instances)",
    tag="instances",
    status=202,
    rate="free",
    raw=True,
    also=(204, 400, 401, 413, 415, 429),
    during_maintenance=True,
)
async def doorbell(ctx: Context) -> Response:
    """Answer 202 when a fetch follows, 204 when the ring says nothing new or the doorbell is off."""
    bell = ctx.part(Doorbell)
    body = await read_body(ctx.receive, ctx.headers_in, limit_bytes=MAX_RING_BYTES)
    if not bell.is_signed(body, ctx.headers_in.get(_HEADER, b"").decode("latin-1")):
        # Peers may ring as often as they have news; strangers are counted.
        anonymous = ("anonymous", limit_key(ctx.client_address))
        await ctx.services.limiter.spend(ctx.scope[ANSWER_HEADERS], anonymous)
        raise Unauthenticated("Only instances of this deployment may ring.", code="BAD_SIGNATURE")
    return Response(status_code=202 if bell.answer(_ring(body)) else 204)


def _ring(body: bytes) -> Ring:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("The body is not valid JSON.") from None


OPERATIONS = (doorbell,)
