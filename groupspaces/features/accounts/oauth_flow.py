"""What is remembered while somebody is away at a provider: in a cookie of theirs, sealed, for ten minutes.

Owns the cookie `gs_oauth`. The answer of a provider counts only in the browser that began (its `state` is in here), so that nobody can
be signed in to somebody else's account by a link. Nothing is kept at an instance: another one may take the answer.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Literal

import msgspec

from groupspaces.clock import Clock
from groupspaces.features.accounts.providers import Started
from groupspaces.keys import KeyRing, Undecryptable
from groupspaces.web.cookies import cookie_name

COOKIE = "gs_oauth"
_PURPOSE = "sign-in elsewhere"
_LASTS_S = 600
_NEXT_MAX_CHARS = 500

FlowPurpose = Literal["sign-in", "link"]


class Flow(msgspec.Struct, frozen=True):
    """One visit to a provider. `session_id` is whose account is to be linked, None when somebody signs in."""

    provider: str
    started: Started
    purpose: FlowPurpose
    next: str
    invite: str | None
    session_id: int | None
    expires_at_ms: int = 0


class Flows:
    """Seal and open the cookie."""

    def __init__(self, keys: KeyRing, clock: Clock, *, secure: bool) -> None:
        self._keys = keys
        self._clock = clock
        self.cookie = cookie_name(COOKIE, secure=secure)
        self._attributes = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    def begin(self, flow: Flow) -> tuple[bytes, bytes]:
        """Return the `Set-Cookie` header that remembers a visit."""
        lasting = msgspec.structs.replace(flow, expires_at_ms=self._clock.now_ms() + _LASTS_S * 1000)
        sealed = self._keys.encrypt(_PURPOSE, msgspec.json.encode(lasting), flow.provider.encode())
        value = base64.urlsafe_b64encode(sealed).decode()
        return b"set-cookie", f"{self.cookie}={value}; Max-Age={_LASTS_S}{self._attributes}".encode()

    def end(self) -> tuple[bytes, bytes]:
        """Return the `Set-Cookie` header that forgets it."""
        return b"set-cookie", f"{self.cookie}=; Max-Age=0{self._attributes}".encode()

    def open(self, cookie: str | None, provider: str, state: str) -> Flow | None:
        """Return the visit from which somebody comes back, None unless it began in this browser and has not run out."""
        try:
            sealed = base64.urlsafe_b64decode(cookie or "")
            text, _ = self._keys.decrypt(_PURPOSE, sealed, provider.encode())
            flow = msgspec.json.decode(text, type=Flow)
        except (binascii.Error, ValueError, Undecryptable, msgspec.DecodeError):
            return None
        if flow.expires_at_ms <= self._clock.now_ms() or flow.provider != provider:
            return None
        return flow if hmac.compare_digest(flow.started.state.encode(), state.encode()) else None


def own_path(path: str | None) -> str:
    """Return a path of our own client, "/" for anything that a browser could take for another place."""
    if path is None or len(path) > _NEXT_MAX_CHARS or not path.isprintable() or "\\" in path:
        return "/"
    return path if path.startswith("/") and not path.startswith("//") else "/"
