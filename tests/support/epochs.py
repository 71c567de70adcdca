"""What has to hold whenever a new epoch begins, on whichever primary."""

from __future__ import annotations

from groupspaces.db.batch import Batch, Row, Statement
from groupspaces.db.changes import record
from groupspaces.db.lineage import HOLDING_SQL, LEAST_JUMP, begin_epoch_script, holding_of
from groupspaces.db.local_primary import LocalPrimary
from groupspaces.db.remote_primary import RemotePrimary

_TABLES_SQL = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%'"
_EPOCHS_SQL = "SELECT epoch, ended_seq, first_seq FROM lineage ORDER BY epoch"


async def begin_epochs_and_check(primary: LocalPrimary | RemotePrimary) -> None:
    """Begin two epochs on a migrated primary, one with much lost and later ones known of: nothing is given twice, the holes are told."""
    tables = {str(name) for (name,) in await primary.read(_TABLES_SQL)}
    assert len(tables) > 5
    branches = [""]
    for lost, after_epoch in ((0, 0), (3 * LEAST_JUMP, 7)):
        jump = max(LEAST_JUMP, 2 * lost)
        before, origin = await _sequences(primary), await _origin(primary)
        epochs = await primary.read(_EPOCHS_SQL)
        [(head, token)] = await _head(primary)
        await primary.sequence(begin_epoch_script(lost=lost, after_epoch=after_epoch))

        after = await _sequences(primary)
        assert after.keys() == tables, "a table of which no row is left jumps too"
        for table in tables - {"change"}:
            assert after[table] == before.get(table, 0) + jump
        epoch = max(int(str(epochs[-1][0])), after_epoch) + 1
        first = before["change"] + jump + 1
        assert await primary.read(_EPOCHS_SQL) == [*epochs, (epoch, head, first)]
        holding = holding_of(await primary.read(HOLDING_SQL))
        assert (holding.epoch, holding.branch in branches) == (epoch, False)
        branches.append(holding.branch)
        [(new_head, new_token)] = await _head(primary)
        assert new_head == first
        assert new_token != token
        began = "SELECT audience, kind, subject_id FROM change WHERE seq = ?"
        assert await primary.read(began, (first,)) == [("nobody", "lineage.began", epoch)]
        assert await _origin(primary) == origin

        written = await primary.write(_tuning())
        assert written.seq == first + 1
        [[(tuning_id,)], *_] = written.rows
        assert tuning_id == after["tuning"] + 1


def _tuning() -> Batch:
    add = "INSERT INTO tuning (instance_id, key, value, before, at_ms) VALUES ('a', 'k', '1', '2', 0) RETURNING id"
    return Batch([Statement(add), record("tuning.changed", actor_id=None, audience="nobody")])


async def _sequences(primary: LocalPrimary | RemotePrimary) -> dict[str, int]:
    rows = await primary.read("SELECT name, seq FROM sqlite_sequence")
    return {str(name): int(str(seq)) for name, seq in rows}


async def _origin(primary: LocalPrimary | RemotePrimary) -> list[Row]:
    rows = await primary.read("SELECT value FROM deployment WHERE name = 'origin'")
    assert len(str(rows[0][0])) == 32
    return rows


async def _head(primary: LocalPrimary | RemotePrimary) -> list[Row]:
    return await primary.read("SELECT seq, token FROM change ORDER BY seq DESC LIMIT 1")
