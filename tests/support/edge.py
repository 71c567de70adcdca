"""Two instances of one primary that fetch nothing by themselves, and whatever an operation's call needs at `b`.

`Edge` keeps both running. Its `scene` makes, on `a`, what the paths of the operations name, and somebody who may call one of them;
the same person at `b` is `actor.there`. What a person may do is told by the operation's access, never listed a second time.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2

from groupspaces.clock import SystemClock
from groupspaces.features.accounts.links import Links
from groupspaces.web.operations import Operation
from tests.features.cast import PICTURE
from tests.features.stage import BODIES, key_of
from tests.support.backups import unfit_archive
from tests.support.client import PASSWORD, Participant, expect
from tests.support.fleet import SECRET, replica_settings
from tests.support.latency_proxy import LatencyProxy, Mode
from tests.support.process import Process
from tests.support.server import Server, Setting
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

# Nothing is fetched unless a request needs it.
STILL: dict[str, Setting] = {
    "replica.interval_s": 3600,
    "replica.idle_interval_s": 3600,
    "replica.doorbell": False,
    "instance.heartbeat_s": 3600,
    "instance.idle_heartbeat_s": 3600,
    # What jobs write of backups is fetched, and tells of everything else as well.
    "jobs.backup_proof": "off",
    "jobs.backup_offsite": "off",
    "jobs.backup_retention": "off",
    "jobs.restore_cleanup": "off",
}

# Who calls an operation that only asks for a session, or that its access alone does not tell.
# Nothing can be shown of these without an authenticator in hand: tests/features/test_second_factor.py and test_passkeys.py have one,
# and let an instance that is behind be told by the primary.
WITH_AN_AUTHENTICATOR = {
    "PUT /api/auth/totp",
    "DELETE /api/auth/totp",
    "POST /api/auth/recovery-codes",
    "POST /api/auth/passkeys",
    "POST /api/auth/passkeys/sign-in",
}

ACTING = {
    # These end sessions or change how somebody signs in: a person of their own each time.
    "POST /api/auth/confirm": "newcomer",
    "PUT /api/auth/password": "newcomer",
    "POST /api/auth/password/reset": "newcomer",
    "PUT /api/auth/email": "newcomer",
    "POST /api/auth/email/verify": "newcomer",
    "DELETE /api/auth/sessions": "newcomer",
    "DELETE /api/users/me": "newcomer",
    "POST /api/spaces/{space_id}/join": "outsider",
    "POST /api/invites/{code}/accept": "outsider",
    "DELETE /api/spaces/{space_id}/members/{user_id}": "admin",
}
_PEOPLE = ("founder", "owner", "admin", "member", "target", "outsider")

# Everything but what instances tell each other of themselves, which is no product of anybody's call.
_DIGESTS_SQL = """
SELECT name, sha3_query('SELECT * FROM "' || name || '"') FROM sqlite_schema
WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'libsql_%' AND name NOT IN ('instance', 'lease', 'audit_seal')
ORDER BY name"""
_PASSKEY_SQL = """
INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)
VALUES (?, randomblob(16), x'', 0, 'Key', 0) RETURNING id"""
_LINKED_SQL = """
INSERT INTO linked_account (user_id, provider, subject, created_at_ms)
VALUES (?, 'oidc', hex(randomblob(8)), 0) RETURNING id"""
_TOLD_SQL = """
INSERT INTO change (token, at_ms, actor_id, space_id, audience, kind, subject_id, data)
VALUES (hex(randomblob(8)), unixepoch() * 1000, NULL, NULL, 'nobody', ?, ?, '{}')"""

_BACKUP_SQL = """
INSERT INTO backup (id, instance_id, reason, status, created_at_ms, duration_ms, file, size_bytes, sha256, is_encrypted, seq, epoch,
  schema_version, proof)
VALUES (?, 'b', 'by hand', 'done', 1, 1, ?, 10, '', 0, 1, 1, 1, '{"ok": true, "at_ms": 9999999999999, "rto_ms": 1, "instance_id": "b"}')"""

_backups = itertools.count(1)
_jitters = (number / 1000 for number in itertools.cycle(range(1, 500)) if number != 100)  # the one by default
_addresses = (f"newcomer{number}@example.org" for number in itertools.count(1))


@dataclass(frozen=True)
class Actor:
    """One person with one session, at `a` and at `b`."""

    here: Participant
    there: Participant
    session_id: int


@dataclass(frozen=True)
class Scene:
    """What the paths of operations name, made a moment ago by `founder` and others."""

    actor: Actor
    founder: Participant
    target_id: int
    params: Mapping[str, Any]

    def path(self, operation: Operation) -> str:
        """Return the address of a call about this scene."""
        return operation.path.format(**self.params)


class Edge:
    """A primary with `a`, which everybody uses, and `b`, whose writes and syncs go through wires of their own."""

    def __init__(self, folder: Path, **settings: Setting) -> None:
        self._stack = ExitStack()
        self.primary = self._stack.enter_context(Sqld(folder / "primary")).start()
        self.to_write = self._stack.enter_context(LatencyProxy(folder / "to-write", self.primary.port))
        self.to_sync = self._stack.enter_context(LatencyProxy(folder / "to-sync", self.primary.port))
        self.of_a = self._stack.enter_context(LatencyProxy(folder / "of-a", self.primary.port))
        given = {name.replace("__", "."): value for name, value in settings.items()}
        common = replica_settings(self.of_a.url) | STILL | given
        of_b = {"primary.url": self.to_write.url, "replica.url": self.to_sync.url}
        self.a = self._stack.enter_context(Server(folder / "a", common))
        self.b = self._stack.enter_context(Server(folder / "b", common | of_b))
        for server in (self.a, self.b):
            server.settings |= {"instance.id": server.folder.name, "instance.url": server.url}
        self.scenes: dict[str, Scene] = {}  # for tests that share some
        self._people: dict[str, Participant] = {}
        self._visitors: list[Participant] = []

    @property
    def processes(self) -> list[Process]:
        """All of them, for the report of a failure."""
        return [self.primary, *self.wires, self.a, self.b]

    @property
    def wires(self) -> tuple[LatencyProxy, ...]:
        """All ways to the primary."""
        return self.of_a, self.to_write, self.to_sync

    async def open(self) -> Self:
        """Start everything. The first account is the operator's, the others are nobody special."""
        for wire in self.wires:
            wire.start()
        self.a.start("--migrate")
        self.b.start()
        for name in ("operator", *_PEOPLE):
            self._people[name] = await Participant(self.a.url).sign_up(name.title())
            if name == "operator":
                # The first one to come makes `b` fetch, beside whatever they ask for: over by the time the others are here.
                await self.bring_b_up(await self.actor(name))
        return self

    async def close(self) -> None:
        """Leave nothing running."""
        for person in (*self._people.values(), *self._visitors):
            await person.close()
        self._stack.close()

    # --- people and what they call ---

    async def actor(self, name: str) -> Actor:
        """Sign somebody in once more, at `a`. Every newcomer is another."""
        if name == "newcomer":
            self._people[name] = await Participant(self.a.url).sign_up()
            self._visitors.append(self._people[name])
        here = Participant(self.a.url)
        self._visitors.append(here)
        body = {"email": self._people[name].email, "password": PASSWORD}
        session = expect(await here.post("/api/auth/sign-in", body), 200)["session"]
        here.id, here.email = self._people[name].id, body["email"]
        return Actor(here, here.at(self.b.url), session["id"])

    async def scene(self, operation: Operation, actor: Actor | None = None) -> Scene:
        """Make everything that this call needs, at `a`; the actor has a session of their own unless one is given."""
        name = acting(operation)
        if operation.path.startswith("/api/ops/"):
            await self._settle()
        actor = actor or await self.actor(name)
        founder, target = self._people["founder"], await self._target(operation)
        space_id = await founder.space(visibility="public")
        await self._joins(target, space_id)
        author = founder
        if name in ("owner", "admin", "member"):
            author = actor.here
            await self._joins(author, space_id)
            await self._gets(author, space_id, name)
        message = await author.message(space_id, "hello")
        return Scene(
            actor,
            founder,
            target.id,
            {
                "space_id": space_id,
                "message_id": message["id"],
                "user_id": target.id,
                "code": await founder.invite(space_id),
                "session_id": (actor if name == "newcomer" else await self.actor(name)).session_id,
                "job_id": "watch",
            }
            | {"backup_id": self._backup()}
            | await self._belongings(operation, actor, target),
        )

    async def _settle(self) -> None:
        """Undo what calls of operators leave behind, and wait until `b` is done with its backups."""
        self.primary.execute("DELETE FROM maintenance", [])
        self.primary.execute(_TOLD_SQL, ["maintenance.ended", None])
        operator = await self.actor("operator")  # the first session of theirs may have ended with a test
        await self.bring_b_up(operator)

        async def is_idle() -> bool:
            works = expect(await operator.there.get("/api/ops/backups"), 200)["works"]
            return not any(work["state"] == "running" for work in works)

        await wait_until(is_idle, 30.0, "no backup is made or proved")
        expect(await operator.there.delete("/api/ops/drain"), 200)

    async def _target(self, operation: Operation) -> Participant:
        """Return who is acted upon: somebody new where they may be gone afterwards."""
        if not operation.path.startswith("/api/ops/users/"):
            return self._people["target"]
        self._visitors.append(await Participant(self.a.url).sign_up())
        return self._visitors[-1]

    async def _belongings(self, operation: Operation, actor: Actor, target: Participant) -> dict[str, Any]:
        """Make what the path names of one person alone."""
        names = set(operation.parameter_names)
        made: dict[str, Any] = {}
        if operation.path.endswith("{user_id}/delete"):
            made["username"] = expect(await target.get("/api/users/me"), 200)["username"]
        if "token_id" in names:
            body = {"name": "Robot", "scopes": ["read"]}
            made["token_id"] = expect(await actor.here.post("/api/tokens", body), 201)["id"]
        if "passkey_id" in names:
            made["passkey_id"] = self._insert(_PASSKEY_SQL, actor.here.id)
        if "linked_id" in names:
            made["linked_id"] = self._insert(_LINKED_SQL, actor.here.id)
        if "name" in names:
            self.decree("UPDATE user SET avatar = 'picture' WHERE id = ?", target.id)
            self.decree("INSERT OR REPLACE INTO avatar VALUES (?, 'image/webp', x'00')", target.id)
            made["name"] = "picture"
        return made

    def _backup(self) -> str:
        """Record a backup of `b`, with a file in the place of its archive; return its id."""
        backup_id = f"20200101T000000Z-{next(_backups):06x}"
        name = f"groupspaces-{backup_id}.tar.zst"
        folder = Path(self.b.data_folder) / "backups"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(unfit_archive())
        self.primary.execute(_BACKUP_SQL, [backup_id, name])
        self.primary.execute(_TOLD_SQL, ["backup.kept", None])
        return backup_id

    async def _is_whole(self, operator: Participant) -> None:
        """Wait until an instance that was told to fetch a new copy has it: nothing can be verified before."""

        async def serves_one() -> bool:
            if (await operator.get("/api/health")).json()["status"] != "healthy":
                return True  # without a primary nothing is fetched, and the call is refused for that
            answer = await operator.get("/api/ops/replication")
            return answer.status_code != 200 or answer.json()["rebuilding"] is None

        await wait_until(serves_one, 30.0, f"{operator.url} has its new copy")

    def _insert(self, sql: str, user_id: int) -> int:
        made_id = int(str(self.primary.execute(sql, [user_id])[0][0]))
        self.primary.execute(_TOLD_SQL, ["user.decreed", user_id])
        return made_id

    async def call(
        self, operation: Operation, scene: Scene, person: Participant | None = None, query: str = ""
    ) -> httpx2.Response:
        """Call an operation as the scene's actor, at `b` unless it is said who else, or where."""
        person = person or scene.actor.there
        path = scene.path(operation) + query
        if operation.path == "/api/ops/replication/verify":
            await self._is_whole(person)
        if operation.takes:
            files = {"file": ("picture.png", PICTURE, "image/png")}
            return await person.http.request(operation.method, path, files=files)
        return await person.http.request(operation.method, path, json=_body(operation, scene))

    async def _joins(self, person: Participant, space_id: int) -> None:
        expect(await person.post(f"/api/spaces/{space_id}/join"), 200)

    async def _gets(self, person: Participant, space_id: int, role: str) -> None:
        if role != "member":
            path = f"/api/spaces/{space_id}/members/{person.id}"
            expect(await self._people["founder"].patch(path, {"role": role}), 200)

    @contextmanager
    def away(self, mode: Mode = "reset") -> Iterator[None]:
        """Take the primary away from both instances."""
        for wire in self.wires:
            wire.set_mode(mode)
        try:
            yield
        finally:
            for wire in self.wires:
                wire.set_mode("pass")
                wire.drop_connections()

    # --- the truth, and what b knows of it ---

    def digests(self) -> dict[Any, Any]:
        """Return a digest of each table at the primary."""
        rows = self.primary.execute(_DIGESTS_SQL)
        return {row[0]: row[1] for row in rows}

    def head(self) -> int:
        """Return the primary's feed position."""
        return int(str(self.primary.execute("SELECT max(seq) FROM change")[0][0]))

    def decree(self, sql: str, user_id: int) -> None:
        """Change a row at the primary about a person, and say so in the feed."""
        self.primary.execute(sql, [user_id])
        self.primary.execute(_TOLD_SQL, ["user.decreed", user_id])

    async def seq_at_b(self) -> int:
        """Return the position that `b` has."""
        health = expect(await self._people["outsider"].at(self.b.url).get("/api/health"), 200)
        return int(health["replica"]["feed_seq"])

    async def bring_up(self, actor: Actor) -> None:
        """Let both fetch everything, the actor's session included."""
        expect(await actor.here.get("/api/users/me", gs_bookmark=str(self.head())), 200)
        await self.bring_b_up(actor)

    async def bring_b_up(self, actor: Actor) -> int:
        """Let `b` fetch everything, the actor's session included, and return its position."""
        answer = await actor.there.get("/api/users/me", gs_bookmark=str(self.head()))
        expect(answer, 200)
        return int(answer.headers["gs-feed-seq"])

    async def back(self) -> None:
        """Wait until both instances, which had lost the primary, can write and fetch again. Writes a row of the feed."""
        anyone = self._people["outsider"]
        self.primary.execute(_TOLD_SQL, ["test.began_again", None])

        async def fetches(person: Participant) -> bool:
            if (await person.get("/api/health")).json()["status"] != "healthy":
                return False
            return (await person.get("/api/users/me", gs_bookmark=str(self.head()))).status_code == 200

        for person in (anyone, anyone.at(self.b.url)):
            await wait_until(functools.partial(fetches, person), 30.0, f"{person.url} can fetch again")


def acting(operation: Operation) -> str:
    """Name who calls an operation: the least that its access lets in."""
    access = operation.access.name
    if key_of(operation) in ACTING:
        return ACTING[key_of(operation)]
    return access.removesuffix(" of the space") if access.endswith(" of the space") else _LEAST[access]


def _body(operation: Operation, scene: Scene) -> Any:
    if operation.body is None:
        return None
    key = key_of(operation)
    links, person = Links([SECRET], "", SystemClock()), scene.actor.here
    return BODIES[key] | {
        "POST /api/auth/confirm": {"password": PASSWORD},
        "PUT /api/auth/password": {"current": PASSWORD},
        "POST /api/auth/password/reset": {"token": links.make("reset", person.id, 1).token},
        "PUT /api/auth/email": {"email": next(_addresses)},
        "DELETE /api/users/me": {"password": PASSWORD},
        "POST /api/auth/email/verify": {
            "token": links.make("verify", person.id, 1, email=person.email).token
        },
        "POST /api/auth/sign-up": {"email": next(_addresses), "invite": scene.params["code"]},
        "POST /api/auth/sign-in": {"email": scene.actor.here.email},
        "PUT /api/spaces/{space_id}/read": {"message_id": scene.params["message_id"]},
        "POST /api/ops/backups/{backup_id}/restore": {"confirm": scene.params["backup_id"]},
        "POST /api/ops/users": {"email": next(_addresses)},
        "POST /api/ops/users/{user_id}/delete": {"confirm": scene.params.get("username", "")},
        # A tuning that changes nothing is refused.
        "PATCH /api/ops/replication": {"jitter": next(_jitters)},
    }.get(key, {})


_LEAST = {
    "public": "outsider",
    "signed in": "member",
    "signed in, in person": "member",
    "signed in, confirmed lately": "member",
    "shares a space": "member",
    "operator": "operator",
    "holders of the metrics token, or local processes": "outsider",
}
