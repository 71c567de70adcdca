"""No statement of a feature reads a whole table, however large it grows."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

import groupspaces.features
from groupspaces.db.batch import Batch
from tests.features.cast import Cast
from tests.features.stage import OPERATORS, OURS
from tests.features.world import World

# What EXPLAIN QUERY PLAN calls a scan though it reads no table: json_each, a row of constants, rows just
# computed. The fleet's table has a row for each instance, and is read whole to be shown; of the seals, the first and the last
# are looked at, which lie where such a reading begins; the schema has a row for each table.
_HARMLESS = re.compile(
    r"^SCAN (CONSTANT ROW|\d+-ROW VALUES CLAUSE$|\(subquery|\w+ VIRTUAL TABLE|(instance|audit_seal|sqlite_schema)$)"
)


async def scans(world: World, sql: str, params: Sequence[Any]) -> list[str]:
    """Return the lines of the plan that read a table from end to end."""
    plan = await world.rows(f"EXPLAIN QUERY PLAN {sql}", *params)
    return [line for *_, line in plan if line.startswith("SCAN") and not _HARMLESS.match(line)]


def constants() -> Iterator[tuple[str, str]]:
    """Yield every SQL constant of the features that is no template."""
    for info in pkgutil.walk_packages(groupspaces.features.__path__, "groupspaces.features."):
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            if name.endswith("_SQL") and isinstance(value, str) and "{" not in value:
                yield f"{info.name}.{name}", value


def parameters_of(sql: str) -> int:
    """Return how many parameters a statement takes, whether they are numbered or not."""
    numbers = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return max(numbers) if numbers else sql.count("?")


@pytest.mark.parametrize(
    ("sql", "is_scan"),
    [
        ("SELECT 1 FROM message WHERE content = ?", True),
        ("UPDATE member SET role = 'owner' WHERE role = ?", True),
        ("SELECT 1 FROM message AS m WHERE m.id > ?", False),
        ("SELECT value FROM json_each(?)", False),
    ],
)
async def test_a_scan_is_recognised(world: World, sql: str, is_scan: bool) -> None:
    assert bool(await scans(world, sql, ("x",))) is is_scan


async def test_no_constant_scans(world: World) -> None:
    found = dict(constants())
    assert len(found) > 30
    bad = {
        name: lines
        for name, sql in found.items()
        if (lines := await scans(world, sql, [None] * parameters_of(sql)))
    }
    assert bad == {}


async def test_nothing_that_runs_scans(world: World) -> None:
    """Call every operation as everybody, and look at each statement that reached the database."""
    cast = await Cast.of(world)
    seen: dict[str, Sequence[Any]] = {}
    reader, db = world.db._reader, world.db
    rows, rows_slow, write, read_primary = reader.rows, reader.rows_slow, db.write, db.read_primary

    async def traced_rows(sql: str, params: Sequence[Any]) -> Any:
        seen[sql] = params
        return await rows(sql, params)

    async def traced_rows_slow(sql: str, params: Sequence[Any], *, deadline_s: float) -> Any:
        seen[sql] = params
        return await rows_slow(sql, params, deadline_s=deadline_s)

    async def traced_read_primary(sql: str, params: Sequence[Any] = ()) -> Any:
        seen[sql] = params
        return await read_primary(sql, params)

    async def traced_write(batch: Batch) -> Any:
        for step in batch.steps():
            seen[step.sql] = step.params
        return await write(batch)

    reader.rows = traced_rows  # type: ignore[method-assign]
    reader.rows_slow = traced_rows_slow  # type: ignore[method-assign]
    db.write, db.read_primary = traced_write, traced_read_primary  # type: ignore[method-assign]
    for operation in (*OURS, *(one for one in OPERATORS if one.method == "GET")):
        for caller in ("stranger", "member", "owner", "operator"):
            await (await cast.scene(caller)).call(operation)
    owner = await cast.scene("owner")
    for query in ("before=9", "after=1", "around=1&limit=2"):
        await owner.get(f"/api/spaces/{owner.theirs['space_id']}/messages?{query}")
    await owner.get("/api/spaces/discover?q=room")
    reader.rows, reader.rows_slow = rows, rows_slow  # type: ignore[method-assign]
    db.write, db.read_primary = write, read_primary  # type: ignore[method-assign]
    ours = {sql: params for sql, params in seen.items() if "EXPLAIN" not in sql}
    assert len(ours) > 50
    assert {sql: lines for sql, params in ours.items() if (lines := await scans(world, sql, params))} == {}
