"""What browsers are told they may do with an answer: the security headers, and which other sites' pages may read it (CORS).

Owns the values of these headers, and the answer to a preflight. Other sites' pages bring an API token: no answer ever allows
credentials, so a cookie is no use to them, and what they send with one is refused like before (`auth.SameOrigin`). Never decides who
is signed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.types import Scope

from groupspaces.settings import Settings

Headers = list[tuple[bytes, bytes]]

_TWO_YEARS_S = 63_072_000

# What the tag of Google Analytics 4 loads and sends (developers.google.com/tag-platform/security/guides/csp, 2026-11).
_ANALYTICS_SCRIPTS = "https://www.googletagmanager.com"
_ANALYTICS_CALLS = (
    "https://*.google-analytics.com https://*.analytics.google.com https://*.googletagmanager.com"
)
_ANALYTICS_IMAGES = "https://*.google-analytics.com https://*.googletagmanager.com"

_NOT_NEEDED = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"

_OPEN_TO_SITES = ("/api/", "/avatars/", "/files/")
_ASKED_FOR = b"access-control-request-method"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, gs-bookmark, gs-max-stale, gs-user, "
    b"last-event-id, x-request-id"
)
_EXPOSED_HEADERS = (
    b"ETag, GS-As-Of, GS-Bookmark, GS-Feed-Seq, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
)
_PREFLIGHT_LASTS_S = 600


def security_headers(settings: Settings) -> tuple[Headers, Headers]:
    """Return the headers of answers that no browser shows as a page, and those of pages and their parts."""
    common: Headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"SAMEORIGIN"),
        (b"referrer-policy", b"same-origin"),
        (b"x-dns-prefetch-control", b"off"),
    ]
    if settings.public_url.startswith("https://"):
        value = b"max-age=%d; includeSubDomains; preload" % _TWO_YEARS_S
        common.append((b"strict-transport-security", value))
    api = [
        *common,
        (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        (b"cross-origin-resource-policy", b"same-origin"),
    ]
    page = [
        *common,
        (b"content-security-policy", _page_policy(settings).encode()),
        (b"permissions-policy", _NOT_NEEDED.encode()),
        (b"cross-origin-opener-policy", b"same-origin"),
        # Through a CDN, our own parts come to our pages from another site.
        (b"cross-origin-resource-policy", b"cross-origin" if settings.assets.base_url else b"same-origin"),
    ]
    return api, page


def _page_policy(settings: Settings) -> str:
    ours = f"'self' {settings.assets.base_url}".strip()
    images = f"{ours} data: blob:"
    directives = [f"default-src {ours}"]
    if settings.analytics.google_id:
        directives += [f"script-src {ours} {_ANALYTICS_SCRIPTS}", f"connect-src {ours} {_ANALYTICS_CALLS}"]
        images += f" {_ANALYTICS_IMAGES}"
    directives += [
        f"img-src {images}",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    ]
    return "; ".join(directives)


class OtherSites:
    """Sites whose pages may call the API (CORS, as in the Fetch standard)."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Headers:
        """Return what an answer says to the page that asks; to others, only that the answer depends on it."""
        if not self._origins or not scope["path"].startswith(_OPEN_TO_SITES):
            return []
        origin = headers.get(b"origin")
        if origin not in self._origins:
            return [(b"vary", b"origin")]
        return [
            (b"vary", b"origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        ]

    def preflight(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Headers | None:
        """Return what a browser that asks beforehand is told besides `headers`; None for any other request."""
        if scope["method"] != "OPTIONS" or _ASKED_FOR not in headers:
            return None
        if headers.get(b"origin") not in self._origins or not scope["path"].startswith(_OPEN_TO_SITES):
            return None
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % _PREFLIGHT_LASTS_S),
        ]
