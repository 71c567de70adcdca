"""What a lost primary may have had that one replica has not, as far as anybody can still tell.

Owns who is asked: the other instances that the replica knows of, the primary itself (it may not be lost), this instance while it runs, and
the other copies on its disk. Positions are compared, never contents, and only within one epoch: those of another say nothing of what is
missing here. But no number that was heard of is given out again, whoever gave it out. What no one has seen, nobody can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from groupspaces.errors import Unavailable

from . import lineage
from .hrana import PrimaryError
from .lineage import Elsewhere, Holding
from .peers import Peer, PeerClient, PeerSilent
from .remote_primary import RemotePrimary

ASK_TIMEOUT_S = 2.0
_MAX_ANSWER_BYTES = 64 * 1024
_INSTANCES = 200
INSTANCES_SQL = f"SELECT id, boot, url FROM instance WHERE id <> ? ORDER BY id LIMIT {_INSTANCES}"


class Witness(msgspec.Struct, frozen=True):
    """Somebody who may have more: another instance, the primary, or another copy kept here.

    `seq` is None for who did not answer, `why` then says so; `primary_seq` is what the primary is known there to have had. `follows` is
    true for an instance that reaches a primary of this family, `is_apart` for one whose positions are those of another epoch (`epoch`,
    None when unknown) or of another copy that was promoted to the same one.
    """

    name: str
    where: str
    seq: int | None
    primary_seq: int = 0
    why: str = ""
    follows: bool = False
    epoch: int | None = None
    is_apart: bool = False

    @property
    def known_seq(self) -> int:
        """The highest position that is known there to have been given out; 0 for none."""
        return max(self.seq or 0, self.primary_seq)


class Losses(msgspec.Struct, frozen=True):
    """What is known: our own position, what this instance heard of the primary (while it runs), and what the others said."""

    holding: Holding
    heard: Witness | None
    instances: tuple[Witness, ...]
    primary: Witness | None
    kept: tuple[Witness, ...]

    @property
    def furthest(self) -> Witness | None:
        """The one that has the most, when that is more than we have; rather one that can be promoted than the primary."""
        others = (*self.instances, *self.kept, self.primary)
        ahead = [one for one in others if one and not one.is_apart and (one.seq or 0) > self.holding.seq]
        return max(ahead, key=lambda one: one.seq or 0, default=None)

    @property
    def lost(self) -> int:
        """How many positions of our epoch are known to have been given out beyond ours."""
        return self._beyond([one for one in self._all() if not one.is_apart])

    @property
    def elsewhere(self) -> Elsewhere:
        """Everything that is known to have been given out beyond ours, whatever it was taken for."""
        epochs = [one.epoch or 0 for one in self._all()]
        return Elsewhere(self._beyond(self._all()), max(epochs, default=0))

    def _beyond(self, witnesses: list[Witness]) -> int:
        return max([0, *(one.known_seq - self.holding.seq for one in witnesses)])

    def _all(self) -> list[Witness]:
        everybody = (self.heard, *self.instances, *self.kept, self.primary)
        return [one for one in everybody if one is not None]


class _ReplicaHealth(msgspec.Struct):
    feed_seq: int
    primary_seq: int = 0
    epoch: int | None = None
    branch: str = ""
    lineage: str = ""


class _Health(msgspec.Struct):
    """What is read of the answer of `GET /api/health`."""

    primary: str = ""
    replica: _ReplicaHealth | None = None


async def ask(
    holding: Holding,
    peers: list[Peer],
    *,
    own_health: bytes | None,
    primary_url: str,
    primary_token: str | None,
    kept: Mapping[int, Holding],
) -> Losses:
    """Ask everybody at once. Takes two seconds at most; never raises for who does not answer.

    `own_health` is what this instance answers to `GET /api/health` while it runs, `kept` its other generations.
    """
    instances, primary = await asyncio.gather(
        _ask_instances(holding, peers), _ask_primary(holding, primary_url, primary_token)
    )
    copies = [_kept(holding, number, found) for number, found in kept.items() if found.seq]
    return Losses(holding, _heard(holding, own_health), tuple(instances), primary, tuple(copies))


def _kept(holding: Holding, number: int, found: Holding) -> Witness:
    apart = _is_apart(holding, found.epoch, found.branch)
    return Witness(f"generation {number}", "here", found.seq, epoch=found.epoch, is_apart=apart)


def _heard(holding: Holding, own_health: bytes | None) -> Witness | None:
    if own_health is None:
        return None
    try:
        return _witness(holding, Peer("this instance", "", ""), own_health)
    except msgspec.DecodeError:
        return None


async def _ask_instances(holding: Holding, peers: list[Peer]) -> list[Witness]:
    client = PeerClient()
    try:
        return await asyncio.gather(*(_ask_instance(client, holding, peer) for peer in peers))
    finally:
        await client.close()


async def _ask_instance(client: PeerClient, holding: Holding, peer: Peer) -> Witness:
    silent = Witness(peer.id, peer.url, None)
    if not peer.url:
        return msgspec.structs.replace(silent, why="it has no address")
    try:
        answer = await client.call(
            peer,
            "GET",
            "/api/health",
            headers={},
            timeout_s=ASK_TIMEOUT_S,
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
        return _witness(holding, peer, answer.body)
    except PeerSilent as error:
        return msgspec.structs.replace(silent, why=str(error))
    except msgspec.DecodeError:
        return msgspec.structs.replace(silent, why="its answer could not be read")


def _witness(holding: Holding, peer: Peer, answer: bytes) -> Witness:
    """Read what an instance says of itself. Raises msgspec.DecodeError."""
    health = msgspec.json.decode(answer, type=_Health)
    replica = health.replica
    if replica is None:
        return Witness(peer.id, peer.url, None, why="it has no replica")
    return Witness(
        peer.id,
        peer.url,
        replica.feed_seq,
        replica.primary_seq,
        follows=health.primary == "reachable" and replica.lineage == "ours",
        epoch=replica.epoch,
        is_apart=_is_apart(holding, replica.epoch, replica.branch),
    )


async def _ask_primary(holding: Holding, url: str, token: str | None) -> Witness | None:
    if not url:
        return None
    silent = Witness("the primary", url, None)
    remote = RemotePrimary(url, token, timeout_s=ASK_TIMEOUT_S)
    await remote.start()
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            [rows] = await remote.snapshot((lineage.question(holding),))
    except (TimeoutError, Unavailable, PrimaryError) as error:
        return msgspec.structs.replace(silent, why=remote.last_error or str(error) or "no answer")
    finally:
        await remote.close()
    found = lineage.traits_of(rows)
    verdict = lineage.judge(found, holding)
    if found is None or verdict in ("wiped", "foreign", "moving"):
        return msgspec.structs.replace(silent, why=f"another database is there now ({verdict})")
    if verdict in ("superseded", "split"):
        told = msgspec.structs.replace(silent, primary_seq=found.seq, epoch=found.epoch, is_apart=True)
        return msgspec.structs.replace(told, why=f"it is not the one that this copy is of ({verdict})")
    apart = found.epoch != holding.epoch
    return Witness("the primary", url, found.seq, follows=True, epoch=found.epoch, is_apart=apart)


def _is_apart(holding: Holding, epoch: int | None, branch: str) -> bool:
    """Tell whether positions of that epoch are known to be of another history; who does not say counts as one of ours."""
    if None not in (epoch, holding.epoch) and epoch != holding.epoch:
        return True
    return lineage.are_apart(branch, holding.branch)
