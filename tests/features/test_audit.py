"""What operators did, page by page; and calls between instances that come too often to be remembered."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets

import httpx2
import pytest

from groupspaces.keys import KeyRing
from groupspaces.signing import Signer
from groupspaces.web import forward
from tests.features.world import Person, World, problem


async def test_what_operators_did_is_read_page_by_page(world: World) -> None:
    operator = await world.person("Olga")
    for _ in range(5):
        for paused in (True, False):
            answer = await operator.patch("/api/ops/jobs/retention", {"paused": paused})
            assert answer.status_code == 200, answer.text

    seen, cursor = [], ""
    while cursor is not None:
        page = (await operator.get(f"/api/ops/audit?action=job.changed&limit=3{cursor}")).json()
        assert 1 <= len(page["items"]) <= 3
        seen += page["items"]
        cursor = None if page["next"] is None else f"&cursor={page['next']}"

    assert [entry["id"] for entry in seen] == sorted({entry["id"] for entry in seen}, reverse=True)
    assert len(seen) == 10
    assert [entry["data"]["paused"] for entry in seen] == [False, True] * 5
    [instance] = (await operator.get("/api/ops/instances")).json()["items"]
    for entry in seen:
        assert entry["actor"] == {"id": operator.id, "name": "Olga"}
        assert (entry["instance"], entry["action"], entry["subject"]) == (
            instance["id"],
            "job.changed",
            "retention",
        )


async def test_a_standalone_server_is_a_fleet_of_one_that_leads(world: World) -> None:
    operator = await world.person()
    [instance] = (await operator.get("/api/ops/instances")).json()["items"]
    assert (instance["mode"], instance["role"], instance["state"], instance["is_self"]) == (
        "standalone",
        "leader",
        "live",
        True,
    )
    assert await world.rows("SELECT * FROM instance") == []
    answer = await operator.get(f"/api/ops/instances?instance={instance['id']}")
    assert answer.status_code == 200
    problem(await operator.get("/api/ops/instances?instance=other"), 404, "INSTANCE_UNKNOWN")


async def test_a_call_is_refused_the_second_time_also_when_its_memory_was_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "_MAX_NONCES", 3)
    operator = await world.person()
    [[session_id]] = await world.rows("SELECT id FROM session")
    own_id = (await operator.get("/api/ops/instances")).json()["items"][0]["id"]
    signer = Signer(KeyRing(world.app.settings.auth.secret))
    stranger = await world.stranger()

    def signed(door: str) -> dict[str, str]:
        envelope = {
            "sender": "other",
            "to": own_id,
            "door": door,
            "nonce": secrets.token_hex(12),
            "user_id": operator.id,
            "session_id": session_id,
            "local_operator": False,
            "headers": {},
        }
        sealed = base64.urlsafe_b64encode(json.dumps(envelope).encode()).decode()
        message = "\n".join(("GET", "/api/ops/jobs", "", sealed, hashlib.sha256(b"").hexdigest()))
        return {"GS-Forwarded": sealed, "GS-Signature": signer.sign("forward", message.encode())}

    async def door() -> str:
        refusal = problem(await _call(stranger, signed("")), 409, "INSTANCE_RESTARTED")
        return str(refusal["current"]["door"])

    first_door = await door()
    calls = [signed(first_door) for _ in range(4)]
    for call in calls:
        assert (await _call(stranger, call)).status_code == 200
    assert await door() != first_door
    for call in calls:
        problem(await _call(stranger, call), 409, "INSTANCE_RESTARTED")
    assert (await _call(stranger, signed(await door()))).status_code == 200


async def _call(person: Person, headers: dict[str, str]) -> httpx2.Response:
    return await person.get("/api/ops/jobs", headers=headers)
