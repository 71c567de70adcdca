"""Writing to a real sqld: what is atomic, what is refused and how, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from groupspaces.db import remote_primary
from groupspaces.db.batch import Batch, ConstraintViolation, SequenceFailed, Statement
from groupspaces.db.migrate import known
from groupspaces.db.remote_primary import LineageMismatch, PrimaryError, RemotePrimary
from groupspaces.errors import Conflict
from tests.support.latency_proxy import LatencyProxy
from tests.support.remote import NO_NOTE, SCHEMA, connected, new_note, note_texts
from tests.support.sqld import Sqld

pytestmark = pytest.mark.sqld


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
    head = (written.seq, str(token), 1)
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

        # Back, promoted, and half moved.
        await primary.sequence(f"UPDATE change SET token = '{token}' WHERE seq = {written.seq}")
        await replica_side.read_asserting_lineage("SELECT count(*) FROM note")
        await primary.sequence(
            "INSERT INTO lineage (epoch, ended_seq, first_seq, at_ms) VALUES (2, 1, 100, 0)"
        )
        with pytest.raises(LineageMismatch):
            await replica_side.write(new_note("another epoch"))
        await primary.sequence(
            "DELETE FROM lineage WHERE epoch = 2; INSERT INTO deployment VALUES ('moving', 'x')"
        )
        with pytest.raises(LineageMismatch):
            await replica_side.write(new_note("half moved"))

        # Wiped.
        await primary.sequence("DROP TABLE change")
        with pytest.raises(LineageMismatch):
            await replica_side.write(Batch([Statement("INSERT INTO note (text) VALUES ('wiped')")]))

    assert note_texts(sqld) == ["ours", "same history"]
    assert told == ["mismatch"] * 4


def count_requests(primary: RemotePrimary) -> list[int]:
    """Collect how many transactions each request carries from now on."""
    sizes: list[int] = []
    post = primary._client.post

    async def counting(requests: list[bytes], **options: Any) -> bytes:
        sizes.append(len(requests))
        return await post(requests, **options)

    primary._client.post = counting  # type: ignore[method-assign,assignment]
    return sizes
