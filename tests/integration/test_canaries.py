"""Nothing secret comes out: every secret is a canary, and every output is searched for it.

A deployment is configured with a canary in each secret setting, and driven through what people, programs, attackers and operators do,
with real failures on the way (a primary without a table, one that is gone, mail and Redis and a provider that do not answer). Logs are
at debug level. What is answered to whom a secret belongs is the one place where it may be.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest

from groupspaces.ops.backups import opening
from groupspaces.settings import known_settings
from tests.conftest import StartServer
from tests.support.backups import PATH, ended, folder_of, made, proved
from tests.support.client import PASSWORD, Participant, expect
from tests.support.server import Server
from tests.support.sqld import Sqld

pytestmark = pytest.mark.sqld

NOWHERE = "127.0.0.1:9"  # the port of "discard": nobody listens there


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("config", "show"),
    ("config", "show", "--json"),
    ("config", "check"),
    ("migrate", "status"),
    ("replica", "status"),
    ("secret", "status"),
    ("secret", "rotate"),
    ("audit", "list"),
    ("audit", "export", "--format", "jsonl"),
    ("audit", "verify"),
    ("user", "list"),
)


def canary(name: str) -> str:
    """Return a text that occurs nowhere else, as long as a secret has to be."""
    return f"canary{name.replace('.', '').replace('_', '')}{secrets.token_hex(12)}"


@dataclass
class Cage:
    """The canaries, by name, and everything that was said to somebody whom they do not belong to."""

    secret: dict[str, str] = field(default_factory=dict)
    personal: dict[str, str] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)

    def bird(self, name: str) -> str:
        """Make a canary that only its owner may see."""
        self.secret[name] = canary(name)
        return self.secret[name]

    def keep(self, name: str, value: str) -> str:
        """Take a secret that the product made for a canary."""
        assert len(value) >= 10, name
        self.secret[name] = value
        return value

    def hear(self, where: str, text: str | bytes) -> None:
        said = text if isinstance(text, str) else text.decode("utf-8", "replace")
        self.heard[where] = self.heard.get(where, "") + said

    def escaped(self) -> list[tuple[str, str]]:
        return [
            (name, where)
            for where, said in self.heard.items()
            for name, bird in self.secret.items()
            if bird in said
        ]


@pytest.fixture
def cage() -> Cage:
    return Cage()


@pytest.fixture
def server(cage: Cage, guarded_sqld: Sqld, start_server: StartServer) -> Server:
    """An instance with a canary in every secret setting."""
    given: dict[str, Any] = {
        "primary.url": guarded_sqld.url,
        "primary.token": cage.keep("primary.token", guarded_sqld.key.mint("rw", expires_in_s=3_600)),
        "replica.token": cage.keep("replica.token", guarded_sqld.key.mint("rw", expires_in_s=3_601)),
        "auth.previous_secrets": f"{cage.bird('previous 1')},{cage.bird('previous 2')}",
        "limits.redis_url": f"redis://:{cage.bird('limits.redis_url')}@{NOWHERE}/0",
        "sentry.dsn": f"http://{cage.bird('sentry.dsn')}@{NOWHERE}/1",
        "alerts.slack_webhook_url": f"http://{NOWHERE}/services/{cage.bird('alerts.slack_webhook_url')}",
        "mail.host": "127.0.0.1",
        "mail.port": 9,
        "mail.user": "postman",
        "mail.from": "spaces@example.org",
        "oauth.oidc_issuer": f"http://{NOWHERE}/realm",
        "oauth.oidc_client_id": "spaces",
        "oauth.google_client_id": "spaces",
        "oauth.github_client_id": "spaces",
        "log.level": "debug",
        "log.access": "all",
        "log.slow_query_ms": 0.1,
        "limits.auth_per_min": 1000,
        "replica.interval_s": 0.3,
        "replica.idle_interval_s": 0.3,
    }
    for known in known_settings():
        if known.secret and known.key not in given:
            given[known.key] = cage.bird(known.key)
    return start_server(given, arguments=("--migrate",))


class Passer:
    """Somebody whose every refusal is heard: it must not repeat what they tried."""

    def __init__(self, cage: Cage, person: Participant) -> None:
        self._cage = cage
        self.http = person.http

    async def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        answer = await self.http.request(method, path, **options)
        if answer.status_code >= 400:
            self._cage.hear("refusals", answer.text + repr(answer.headers))
        return answer


async def test_no_canary_gets_out(cage: Cage, server: Server, guarded_sqld: Sqld) -> None:
    async with Participant(server.url) as operator, Participant(server.url) as ann:
        await _live(cage, operator, ann)
        await _try_in_vain(cage, ann)
        await _command(cage, server, *COMMANDS, ("user", "show", ann.email), ("token", "list", ann.email))
        await _operate(cage, server, operator)
        await _back_up(cage, server, operator)
        await _break(cage, server, guarded_sqld, ann)
        await _operate(cage, server, operator)
    await asyncio.to_thread(server.stop)
    await _command(cage, server, ("audit", "list"), ("user", "sign-in-link", ann.email))
    cage.hear("log", server.log_path.read_bytes())
    _hear_files(cage, server.data_folder)

    assert _has_said_much(cage)
    assert cage.escaped() == []
    of_people = [
        (name, where)
        for where in ("log", "metrics", "health", "ops.db")
        for name, bird in cage.personal.items()
        if bird in cage.heard[where]
    ]
    assert of_people == []


async def test_a_canary_that_gets_out_is_heard(cage: Cage) -> None:
    bird = cage.bird("auth.secret")
    cage.hear("log", f'{{"message":"x{bird}"}}')
    assert cage.escaped() == [("auth.secret", "log")]


async def _back_up(cage: Cage, server: Server, operator: Participant) -> None:
    """What an archive says in plain, and what is said of backups."""
    asking = Passer(cage, operator)
    backup = await made(operator)
    await proved(operator, backup["id"])
    archive = folder_of(server) / backup["file"]
    assert backup["encrypted"], "with a canary"
    passphrase = cage.secret["backup.passphrase"]
    with tempfile.TemporaryDirectory() as place:
        for _ in opening.unpack(archive, Path(place), passphrase):
            pass
        cage.hear("settings in a backup", (Path(place) / "parts" / "settings.toml").read_text())
        manifest = opening.manifest_of(archive, Path(place), passphrase)
        cage.hear("manifest", manifest.encoded())
    for path in ("", f"/{backup['id']}", f"/{backup['id']}/plan", f"/{backup['id']}/spaces"):
        answer = await operator.get(f"{PATH}{path}")
        cage.hear("backups", answer.text)
    await asking.ask(
        "POST", f"{PATH}/{backup['id']}/restore", json={"confirm": cage.bird("wrong confirmation")}
    )
    archive.write_bytes(archive.read_bytes()[:-2000])
    await operator.post(f"{PATH}/{backup['id']}/prove")
    await ended(operator, "proof")
    cage.hear("backups", (await operator.get(PATH)).text)
    await _command(
        cage, server, ("backup", "list"), ("backup", "show", backup["id"]), ("maintenance", "status")
    )


# --- what people do ---


async def _live(cage: Cage, operator: Participant, ann: Participant) -> None:
    await operator.sign_up("Olga", password=cage.bird("operator's password"))
    password = cage.bird("password")
    # What operators may see, and no log, monitor or ticket: whom a deployment is for.
    cage.personal["space"] = canary("space")
    cage.personal["e-mail"] = f"{canary('email')}@example.org"
    body = {"email": cage.personal["e-mail"], "password": password, "name": "Ann"}
    signed_up = expect(await ann.post("/api/auth/sign-up", body), 201)
    ann.id, ann.email = signed_up["user"]["id"], body["email"]
    cage.keep("cookie", str(ann.http.cookies["gs_session"]).strip('"'))

    enrolled = expect(await ann.post("/api/auth/totp"), 201)
    cage.keep("TOTP secret", enrolled["secret"])
    code = pyotp.TOTP(enrolled["secret"]).now()
    recovery = expect(await ann.put("/api/auth/totp", {"code": code}), 200)["recovery_codes"]
    cage.keep("recovery code", recovery[0])
    cage.keep("unused recovery code", recovery[1])
    expect(await ann.get("/api/auth/session"), 200)  # waits until this instance has what was just written
    new = cage.bird("new password")
    assert (await ann.put("/api/auth/password", {"current": password, "new": new})).status_code == 204
    cage.keep("rotated cookie", str(ann.http.cookies["gs_session"]).strip('"'))
    async with Participant(ann.url) as again:
        credentials = {"email": ann.email, "password": new, "totp": recovery[0]}
        expect(await again.post("/api/auth/sign-in", credentials), 200)
    token = expect(await ann.post("/api/tokens", {"name": "Robot", "scopes": ["read", "write"]}), 201)
    cage.keep("API token", token["token"])

    space = expect(await ann.post("/api/spaces", {"name": cage.personal["space"]}), 201)
    messages = f"/api/spaces/{space['id']}/messages"
    said = expect(await ann.post(messages, {"content": cage.bird("message")}), 201)
    async with httpx2.AsyncClient(base_url=ann.url, trust_env=False) as robot:
        headers = {"Authorization": f"Bearer {token['token']}"}
        content = {"content": cage.bird("message of a robot")}
        expect(await robot.post(messages, json=content, headers=headers), 201)
    await ann.patch(f"/api/messages/{said['id']}", {"content": cage.bird("edited message")})
    invite = expect(await ann.post(f"/api/spaces/{space['id']}/invites", {}), 201)
    cage.keep("invite", invite["code"])
    await operator.post(f"/api/invites/{invite['code']}/accept")
    await ann.delete(f"/api/spaces/{space['id']}/members/{operator.id}")
    await ann.delete(f"/api/spaces/{space['id']}")
    # A mail server that is not there: the link in the mail is in no log either.
    assert (await ann.post("/api/auth/password/forgot", {"email": ann.email})).status_code == 202
    await ann.http.get("/auth/oidc/start", follow_redirects=False)


async def _try_in_vain(cage: Cage, ann: Participant) -> None:
    """Every way of being refused, with a secret in it."""
    stranger = Passer(cage, Participant(ann.url))
    wrong = cage.bird("wrong password")
    for body in (
        {"email": ann.email, "password": wrong},
        {"email": "nobody@example.org", "password": wrong},
        {"email": ann.email, "password": wrong, "totp": cage.bird("wrong code")},
        {"email": ann.email, "password": wrong, canary("unknown field"): 1},
        {"email": ann.email, "password": [wrong]},
        {"link": cage.bird("made up link")},
        {"email": wrong, "password": wrong * 300},
    ):
        assert (await stranger.ask("POST", "/api/auth/sign-in", json=body)).status_code >= 400
    malformed = f'{{"password": "{wrong}'.encode()
    headers = {"content-type": "application/json"}
    await stranger.ask("POST", "/api/auth/sign-in", content=malformed, headers=headers)
    for path in ("password/reset", "email/verify"):
        body = {"token": cage.bird(f"made up token for {path}"), "password": wrong}
        await stranger.ask("POST", f"/api/auth/{path}", json=body)
    short = cage.bird("password in a reset")[:4]
    await stranger.ask("POST", "/api/auth/password/reset", json={"token": "x", "password": short})
    for headers in (
        {"Authorization": f"Bearer gs_{cage.bird('made up API token')}"},
        {"Authorization": f"Basic {cage.bird('basic credentials')}"},
        {"Cookie": f"gs_session={cage.bird('made up cookie')}"},
        {"Idempotency-Key": f"{cage.bird('idempotency key')} with blanks"},
        {"GS-Bookmark": cage.bird("bookmark")},
    ):
        await stranger.ask("GET", "/api/users/me", headers=headers)
        await stranger.ask("POST", "/api/spaces", json={"name": "x"}, headers=headers)
    await stranger.ask("GET", f"/api/invites/{cage.bird('made up invite')}")
    await stranger.ask("GET", f"/api/{cage.bird('path')}")
    await stranger.ask("GET", f"/api/spaces?token={cage.bird('query')}")
    await stranger.ask("GET", f"/metrics?token={cage.bird('token of metrics in a query')}")
    await stranger.ask(
        "GET", "/metrics", headers={"Authorization": f"Bearer {cage.bird('wrong metrics token')}"}
    )
    await stranger.ask(
        "GET", f"/auth/oidc/callback?code={cage.bird('provider code')}&state={cage.bird('state')}"
    )
    ring = {"GS-Signature": cage.bird("made up signature")}
    await stranger.ask("POST", "/internal/doorbell", content=b"{}", headers=ring)
    await stranger.http.aclose()

    owner = Passer(cage, ann)
    long = f"{cage.bird('message that is too long')} " * 1_000
    await owner.ask("POST", "/api/spaces", json={"name": long})
    await owner.ask("PUT", "/api/auth/password", json={"current": wrong, "new": PASSWORD})
    await owner.ask("POST", "/api/auth/confirm", json={"password": wrong})
    await owner.ask("PUT", "/api/auth/totp", json={"code": wrong})
    await owner.ask("GET", "/api/ops/audit")


async def _break(cage: Cage, server: Server, primary: Sqld, ann: Participant) -> None:
    """Faults of ours, then a primary that does not answer."""
    owner = Passer(cage, ann)
    space = expect(await ann.post("/api/spaces", {"name": "Reading"}), 201)
    await asyncio.to_thread(
        primary.execute, "ALTER TABLE mention RENAME TO mention_gone", token=primary.token
    )
    await asyncio.to_thread(primary.execute, "ALTER TABLE invite RENAME TO invite_gone", token=primary.token)
    path = f"/api/spaces/{space['id']}"
    content = {"content": f"@all {cage.bird('message that was lost')}"}
    answers = [
        await owner.ask("POST", f"{path}/messages", json=content),
        await owner.ask("POST", f"{path}/invites", json={"email": f"{cage.bird('invited')}@example.org"}),
    ]
    assert 500 in [answer.status_code for answer in answers]
    await asyncio.to_thread(primary.kill)
    for _ in range(2):
        body = {"content": cage.bird("message without a primary")}
        assert (await owner.ask("POST", f"{path}/messages", json=body)).status_code in (500, 503)
    wrong = {"email": ann.email, "password": cage.bird("password without a primary")}
    await owner.ask("POST", "/api/auth/sign-in", json=wrong)


# --- what is heard ---


async def _operate(cage: Cage, server: Server, operator: Participant) -> None:
    """Everything that operators and monitors see."""
    for path in ("", "/live", "/ready"):
        answer = await operator.http.get(f"/api/health{path}")
        cage.hear("health", answer.text + repr(answer.headers))
    metrics = {"Authorization": f"Bearer {cage.secret['metrics.token']}"}
    answer = await operator.http.get("/metrics", headers=metrics)
    assert answer.status_code == 200
    cage.hear("metrics", answer.text)
    document = expect(await operator.get("/api/openapi.json"), 200)
    for path, verbs in document["paths"].items():
        if path.startswith("/api/ops/") and "get" in verbs:
            asked = path.format(user_id=operator.id, job_id="audit_seal", backup_id="x")
            answer = await operator.http.get(asked)
            cage.hear(f"GET {path}", answer.text)


async def _command(cage: Cage, server: Server, *commands: tuple[str, ...]) -> None:
    for arguments in commands:
        ended = await asyncio.to_thread(server.command, *arguments)
        cage.hear(f"groupspaces {' '.join(arguments[:2])}", ended.stdout + ended.stderr)


def _hear_files(cage: Cage, folder: Path) -> None:
    """What an operator copies into a ticket: the history this instance keeps of itself."""
    for path in sorted(folder.glob("ops.db*")):
        cage.hear("ops.db", path.read_bytes())


def _has_said_much(cage: Cage) -> bool:
    """Tell whether the outputs are there at all: silence would hide every canary."""
    for where in (
        "log",
        "metrics",
        "health",
        "refusals",
        "ops.db",
        "groupspaces config show",
        "GET /api/ops/audit",
    ):
        assert len(cage.heard.get(where, "")) > 100, where
    assert "Traceback" in cage.heard["log"]
    assert "slow query" in cage.heard["log"]
    return len(cage.secret) > 40
