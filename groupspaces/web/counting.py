"""What one call counts for: whose budget, which rules, whose guesses.

Owns the step from an operation and its caller to the keys that `limits.py` and `guesses.py` count under. Calls through the socket of the
data folder count for nobody. Never decides how much is too much.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Scope

from .context import LOCAL_OPERATOR, Services
from .guesses import Guesses
from .limits import Headers, Limiter
from .operations import Operation
from .principal import Principal
from .proxies import TrustedProxies, limit_key


class Counting:
    """Count calls before they are answered."""

    def __init__(self, services: Services) -> None:
        self._limiter: Limiter = services.limiter
        self._guesses: Guesses | None = services.parts.get(Guesses)
        self._proxies: TrustedProxies = services.proxies

    def caller(self, principal: Principal | None, scope: Scope) -> str:
        """Name who asks: the person, or the address of one who is not signed in."""
        return self.address_key(scope) if principal is None else f"person/{principal.user_id}"

    def address_key(self, scope: Scope) -> str:
        """Return what the caller's address is counted under."""
        return limit_key(self._proxies.client_address(scope))

    async def spend(
        self,
        operation: Operation,
        principal: Principal | None,
        scope: Scope,
        headers_out: Headers,
        headers_in: dict[bytes, bytes],
        arguments: Sequence[Any] = (),
    ) -> None:
        """Count the call for the person or the address, and by the operator's rules. Raises TooMany."""
        if not self._limiter.enabled or LOCAL_OPERATOR in scope:
            return
        rules = self._limiter.rules_of(operation.method, operation.path)
        is_by_address = principal is None or bool(rules) or operation.rate == "mail"
        address = self.address_key(scope) if is_by_address else ""
        counted: list[tuple[str, int | str]] = []
        if operation.rate != "free":
            counted.append(_budget(operation, principal, address))
        if operation.rate == "mail":
            account, _ = self._account_of(principal, arguments, headers_in)
            counted += (("mail-account", account or address), ("mail-address", address))
        for rule in rules:
            person = f"person/{principal.user_id}" if principal is not None and rule.key == "user" else None
            counted.append((rule.name, person or address))
        await self._limiter.spend(headers_out, *counted)

    async def spend_as_stranger(self, scope: Scope, headers_out: Headers) -> None:
        """Count a call whose sender is not who it says. Raises TooMany."""
        await self._limiter.spend(headers_out, ("anonymous", self.address_key(scope)))

    @asynccontextmanager
    async def attempt(
        self,
        principal: Principal | None,
        scope: Scope,
        headers_out: Headers,
        headers_in: dict[bytes, bytes],
        arguments: Sequence[Any],
    ) -> AsyncIterator[None]:
        """Surround a call by which a secret could be guessed: it is let through only so often. Raises TooMany."""
        if self._guesses is None or LOCAL_OPERATOR in scope:
            yield
            return
        account, is_known = self._account_of(principal, arguments, headers_in)
        address = self.address_key(scope)
        async with self._guesses.attempt(headers_out, address, account, is_known_device=is_known):
            yield

    def _account_of(
        self, principal: Principal | None, arguments: Sequence[Any], headers_in: dict[bytes, bytes]
    ) -> tuple[str | None, bool]:
        """Return what an account is counted under, and whether this browser is known to it.

        That is the e-mail in the body, else the session: strangers cannot use up what its holder may try.
        """
        email = getattr(arguments[0], "email", None) if arguments else None
        if isinstance(email, str) and self._guesses is not None:
            return self._guesses.account_key(email, headers_in.get(b"cookie", b""))
        return (None if principal is None else f"session/{principal.credential_id}"), False


def _budget(operation: Operation, principal: Principal | None, address: str) -> tuple[str, int | str]:
    """Return under which policy and key a call is counted in any case."""
    if principal is None:
        return "anonymous", address
    return operation.rate if operation.rate in ("read", "upload") else "write", principal.user_id
