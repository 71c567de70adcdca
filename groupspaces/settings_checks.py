"""The forms that values of settings take beyond type and range: addresses, networks, secrets.

Pure functions. A check returns the value in the form the rest of the application relies on (no trailing slash,
`https://` instead of `libsql://`), or raises ValueError with what is allowed, never with the value itself.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Callable, Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Any

import msgspec

SECRET_MIN_CHARS = 16

# What the deployment guide prints as examples is known to everybody.
GUIDE_EXAMPLES = ("your-secret-key-here", "your-nextauth-secret", "your-auth-token")

# A limit of one call (`web/limits.py`): the number has 7 digits at most, and what is counted is forgotten after a day.
_RATE_RULE = re.compile(
    r"(GET|POST|PUT|PATCH|DELETE) /\S* [1-9]\d{0,6}/(second|minute|hour|day) (user|address)"
)

WEB_SCHEMES = {"http": "http", "https": "https"}
# Hrana speaks over HTTP whatever the address says; libSQL's own scheme means TLS.
PRIMARY_SCHEMES = {"libsql": "https", "wss": "https", "https": "https", "ws": "http", "http": "http"}


def in_good_form(key: str, value: Any) -> Any:
    """Return `value` in the form that setting `key` has everywhere, or raise ValueError. An empty value stays empty."""
    if value in GUIDE_EXAMPLES:
        raise ValueError("must not be the example of the deployment guide; set a value of your own")
    check = CHECKS.get(key)
    return check(value) if check and value else value


def allowed_values(annotation: Any) -> str:
    """Say in words which values a type takes."""
    match msgspec.inspect.type_info(annotation):
        case msgspec.inspect.IntType(ge=low, le=high):
            return f"a whole number from {low} to {high}"
        case msgspec.inspect.FloatType(ge=low, le=high):
            return f"a number from {low} to {high}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in annotation.__args__)
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return f"text of the form {pattern}"
        case msgspec.inspect.StrType(min_length=low, max_length=high):
            return f"text of {low or 0} to {high} characters"
        case _:
            return "a list of texts (in the environment: separated by commas)"


def shown(key: str, value: Any) -> Any:
    """Return a refused value as a message may repeat it: an address without credentials, and no token in its place."""
    if not isinstance(value, str):
        return value
    if key.endswith("url") and "://" not in value:
        return "(no address)"
    return re.sub(r"\?.*", "?…", re.sub(r"//[^/?#]*@", "//…@", value))


def _web_origin(value: str) -> str:
    parts = _split(value, WEB_SCHEMES)
    if parts.path or parts.query or parts.fragment:
        raise ValueError("must be an address without a path, such as https://spaces.example.org")
    return parts.geturl()


def _web_url(value: str) -> str:
    return _split(value, WEB_SCHEMES).geturl()


def _primary_url(value: str) -> str:
    if value.startswith("file:"):
        raise ValueError("must be a server; leave it empty to keep everything in a local file")
    parts = _split(value, PRIMARY_SCHEMES)
    query = urllib.parse.parse_qs(parts.query)
    if "authToken" in query:
        raise ValueError("must not carry authToken; put it into the token setting beside it")
    if query == {"tls": ["0"]}:
        parts = parts._replace(scheme="http", query="")
    if parts.query or parts.fragment:
        raise ValueError("must have neither a query nor a fragment")
    return parts.geturl()


def _sentry_dsn(value: str) -> str:
    if not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/\S+", value):
        raise ValueError("must be a DSN such as https://<key>@<host>/<project>")
    return value


def _redis_url(value: str) -> str:
    if not re.match(r"(rediss?|unix)://", value):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return value


def _secret(value: str) -> str:
    if len(value) < SECRET_MIN_CHARS:
        raise ValueError(
            f"must have at least {SECRET_MIN_CHARS} characters; `openssl rand -hex 32` makes a good one"
        )
    return value


def _secrets(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_secret(secret) for secret in value)


def _sender(value: str) -> str:
    name, address = parseaddr(value)
    try:
        if not value.isprintable() or not all(address.rpartition("@")):
            raise ValueError(address)
        Address(name, addr_spec=address)
    except (ValueError, HeaderParseError):
        raise ValueError("must be an address such as Group Spaces <spaces@example.org>") from None
    return value


def _web_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_web_origin(origin) for origin in value)


def _rate_rules(value: tuple[str, ...]) -> tuple[str, ...]:
    for rule in value:
        if not _RATE_RULE.fullmatch(rule):
            raise ValueError(
                'must be rules such as "POST /api/spaces 10/hour user": method, path as in /api/docs, '
                "number/second, minute, hour or day, and user or address"
            )
    return value


def _analytics_id(value: str) -> str:
    # It becomes part of the page.
    if not re.fullmatch(r"[A-Z]{1,3}-[A-Z0-9-]{1,40}", value):
        raise ValueError("must be an id such as G-ABC123DEF4")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError("must be IP addresses or networks such as 10.0.0.0/8") from None
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "server.public_url": _web_origin,
    "server.trusted_proxies": _networks,
    "server.cors_origins": _web_origins,
    "instance.url": _web_origin,
    "primary.url": _primary_url,
    "replica.url": _primary_url,
    "auth.secret": _secret,
    "auth.previous_secrets": _secrets,
    "oauth.oidc_issuer": _web_url,
    "limits.redis_url": _redis_url,
    "limits.rules": _rate_rules,
    "mail.from": _sender,
    "files.s3_endpoint": _web_url,
    "alerts.slack_webhook_url": _web_url,
    "assets.base_url": _web_url,
    "analytics.google_id": _analytics_id,
    "sentry.dsn": _sentry_dsn,
}


def _split(value: str, schemes: Mapping[str, str]) -> urllib.parse.SplitResult:
    """Take an address apart, with the scheme translated, the host in lower case and no slash at the end."""
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    # urlsplit removes tabs and line ends silently; an address that had them was not meant.
    if not re.fullmatch(r"[!-~]+", value):
        raise ValueError("must be an address without spaces and special characters")
    try:
        parts = urllib.parse.urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("must be an address with a valid host and port") from None
    if parts.scheme not in schemes or not host:
        raise ValueError(f"must begin with {expected} and name a host")
    if "@" in parts.netloc:
        raise ValueError("must not carry a user name or password")
    return parts._replace(
        scheme=schemes[parts.scheme], netloc=parts.netloc.lower(), path=parts.path.rstrip("/")
    )
