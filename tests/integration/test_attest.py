"""Comparing a replica with its primary, row by row: what is found, what is no difference, and what follows."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from groupspaces.clock import SystemClock
from groupspaces.db import attest, digests, migrate
from groupspaces.db.attest import SWIFT, Attestation, Subject
from groupspaces.db.digests import Hash, Range, Table
from groupspaces.db.primary_digests import PAGE_ROWS
from groupspaces.db.remote_primary import RemotePrimary
from groupspaces.db.verification import Difference, Verification
from groupspaces.errors import Conflict, Invalid, Unavailable
from tests.support.altered import alter, flip_bit
from tests.support.filled import EVERY_TABLE
from tests.support.remote import connected
from tests.support.replica import Instance, running
from tests.support.sqld import Sqld
from tests.support.wait import wait_until

pytestmark = pytest.mark.sqld

ROWS = 12_000


def _nothing() -> None: ...


async def _no_pause() -> None: ...


class Pair:
    """A replica that is compared with its primary."""

    def __init__(
        self, sqld: Sqld, folder: Path, remote: RemotePrimary, instance: Instance, **options: Any
    ) -> None:
        self.sqld = sqld
        self.instance = instance
        self.proved: list[Path] = []
        self.requests = 0
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        # What happens just before the primary is asked, and before everything is fetched.
        self.before_read = self.before_fetch = _nothing
        self.pause: Callable[[], Awaitable[object]] = _no_pause
        self._remote = remote
        self.attestation = Attestation(
            Subject(
                path=instance.replica.path,
                generation=lambda: instance.replica.state.generation,
                tables=self._tables,
                seq=lambda: instance.rows("SELECT max(seq) FROM change")[0][0],
                read=self._read,
                fetch=self._fetch,
                rebuild=lambda: instance.replica.rebuild("its digest differs"),
                check=self._check,
                proved=self._proved,
            ),
            SystemClock(),
            **options,
        )

    async def verified(self, *tables: str, pace: attest.Pace = SWIFT) -> list[Verification]:
        """Verify until nothing runs, and return what each verification ended with."""
        await self.attestation.begin(tables, pace)
        ended: list[Verification] = []

        def look() -> bool:
            now = self.attestation.verification
            if now.state != "running" and (not ended or ended[-1].at_ms != now.at_ms):
                ended.append(now)
            return self.attestation._task is not None and self.attestation._task.done()

        await wait_until(look, 60, "the verification ends")
        look()
        return ended

    async def _tables(self) -> list[str]:
        return [row[0] for row in self.instance.rows(digests.tables_sql())]

    async def _read(self, sql: str, params: Any) -> Any:
        self.requests += 1
        self.asked.append((sql, tuple(params)))
        self.before_read()
        await self.pause()
        return await self._remote.read_asserting_lineage(sql, params)

    async def _fetch(self) -> None:
        self.before_fetch()
        result = await self.instance.replica.sync_now()
        if not result.ok:
            raise Unavailable(result.error or "")

    async def _check(self) -> None:
        """Never refuse."""

    async def _proved(self, path: Path) -> None:
        self.proved.append(path)


@pytest.fixture
async def filled(sqld: Sqld) -> Sqld:
    """A primary with rows in every table, thousands of them in one."""
    async with connected(sqld.url) as remote:
        await migrate.up(remote)
        await remote.sequence(EVERY_TABLE)
    return sqld


@contextlib.asynccontextmanager
async def paired(sqld: Sqld, folder: Path, *, url: str = "", **options: Any) -> AsyncIterator[Pair]:
    async with connected(url or sqld.url) as remote, running(folder / "replica", sqld) as instance:
        pair = Pair(sqld, folder, remote, instance, **options)
        try:
            yield pair
        finally:
            await pair.attestation.close()


async def altered(sqld: Sqld, folder: Path, *statements: str, marker: bytes = b"") -> None:
    """Make a replica that is not what its primary is."""
    async with running(folder / "replica", sqld) as instance:
        await instance.synced()
        path = instance.replica.path()
    assert path is not None
    if marker:
        flip_bit(path, marker)
    else:
        alter(path, *statements)


# --- equal ---


async def test_a_replica_with_rows_in_every_table_is_equal(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:
        names = {row[0] for row in pair.instance.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        filled_tables = {name for name in names if pair.instance.rows(f"SELECT 1 FROM {name} LIMIT 1")}
        assert filled_tables == names, "fill every table"

        [ended] = await pair.verified()
        assert (ended.state, ended.error, ended.differences) == ("equal", None, ())
        assert set(ended.tables) == names - {"instance", "lease"} | {"sqlite_schema"}
        assert ended.ranges_done == ended.ranges_total >= len(ended.tables) + 2
        assert ended.rows > ROWS
        assert ended.size_bytes > ROWS * 30
        assert pair.proved == [pair.instance.replica.path()]


async def test_what_only_heartbeats_write_is_left_out(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, "UPDATE instance SET seen_at_ms = 9", "DELETE FROM lease")
    async with paired(filled, tmp_path) as pair:
        assert [ended.state for ended in await pair.verified()] == ["equal"]


# --- different ---


# What somebody does to the file, and the smallest range in which that shows; `x` is a row to copy.
_COPY = "space_id, author_id, kind, mentions_all, created_at_ms, NULL, NULL, 1, 'x' FROM message WHERE id = 4"
ROWS_OF_ONE_TABLE = {
    "UPDATE message SET content = content || '.' WHERE id = 14000": Difference("message", "13998", "14000"),
    "DELETE FROM message WHERE id = 16000": Difference("message", "15998", "16002"),
    f"INSERT INTO message SELECT 18001, {_COPY}": Difference("message", "18000", "18001"),
    "DELETE FROM message WHERE id = 2": Difference("message", None, "4"),
    "DELETE FROM message WHERE id = 24000": Difference("message", "23996", None),
}
BEYOND_THE_LAST = {
    f"INSERT INTO message SELECT 90000, {_COPY}": Difference("message", "24000", None),
    # Its table's counter went along: the 6th of them.
    "SELECT 1": Difference("sqlite_sequence", "5", "6"),
}
OTHER_TABLES = {
    "DELETE FROM avatar": Difference("avatar", None, None),
    "UPDATE idempotency SET seq = 2": Difference("idempotency", None, None),
    "UPDATE mention SET message_id = message_id + 2 WHERE message_id = 200": Difference(
        "mention", "2, 1, 180", "2, 1, 202"
    ),
    "DELETE FROM recovery_code WHERE code_hash = x'ab'": Difference("recovery_code", None, None),
    "UPDATE session SET seen_at_ms = seen_at_ms + 1": Difference("session", None, None),
}


@pytest.mark.parametrize("done", [ROWS_OF_ONE_TABLE, BEYOND_THE_LAST, OTHER_TABLES])
async def test_the_smallest_ranges_that_differ_are_found_and_mended(
    filled: Sqld, tmp_path: Path, done: dict[str, Difference]
) -> None:
    await altered(filled, tmp_path, *done)
    async with paired(filled, tmp_path) as pair:
        before = pair.instance.replica.path()
        found, again = await pair.verified()
        assert (found.state, again.state) == ("different", "equal")
        assert set(found.differences) == set(done.values())
        assert pair.instance.replica.path() != before
        assert pair.proved == [pair.instance.replica.path()]
        assert again.found is not None
        assert again.found.differences == found.differences
        assert again.found.resolved_at_ms is not None


async def test_another_schema_is_a_difference(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, "CREATE INDEX extra ON message (created_at_ms)")
    async with paired(filled, tmp_path) as pair:
        found, _ = await pair.verified()
        assert [(one.table, one.high) for one in found.differences] == [("sqlite_schema", None)]


async def test_a_single_bit_is_found(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, marker=b"essage number 7000 of many")
    async with paired(filled, tmp_path) as pair:
        assert pair.instance.rows("PRAGMA quick_check") == [("ok",)], "SQLite itself sees nothing"
        found, again = await pair.verified()
        assert found.differences == (Difference("message", "13998", "14000"),)
        assert again.state == "equal"


async def test_text_that_is_none_is_found(filled: Sqld, tmp_path: Path) -> None:
    await altered(
        filled, tmp_path, "UPDATE message SET content = CAST(x'fffe41' AS TEXT) WHERE id IN (8, 14000)"
    )
    async with paired(filled, tmp_path) as pair:
        found, _ = await pair.verified()
        assert found.differences == (
            Difference("message", "6", "8"),
            Difference("message", "13998", "14000"),
        )


async def test_many_differences_end_the_search(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, "UPDATE message SET version = 2")
    async with paired(filled, tmp_path) as pair:
        found, again = await pair.verified("message")
        assert 1 < len(found.differences) <= attest._MAX_DIFFERENCES
        assert found.ranges_done < found.ranges_total
        assert again.tables == ("message",)
        assert not pair.proved, "only part of it was compared"


async def test_a_page_that_cannot_be_read_is_a_difference(filled: Sqld, tmp_path: Path) -> None:
    async with running(tmp_path / "replica", filled) as instance:
        await instance.synced()
        [(page,)] = instance.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'mention'")
        path = instance.replica.path()
    assert path is not None
    alter(path)
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : (page - 1) * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)
    async with paired(filled, tmp_path) as pair:
        found, again = await pair.verified()
        assert [(one.table, one.low, one.high) for one in found.differences] == [("mention", None, None)]
        assert "malformed" in found.differences[0].reason
        assert again.state == "equal"


# --- no difference ---


async def test_what_is_written_meanwhile_is_no_difference(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:

        def write() -> None:
            for sql in (
                f"INSERT INTO message SELECT (SELECT max(id) + 1 FROM message), {_COPY}",
                "UPDATE message SET version = version + 1 WHERE id IN (2, 12000)",
                "INSERT INTO change SELECT max(seq) + 1, hex(randomblob(8)), 1, 1, 1, 'nobody', 'x', 1, '{}' FROM change",
            ):
                filled.execute(sql)

        pair.before_read = write
        [ended] = await pair.verified()
        assert (ended.state, ended.unsettled) == ("equal", 0)
        assert pair.requests > 3, "what moved was looked at again"


async def test_what_changes_without_the_feed_is_no_difference(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:
        pair.before_read = lambda: filled.execute("UPDATE session SET seen_at_ms = seen_at_ms + 1") and None
        [ended] = await pair.verified()
        assert (ended.state, ended.unsettled) == ("equal", 0)


async def test_what_never_stands_still_is_no_difference_but_counted(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:

        def touch() -> None:
            filled.execute("UPDATE session SET seen_at_ms = seen_at_ms + 1")

        pair.before_read = pair.before_fetch = touch
        [ended] = await pair.verified("session")
        assert (ended.state, ended.unsettled, ended.differences) == ("equal", 1, ())


async def test_a_difference_is_found_beside_what_never_stands_still(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, "UPDATE message SET content = 'x' WHERE id = 14000")
    async with paired(filled, tmp_path) as pair:

        def touch() -> None:
            filled.execute("UPDATE message SET version = version + 1 WHERE id = 14010")

        pair.before_read = pair.before_fetch = touch
        found, _ = await pair.verified("message")
        assert found.differences == (Difference("message", "13998", "14000"),)
        assert found.unsettled == 1


# --- a primary that cannot hash, is away, or is another ---


async def test_a_primary_that_cannot_hash_is_asked_for_its_rows(filled: Sqld, tmp_path: Path) -> None:
    await altered(filled, tmp_path, "UPDATE message SET content = 'x' WHERE id = 14000", "DELETE FROM avatar")
    async with paired(filled, tmp_path, function="no_such_hash") as pair:
        found, again = await pair.verified()
        assert set(found.differences) == {
            Difference("message", "13998", "14000"),
            Difference("avatar", None, None),
        }
        assert (again.state, again.error) == ("equal", None)
        assert pair.requests > 2 * ROWS / PAGE_ROWS


@pytest.mark.parametrize("function", ["sha3_query", "no_such_hash"])
async def test_whatever_is_missing_here_the_primary_never_reads_more_than_a_range(
    filled: Sqld, tmp_path: Path, function: str
) -> None:
    await altered(filled, tmp_path, "DELETE FROM message WHERE id > 100")
    async with paired(filled, tmp_path, function=function) as pair:
        found, again = await pair.verified("message")
        # The rows are missing after the last that is here, and the range behind that one has no end.
        assert [(one.table, one.high) for one in found.differences] == [("message", None)]
        assert again.state == "equal"
        for sql, queries in pair.asked:
            for query in queries or (sql,):
                [(rows,)] = filled.execute(f"SELECT count(*) FROM ({query})")
                assert rows <= digests.RANGE_ROWS + 1, query


async def test_a_primary_that_goes_away_ends_it_and_nothing_is_rebuilt(
    filled: Sqld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attest, "_RETRY_S", 0.01)
    await altered(filled, tmp_path, "UPDATE message SET content = 'x' WHERE id = 14000")
    async with paired(filled, tmp_path) as pair:
        before = pair.instance.replica.path()

        def leave() -> None:
            if pair.requests == 2:
                filled.kill()

        pair.before_read = leave
        [ended] = await pair.verified()
        assert (ended.state, ended.differences) == ("failed", ())
        assert ended.error
        assert (pair.instance.replica.path(), pair.instance.replica.state.rebuild_reason) == (before, None)
        assert not pair.proved
        assert ended.found is None


@pytest.mark.parametrize("is_last", [True, False], ids=["once", "again and again"])
async def test_a_file_that_serves_no_more_is_not_compared_further_but_the_next(
    filled: Sqld, tmp_path: Path, is_last: bool
) -> None:
    async with paired(filled, tmp_path) as pair:
        replaced: list[Path | None] = []

        async def replace() -> None:
            if not (replaced and is_last):
                replaced.append(pair.instance.replica.path())
                await pair.instance.replica.rebuild("a test's wish")
                await wait_until(
                    lambda: pair.instance.replica.path() not in replaced, 30, "another copy serves"
                )

        pair.pause = replace
        ended = await pair.verified()
        if is_last:
            assert [one.state for one in ended] == ["equal"]
            assert pair.proved == [pair.instance.replica.path()] != replaced
        else:
            assert ended[-1].error == "a new copy of the data was fetched meanwhile"
            assert len(replaced) == 3
            assert not pair.proved


# --- one at a time, of tables there are ---


async def test_one_at_a_time_and_only_tables_there_are(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:
        with pytest.raises(Invalid, match="nothing is not"):
            await pair.attestation.begin(["message", "nothing"])
        with pytest.raises(Invalid):
            await pair.attestation.begin(["lease"])
        await pair.attestation.begin(["user", "space"])
        with pytest.raises(Conflict) as refused:
            await pair.attestation.begin()
        assert refused.value.code == "VERIFY_RUNNING"
        await wait_until(lambda: pair.attestation.verification.state == "equal", what="it ends")
        assert pair.attestation.verification.tables == ("user", "space")


async def test_one_that_is_given_up_leaves_no_process(filled: Sqld, tmp_path: Path) -> None:
    async with paired(filled, tmp_path) as pair:
        await pair.attestation.begin(pace=attest.Pace(share=0.5, gap_s=60.0))
        await wait_until(lambda: pair.requests == 1, what="the first request")
        await pair.attestation.close()
        assert (pair.attestation.verification.state, pair.attestation.verification.error) == (
            "failed",
            "the server stopped",
        )
        names = [" ".join(child.cmdline()) for child in psutil.Process().children()]
        assert not [name for name in names if "digest_process" in name]


# --- the bytes ---

VALUES: list[Any] = [
    *(0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)),
    *(0.0, -0.0, 1.5, -1e308, 5e-324, 0.1),
    *("", "a\0b", "größe 🎉", "it's", b"", b"\x00\xff", None),
]


def test_the_primary_hashes_every_value_as_we_do(sqld: Sqld) -> None:
    sqld.execute("CREATE TABLE thing (id INTEGER PRIMARY KEY, value ANY) STRICT")
    table = Table("thing", ("id", "value"), ("id",))
    for place, value in enumerate(VALUES, 1):
        sqld.execute("INSERT INTO thing VALUES (?, ?)", [place, value])
    for place, value in enumerate(VALUES, 1):
        sql = digests.sql(table, Range("thing", str(place - 1), str(place)))
        hashed = Hash()
        hashed.add((place, value))
        assert sqld.execute("SELECT sha3_query(?)", [sql]) == [[hashed.digest(sql)]], repr(value)
