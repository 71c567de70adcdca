"""The bells of one instance, and peers on the loopback that answer, refuse or keep silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from groupspaces.clock import SystemClock
from groupspaces.db import doorbell as doorbell_module
from groupspaces.db.batch import Batch, Statement
from groupspaces.db.changes import record
from groupspaces.db.database import Database
from groupspaces.db.doorbell import PATH, Doorbell, Ring
from groupspaces.db.peers import Peer, PeerClient
from groupspaces.keys import KeyRing
from groupspaces.settings import load
from groupspaces.signing import HEADER, Signer
from tests.support.wait import wait_until

SECRET = "a secret of sixteen characters"


class Listening:
    """A peer: takes rings over HTTP and answers with `status`, once `open` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rings: list[Ring] = []
        self.status = 204
        self.open = asyncio.Event()
        self.open.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.open.set()
        self._server.close()
        await self._server.wait_closed()

    def as_peer(self, boot: str = "first") -> Peer:
        return Peer(self.name, boot, f"http://127.0.0.1:{self.port}")

    @property
    def seqs(self) -> list[int]:
        return [ring.seq for ring in self.rings]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                first, *lines = head.strip().split("\r\n")
                headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}
                body = await reader.readexactly(int(headers["content-length"]))
                assert first == f"POST {PATH} HTTP/1.1"
                assert Signer(KeyRing(SECRET)).is_signed("doorbell", body, headers[HEADER.lower()])
                self.rings.append(msgspec.json.decode(body, type=Ring))
                await self.open.wait()
                writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Scene:
    """An instance "self" with a doorbell, and what it reported of its peers."""

    def __init__(self, db: Database, client: PeerClient) -> None:
        self.db = db
        self.reported: list[tuple[str, bool, str]] = []
        self.bell = Doorbell(
            db,
            "self",
            Signer(KeyRing(SECRET)),
            client,
            SystemClock(),
            enabled=True,
            report=lambda *told: self.reported.append(told),
        )
        self.peers: list[Listening] = []

    async def peer(self, name: str) -> Listening:
        self.peers.append(peer := Listening(name))
        await peer.start()
        self.bell.follow([peer.as_peer() for peer in self.peers])
        return peer


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(doorbell_module, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(doorbell_module, "_BACKOFF_S", 0.05)
    clock, client = SystemClock(), PeerClient()
    db = Database(load({"GROUPSPACES__DATA__DIR": str(tmp_path / "data")}, config_path=None), clock)
    await db.open()
    scene = Scene(db, client)
    yield scene
    await scene.bell.close()
    await client.close()
    for peer in scene.peers:
        await peer.close()
    await db.close()


async def test_while_one_ring_is_on_its_way_the_newest_becomes_the_next(scene: Scene) -> None:
    peer = await scene.peer("b")
    peer.open.clear()
    scene.bell.ring(101)
    await wait_until(lambda: peer.seqs == [101])
    for seq in range(102, 200):
        scene.bell.ring(seq)
    peer.open.set()
    await wait_until(lambda: peer.seqs == [101, 199])
    scene.bell.ring(150)
    scene.bell.ring(200)
    await wait_until(lambda: peer.seqs == [101, 199, 200])
    assert scene.bell.state().sent >= 2


async def test_a_ring_says_where_we_stand(scene: Scene) -> None:
    written = [
        await scene.db.write(
            Batch(
                [
                    Statement("INSERT INTO deployment (name, value) VALUES (?, '')", (f"n{number}",)),
                    record("deployment.changed", actor_id=None, audience="nobody"),
                ]
            )
        )
        for number in range(40)
    ]
    peer = await scene.peer("b")
    scene.bell.ring(written[-1].seq)
    await wait_until(lambda: peer.rings)
    [ring] = peer.rings
    assert (ring.instance, ring.epoch, ring.seq, ring.ephemeral) == (
        "self",
        scene.db.epoch(),
        written[-1].seq,
        [],
    )
    tokens = await scene.db.read("SELECT seq, token FROM change ORDER BY seq DESC LIMIT 16")
    assert ring.heads == list(reversed(tokens))


async def test_a_peer_that_keeps_silent_delays_no_other(scene: Scene) -> None:
    silent, other = await scene.peer("b"), await scene.peer("c")
    silent.open.clear()
    scene.bell.ring(1)
    await wait_until(lambda: silent.seqs == [1] and other.seqs == [1])
    for seq in (2, 3, 4):
        scene.bell.ring(seq)
        await wait_until(lambda s=seq: other.seqs[-1] == s)  # type: ignore[misc]
    # Each of its rings is given up after the time allowed, and the next one is the newest.
    assert silent.seqs[0] == 1
    await wait_until(lambda: silent.seqs[-1] == 4)
    assert len(silent.seqs) < len(other.seqs)


async def test_a_peer_that_fails_is_reported_once_it_does_so_twice_and_again_when_it_answers(
    scene: Scene,
) -> None:
    peer = await scene.peer("b")
    peer.status = 503
    scene.bell.ring(7)
    await wait_until(lambda: scene.reported)
    assert scene.reported[0] == ("b", True, "it answered 503")
    [state] = scene.bell.state().peers
    assert (state.ok, state.last_rung_at_ms) == (False, None)
    assert state.failures >= 2
    # Nobody writes any more, and it is told all the same.
    peer.status = 204
    await wait_until(lambda: scene.bell.state().peers[0].ok)
    assert scene.reported[-1] == ("b", False, "")
    assert set(peer.seqs) == {7}
    [state] = scene.bell.state().peers
    assert state.failures == 0
    assert state.last_rung_at_ms is not None
    assert scene.bell.state().failed == len(peer.seqs) - 1


async def test_a_peer_given_up_for_long_is_tried_at_once_when_it_starts_anew_or_rings_us(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = await scene.peer("b")
    peer.status = 404
    monkeypatch.setattr(
        doorbell_module, "_BACKOFF_GROWTH", 1_000_000
    )  # half a minute or more from the second time on
    scene.bell.ring(7)
    await wait_until(lambda: scene.bell.state().peers[0].failures == 2)
    scene.bell.follow([peer.as_peer("second")])
    await wait_until(lambda: scene.bell.state().peers[0].failures == 3)
    scene.bell.answer(Ring("b", 0, 0))
    await wait_until(lambda: scene.bell.state().peers[0].failures == 4)


async def test_switched_off_it_says_nothing_and_hears_nothing(scene: Scene) -> None:
    peer = await scene.peer("b")
    peer.status = 503
    scene.bell.ring(1)
    await wait_until(lambda: scene.reported)
    scene.bell.enabled = False
    assert scene.reported[-1] == ("b", False, ""), "what is off does not fail"
    tried = len(peer.rings)
    scene.bell.ring(2)
    await scene.peer("c")
    assert scene.bell.answer(Ring("b", scene.db.epoch(), 10**9)) is False
    scene.bell.enabled = True
    peer.status = 204
    scene.bell.ring(3)
    await wait_until(lambda: peer.seqs[-1] == 3)
    assert peer.seqs[tried:] == [3]
    await wait_until(lambda: scene.peers[1].seqs == [3])


async def test_who_is_new_here_is_told_of_the_newest_write_and_who_has_left_of_nothing(scene: Scene) -> None:
    scene.bell.ring(41)
    scene.bell.ring(42)
    peer = await scene.peer("b")
    await wait_until(lambda: peer.seqs == [42])
    scene.bell.follow([Peer("b", "first", ""), Peer("self", "x", peer.as_peer().url)])
    scene.bell.ring(43)
    assert scene.bell.state().peers == []
    scene.bell.follow([peer.as_peer()])
    await wait_until(lambda: peer.seqs == [42, 43])


async def test_what_was_just_written_is_told_before_the_end(scene: Scene) -> None:
    peer = await scene.peer("b")
    scene.bell.ring(5)
    await scene.bell.close()
    assert peer.seqs == [5]


async def test_a_sender_is_heard_once_for_each_position_and_never_for_an_older_one(scene: Scene) -> None:
    epoch, here = scene.db.epoch(), scene.db.status().seq
    news = [here + 5, here + 5, here + 4, here, 0, here + 6]
    assert [scene.bell.answer(Ring("b", epoch, seq)) for seq in news] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert scene.bell.answer(Ring("c", epoch, here + 5)) is True
    assert scene.bell.answer(Ring("self", epoch, here + 99)) is False
    assert scene.bell.answer(Ring("d", epoch - 1, here + 99)) is False
    assert scene.bell.answer(Ring("d", epoch + 1, 1)) is True
    assert scene.bell.state().received == 10
