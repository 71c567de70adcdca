"""The last look, when everything was mended: has the deployment healed, and is everything where it should be?

Owns waiting until all instances serve the primary's history, until everybody has heard what there was to hear, and the comparisons:
what each instance shows against what was promised and against each other, and each replica against its primary, row by row: by ourselves
(`sameness.py`), and by the product's own verification. What does not come within its time is a violation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from .fleet import Fleet
from .hearing import Hearing
from .instance import Instance as FleetInstance
from .people import Answer, Instance, Person, Stage
from .program import Failed, until
from .sameness import difference

_REPLICATION = "/api/ops/replication"
_HEAR_TIMEOUT_S = 90.0
_SAME_TIMEOUT_S = 90.0
_VERIFY_TIMEOUT_S = 300.0
_ANSWER_TIMEOUT_S = 120.0
_PAGE = 200
_OLD_COPIES = 2


class NotHealed(Failed):
    """Something did not come back by itself; the text says what."""


async def settle(stage: Stage, fleet: Fleet, owner: Person) -> None:
    """Wait until every instance takes traffic, stands where the primary does and has its history. Raises NotHealed."""
    era = -1
    while era != stage.model.era:
        # Cut once more meanwhile: then what was seen may have been the history in between.
        era = stage.model.era
        try:
            await fleet.settle()
            for instance in stage.instances:
                # A round asks the primary whether its history is ours: positions alone may be equal by chance.
                await _until_ok(owner, instance, "sync", "POST", f"{_REPLICATION}/sync", 200)
            await fleet.settle()
        except NotHealed:
            raise
        except Failed as error:
            raise NotHealed(str(error)) from None
    stage.model.settled()
    for instance in stage.instances:
        await _give_up_old_copies(owner, instance)


async def _give_up_old_copies(owner: Person, instance: Instance) -> None:
    """Do what operators are asked to do when a copy may hold what was lost: look, and let it go. Otherwise they fill any disk."""
    answer = await _until_ok(owner, instance, "kept", "GET", _REPLICATION, 200)
    generations = sorted(one["generation"] for one in answer.data["kept"])
    for generation in generations[:-_OLD_COPIES]:
        body = {"generation": generation}
        await _until_ok(owner, instance, "forget-old", "POST", f"{_REPLICATION}/forget-old", 200, body)


async def judge_the_end(stage: Stage, fleet: Fleet, owner: Person, hearings: Sequence[Hearing]) -> None:
    """Compare everything, once all have settled and nobody writes any more. Raises NotHealed."""
    await _everything_heard(stage, hearings)
    for space_id in (stage.garden_id, stage.park_id):
        views = {instance.id: await _all_messages(owner, instance, space_id) for instance in stage.instances}
        for name, messages in views.items():
            stage.checks.all_there(name, space_id, messages, stage.now_s())
        stage.checks.equal(space_id, views, stage.now_s())
    for one in fleet.instances.values():
        await _compare(stage, fleet, owner, one)
    for instance in stage.instances:
        await _verify(stage, owner, instance)


async def _everything_heard(stage: Stage, hearings: Sequence[Hearing]) -> None:
    spaces = (stage.garden_id, stage.park_id)
    last = max((seq for space_id in spaces for seq, _ in stage.model.events(space_id)), default=0)

    async def all_have() -> bool:
        return all(hearing.has_heard(last) for hearing in hearings)

    try:
        await until(all_have, _HEAR_TIMEOUT_S, f"everybody has heard everything up to position {last}")
    except Failed as error:
        stood = {hearing.name: hearing.position for hearing in hearings}
        stage.checks.violated("events_missing", f"{error}: {stood}", stage.now_s())
    for hearing in hearings:
        for space_id in spaces:
            hearing.find_gaps(space_id, stage.now_s())


async def _all_messages(owner: Person, instance: Instance, space_id: int) -> list[dict[str, Any]]:
    """Return all messages of a space, oldest first."""
    found: list[dict[str, Any]] = []
    path = f"/api/spaces/{space_id}/messages?limit={_PAGE}"
    before: int | None = None
    while True:
        page = path if before is None else f"{path}&before={before}"
        answer = await _until_ok(owner, instance, f"all of space {space_id}", "GET", page, 200)
        found = answer.data["items"] + found
        before = answer.data["next"]
        if before is None:
            return found


async def _compare(stage: Stage, fleet: Fleet, owner: Person, instance: FleetInstance) -> None:
    """Read a replica and the primary until they are the same: heartbeats come in between, a real difference stays."""
    found = "there is no replica"

    async def is_same() -> bool:
        nonlocal found
        await _until_ok(owner, instance, "sync", "POST", f"{_REPLICATION}/sync", 200)
        replica = instance.replica_file()
        found = found if replica is None else await difference(fleet.primary, replica)
        return not found

    try:
        await until(is_same, _SAME_TIMEOUT_S, f"the replica of {instance.id} is the primary")
    except NotHealed:
        raise
    except Failed as error:
        stage.checks.violated("replica_differs", f"{error}: {found}", stage.now_s())


async def _verify(stage: Stage, owner: Person, instance: Instance) -> None:
    """Have an instance compare its replica with the primary, and wait for what it finds."""
    begun = await _until_ok(owner, instance, "verify", "POST", f"{_REPLICATION}/verify", 202, {})
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal found
        answer = await _until_ok(owner, instance, "verified", "GET", _REPLICATION, 200)
        found = answer.data["verification"]
        return bool(found["at"] != begun.data["at"] or found["state"] != "running")

    try:
        await until(has_ended, _VERIFY_TIMEOUT_S, f"the verification of {instance.id} ends")
    except Failed as error:
        raise NotHealed(str(error)) from None
    if found["state"] != "equal":
        # Also one that was found before, and repaired by now: nothing that was done may lead there.
        stage.checks.violated(
            "replica_differs",
            f"{instance.id}: {found['state']} {found['differences'] or found['error'] or found['found']}",
            stage.now_s(),
        )


async def _until_ok(
    owner: Person, instance: Instance, subject: str, method: str, path: str, status: int, body: Any = None
) -> Answer:
    """Ask as the operator until the answer is the one that should come. Raises NotHealed."""
    give_up_s = owner.stage.now_s() + _ANSWER_TIMEOUT_S
    while True:
        answer = await owner.call("operate", subject, method, path, body, at=instance)
        if answer.status == status:
            return answer
        if owner.stage.now_s() > give_up_s:
            raise NotHealed(
                f"{instance.id} still answers {answer.status} to {method} {path}: {answer.text[:300]}"
            )
        if answer.status == 401 or answer.code == "CONFIRM_REQUIRED":
            await owner.sign_in()
        await asyncio.sleep(0.2)
