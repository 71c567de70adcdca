"""Writing to a real sqld: what is atomic, what is refused and how, and what a primary in trouble does to who waits."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.db import remote_primary
from groupspaces.db.batch import Batch, ConstraintViolation, SequenceFailed, Statement
from groupspaces.db.changes import record_last
from groupspaces.db.migrate import known
from groupspaces.db.remote_primary import LineageMismatch, PrimaryError, RemotePrimary
from groupspaces.errors import Conflict, Forbidden, Unavailable
from tests.support.latency_proxy import LatencyProxy
from tests.support.sqld import Sqld
from tests.support.tls import TlsFront, start_tls
from tests.support.wait import wait_until

__all__ = ["start_tls"]

pytestmark = pytest.mark.sqld

TIMEOUT_S = 1.5
NO_NOTE = Forbidden("You may not write here.")

SCHEMA = """
CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE, CHECK (text <> 'forbidden')) STRICT;
CREATE TABLE thing (id INTEGER PRIMARY KEY, value ANY) STRICT;
"""


def new_note(text: str, *, allowed: bool = True) -> Batch:
    """What a feature writes: a guarded insert and its change row."""
    return Batch(
        [
            Statement(
                "INSERT INTO note (text) SELECT ? WHERE ? RETURNING id", [text, int(allowed)], refused=NO_NOTE
            ),
            record_last("note.created", actor_id=1, audience="nobody"),
        ],
        conflicts={"note.text": Conflict("That note exists.", code="NOTE_EXISTS")},
    )


def note_texts(sqld: Sqld) -> list[Any]:
    return [row[0] for row in sqld.execute("SELECT text FROM note ORDER BY id")]


@contextlib.asynccontextmanager
async def connected(url: str, token: str | None = None, **options: Any) -> AsyncIterator[RemotePrimary]:
    primary = RemotePrimary(url, token, **{"timeout_s": TIMEOUT_S} | options)
    await primary.start()
    try:
        yield primary
    finally:
        await primary.close()


@pytest_asyncio.fixture
async def primary(sqld: Sqld) -> AsyncIterator[RemotePrimary]:
    """A connection to a primary with the change feed and two tables."""
    async with connected(sqld.url) as primary:
        await primary.sequence(known()[0].up + SCHEMA)
        yield primary


# --- transactions ---


async def test_a_write_returns_its_rows_and_its_place_in_the_feed(primary: RemotePrimary) -> None:
    first = await primary.write(new_note("one"))
    second = await primary.write(new_note("two"))

    assert first.rows[0] == [(1,)]
    assert second.rows[0] == [(2,)]
    assert second.seq == first.seq + 1
    assert await primary.read("SELECT kind, subject_id FROM change WHERE seq = ?", [second.seq]) == [
        ("note.created", 2)
    ]


async def test_a_write_without_a_change_row_has_no_place_in_the_feed(primary: RemotePrimary) -> None:
    written = await primary.write(
        Batch([Statement("INSERT INTO thing (value) VALUES (1) RETURNING id, value")])
    )

    assert written.seq == 0
    assert written.rows == [[(1, 1)]]


async def test_a_refused_write_takes_no_other_down(primary: RemotePrimary, sqld: Sqld) -> None:
    seen = count_requests(primary)
    held = [primary.write(new_note(f"held {n}")) for n in range(2)]
    crowd = [
        primary.write(new_note("good")),
        primary.write(new_note("refused", allowed=False)),
        primary.write(new_note("forbidden")),
        primary.write(new_note("good")),
        primary.write(Batch([Statement("INSERT INTO nowhere VALUES (1)")])),
        primary.write(new_note("also good")),
    ]
    outcomes = await asyncio.gather(*held, *crowd, return_exceptions=True)

    good, refused, checked, twice, faulty, also_good = outcomes[2:]
    assert note_texts(sqld) == ["held 0", "held 1", "good", "also good"]
    assert refused is NO_NOTE
    assert isinstance(checked, ConstraintViolation)
    assert checked.kind == "CHECK"
    assert isinstance(twice, Conflict)
    assert twice.code == "NOTE_EXISTS"
    assert isinstance(faulty, PrimaryError)
    assert "no such table" in faulty.message
    # `last_insert_rowid()` is each transaction's own: the change row names the note of the same write.
    for outcome in (good, also_good):
        assert not isinstance(outcome, BaseException)
        [(note_id,)] = outcome.rows[0]
        assert await primary.read("SELECT subject_id FROM change WHERE seq = ?", [outcome.seq]) == [
            (note_id,)
        ]
    assert max(seen) > 1, "nothing was combined"


async def test_a_crowd_of_writes_shares_requests(primary: RemotePrimary, sqld: Sqld) -> None:
    seen = count_requests(primary)
    written = await asyncio.gather(*(primary.write(new_note(f"note {n}")) for n in range(300)))

    assert len(note_texts(sqld)) == 300
    assert len({one.seq for one in written}) == 300
    assert sum(seen) == 300
    assert max(seen) == remote_primary.MAX_TRANSACTIONS_PER_REQUEST
    assert len(seen) < 10


async def test_at_most_two_requests_are_in_flight(
    primary: RemotePrimary, sqld: Sqld, start_proxy: Callable[..., LatencyProxy]
) -> None:
    proxy = start_proxy(sqld.port, one_way_ms=20)
    async with connected(proxy.url) as far:
        await asyncio.gather(*(far.write(new_note(f"note {n}")) for n in range(40)))

    assert len(note_texts(sqld)) == 40
    assert proxy.traffic().connections <= remote_primary.REQUESTS_IN_FLIGHT


async def test_a_write_that_fails_in_its_middle_leaves_nothing(primary: RemotePrimary, sqld: Sqld) -> None:
    batch = Batch([*new_note("before").statements, Statement("INSERT INTO note (text) VALUES ('forbidden')")])
    with pytest.raises(ConstraintViolation):
        await primary.write(batch)
    await primary.write(new_note("after"))

    assert note_texts(sqld) == ["after"]
    # The ids of what was rolled back are free again: nothing of it is left.
    assert await primary.read("SELECT max(id) FROM note") == [(1,)]


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1,
        -(2**63),
        2**53 + 1,
        0.1,
        -1e308,
        "",
        "nul \0 inside",
        "é 😀 \u2028",
        b"",
        b"\0",
        b"\xff\0ab",
        bytes(range(256)),
        None,
    ],
)
async def test_values_come_back_as_they_went(primary: RemotePrimary, value: Any) -> None:
    written = await primary.write(
        Batch([Statement("INSERT INTO thing (value) VALUES (?) RETURNING value", [value])])
    )

    [(returned,)] = written.rows[0]
    assert (returned, type(returned)) == (value, type(value))
    assert await primary.read("SELECT value, ? FROM thing", [value]) == [(value, value)]


@pytest.mark.parametrize("value", [2**63, float("inf"), float("nan"), "lone \ud800 surrogate"])
async def test_an_impossible_value_fails_alone(primary: RemotePrimary, sqld: Sqld, value: Any) -> None:
    impossible = primary.write(Batch([Statement("INSERT INTO thing (value) VALUES (?)", [value])]))
    outcomes = await asyncio.gather(impossible, primary.write(new_note("good")), return_exceptions=True)

    assert isinstance(outcomes[0], ValueError)
    assert note_texts(sqld) == ["good"]


async def test_a_script_happens_whole_or_not_at_all(primary: RemotePrimary) -> None:
    with pytest.raises(SequenceFailed, match="syntax error"):
        await primary.sequence(
            "CREATE TABLE half (id INTEGER); -- a comment; with a semicolon\nCREATE NONSENSE;"
        )
    assert await primary.read("SELECT name FROM sqlite_schema WHERE name = 'half'") == []

    with pytest.raises(SequenceFailed, match="CHECK"):
        await primary.sequence(
            "CREATE TABLE half (id INTEGER); INSERT INTO note (text) VALUES ('forbidden');"
        )
    assert await primary.read("SELECT name FROM sqlite_schema WHERE name = 'half'") == []

    await primary.sequence("CREATE TABLE half (id INTEGER); -- the last line is a comment")
    assert await primary.read("SELECT name FROM sqlite_schema WHERE name = 'half'") == [("half",)]


# --- lineage ---


async def test_a_primary_with_another_history_is_written_nothing(primary: RemotePrimary, sqld: Sqld) -> None:
    written = await primary.write(new_note("ours"))
    [(token,)] = await primary.read("SELECT token FROM change WHERE seq = ?", [written.seq])
    told: list[str] = []
    head = (written.seq, str(token))
    options: dict[str, Any] = {
        "lineage": lambda: head,
        "on_lineage_mismatch": lambda: told.append("mismatch"),
    }
    async with connected(sqld.url, **options) as replica_side:
        await replica_side.write(new_note("same history"))
        assert await replica_side.read_asserting_lineage("SELECT count(*) FROM note") == [(2,)]

        # Restored, and written past us: seq alone would look fine.
        await primary.sequence(f"UPDATE change SET token = 'other' WHERE seq = {written.seq}")
        with pytest.raises(LineageMismatch):
            await replica_side.write(new_note("another history"))
        with pytest.raises(LineageMismatch):
            await replica_side.read_asserting_lineage("SELECT count(*) FROM note")

        # Wiped.
        await primary.sequence("DROP TABLE change")
        with pytest.raises(LineageMismatch):
            await replica_side.write(Batch([Statement("INSERT INTO note (text) VALUES ('wiped')")]))

    assert note_texts(sqld) == ["ours", "same history"]
    assert told == ["mismatch"] * 2


# --- a primary in trouble ---


async def test_a_hung_primary_answers_everybody_in_time(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    started_s = time.monotonic()
    early = [asyncio.create_task(primary.write(new_note(f"early {n}"))) for n in range(200)]
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*early, return_exceptions=True)

    assert all(isinstance(one, Unavailable) and one.code == "PRIMARY_UNAVAILABLE" for one in outcomes)
    assert all(one.retry_after_s for one in outcomes if isinstance(one, Unavailable))
    assert time.monotonic() - started_s < TIMEOUT_S + 1
    assert not primary.reachable
    assert primary.queue_length == 0
    # From now on nobody waits, however many come.
    refused_s = time.monotonic()
    for number in range(500):
        with pytest.raises(Unavailable):
            await primary.write(new_note(f"late {number}"))
        with pytest.raises(Unavailable):
            await primary.read("SELECT 1")
    assert time.monotonic() - refused_s < TIMEOUT_S

    sqld.resume()
    await wait_until(lambda: primary.reachable, 10)
    await primary.write(new_note("back"))
    texts = note_texts(sqld)
    assert texts.count("back") == 1
    assert len(texts) == len(set(texts))
    assert not any(text.startswith("late") for text in texts)


async def test_writes_wait_for_a_primary_that_restarts_and_happen_once(
    sqld: Sqld, primary: RemotePrimary
) -> None:
    for round_number in range(3):
        sqld.kill()
        waiting = [asyncio.create_task(primary.write(new_note(f"{round_number}.{n}"))) for n in range(5)]
        await wait_until(lambda: not primary.reachable)
        await asyncio.to_thread(sqld.start)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await wait_until(lambda: primary.reachable)

        acknowledged = [n for n, one in enumerate(outcomes) if not isinstance(one, BaseException)]
        texts = [text for text in note_texts(sqld) if text.startswith(f"{round_number}.")]
        assert texts == [f"{round_number}.{n}" for n in acknowledged]


async def test_an_acknowledged_write_survives_kill_9_and_none_is_doubled(
    sqld: Sqld, primary: RemotePrimary
) -> None:
    acknowledged: list[str] = []
    unknown: list[str] = []
    stop = asyncio.Event()

    async def write_on(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            text = f"{writer}.{number}"
            try:
                await primary.write(new_note(text))
            except Unavailable as error:
                if "not known" in error.detail:
                    unknown.append(text)
                await asyncio.sleep(0.01)
            else:
                acknowledged.append(text)

    async with asyncio.TaskGroup() as writers:
        for writer in range(4):
            writers.create_task(write_on(writer))
        for _ in range(5):
            enough = len(acknowledged) + 50
            await wait_until(lambda: len(acknowledged) >= enough, 20)  # noqa: B023
            await asyncio.to_thread(sqld.restart)
        stop.set()

    texts = note_texts(sqld)
    assert len(texts) == len(set(texts))
    assert set(acknowledged) <= set(texts)
    assert set(texts) <= set(acknowledged) | set(unknown)


async def test_a_dead_primary_is_told_of_at_once_after_a_while(sqld: Sqld, primary: RemotePrimary) -> None:
    sqld.kill()
    with pytest.raises(Unavailable, match="nothing was saved"):
        await primary.write(new_note("waits until its deadline"))
    refused_s = time.monotonic()
    with pytest.raises(Unavailable):
        await primary.write(new_note("does not wait"))
    assert time.monotonic() - refused_s < TIMEOUT_S / 2

    await asyncio.to_thread(sqld.start)
    await wait_until(lambda: primary.reachable, 10)
    await primary.write(new_note("back"))
    assert note_texts(sqld) == ["back"]


async def test_a_broken_wire_leaves_no_doubt_about_doubt(
    primary: RemotePrimary, sqld: Sqld, start_proxy: Callable[..., LatencyProxy]
) -> None:
    proxy = start_proxy(sqld.port, one_way_ms=100)
    heard: list[bool] = []
    async with connected(proxy.url, on_reachable=heard.append) as far:
        await far.write(new_note("before"))
        cut = asyncio.create_task(far.write(new_note("cut")))
        await wait_until(lambda: "cut" in note_texts(sqld))
        await asyncio.to_thread(proxy.drop_connections)
        with pytest.raises(Unavailable, match="not known"):
            await cut
        await wait_until(lambda: far.reachable)

        await asyncio.to_thread(proxy.set_mode, "http_503")
        with pytest.raises(Unavailable):
            await far.write(new_note("busy"))
        await wait_until(lambda: "503" in (far.last_error or ""))
        await asyncio.to_thread(proxy.set_mode, "pass")
        await wait_until(lambda: far.reachable)
        await far.write(new_note("after"))

    assert note_texts(sqld) == ["before", "cut", "after"]
    assert heard == [False, True, False, True]


async def test_a_token_that_is_refused(guarded_sqld: Sqld) -> None:
    assert guarded_sqld.key is not None
    async with connected(guarded_sqld.url, guarded_sqld.token) as good:
        await good.sequence(known()[0].up + SCHEMA)
        await good.write(new_note("good"))
    bad = {
        "wrong": "nonsense",
        "read-only": guarded_sqld.key.mint("ro"),
        "expired": guarded_sqld.key.mint(expires_in_s=-600),
    }
    for name, token in bad.items():
        async with connected(guarded_sqld.url, token) as primary:
            with pytest.raises(Unavailable, match="nothing was saved"):
                await primary.write(new_note(name))
            assert primary.refused
            assert token not in (primary.last_error or "")
    assert note_texts(guarded_sqld) == ["good"]


async def test_certificates_are_checked(
    primary: RemotePrimary, sqld: Sqld, monkeypatch: pytest.MonkeyPatch, start_tls: Callable[[int], TlsFront]
) -> None:
    front = start_tls(sqld.port)
    async with connected(front.url) as stranger:
        with pytest.raises(Unavailable, match="nothing was saved"):
            await stranger.write(new_note("to a stranger"))
        assert "certificate" in (stranger.last_error or "").lower()

    monkeypatch.setenv("SSL_CERT_FILE", str(front.authority_file))
    async with connected(front.url.replace("https://", "libsql://")) as trusted:
        await trusted.write(new_note("to a friend"))
    assert note_texts(sqld) == ["to a friend"]


async def test_the_queue_is_bounded(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    tasks = [asyncio.create_task(primary.write(new_note("x" * 1_000_000 + str(n)))) for n in range(60)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    codes = {one.code for one in outcomes if isinstance(one, Unavailable)}
    assert codes == {"OVERLOADED", "PRIMARY_UNAVAILABLE"}


async def test_a_waiter_that_leaves_is_forgotten(primary: RemotePrimary, sqld: Sqld) -> None:
    sqld.pause()
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(primary.write(new_note(f"note {number}"))))
        await asyncio.sleep(0)
    assert primary.queue_length > 0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert primary.queue_length == 0

    sqld.resume()
    await primary.write(new_note("next"))
    assert "next" in note_texts(sqld)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"not json",
        b"[]",
        b'{"results":[]}',
        b'{"results":[{"type":"ok","response":{"type":"close"}},{"type":"ok"}]}',
        b'{"results":[{"type":"ok","response":{"type":"batch","result":{"step_results":[],"step_errors":[]}}},{}]}',
        b'{"results":[{"type":"ok","response":{"type":"batch","result":null}},{}]}',
        b'{"results":[' + b"[" * 100_000,
        gzip.compress(b" " * 200_000_000, 1),
        b" " * 40_000_000,
    ],
    ids=lambda body: f"{len(body)} bytes",
)
async def test_an_answer_that_makes_no_sense(answer: bytes) -> None:
    with answering(answer) as url:
        async with connected(url, timeout_s=10) as primary:
            with pytest.raises(Unavailable, match="not known"):
                await primary.write(new_note("what"))


# --- support ---


def count_requests(primary: RemotePrimary) -> list[int]:
    """Collect how many transactions each request carries from now on."""
    sizes: list[int] = []
    post = primary._client.post

    async def counting(requests: list[bytes], **options: Any) -> bytes:
        sizes.append(len(requests))
        return await post(requests, **options)

    primary._client.post = counting  # type: ignore[method-assign,assignment]
    return sizes


@contextlib.contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Something that is not a primary: answers every POST with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            if body.startswith(b"\x1f\x8b"):
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
