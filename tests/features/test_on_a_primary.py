"""The same on a libSQL primary as on one's own file: every operation, each answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.features.cast import Cast
from tests.features.stage import OURS, key_of
from tests.features.world import running
from tests.support.sqld import Sqld


@pytest.mark.sqld
async def test_every_operation_answers_the_same_on_either_primary(tmp_path: Path, sqld: Sqld) -> None:
    alone = await answers(tmp_path / "alone", {})
    replicated = await answers(
        tmp_path / "replicated", {"primary.url": sqld.url, "auth.secret": "s" * 40, "primary.migrate": "true"}
    )
    assert replicated == alone


async def answers(folder: Path, overrides: Mapping[str, str]) -> dict[tuple[str, str], tuple[int, object]]:
    """Call everything as everybody on a fresh installation; return status, and code or fields."""
    found: dict[tuple[str, str], tuple[int, object]] = {}
    async with running(folder, overrides) as world:
        cast = await Cast.of(world)
        for operation in OURS:
            for caller in ("stranger", "member", "owner"):
                answer = await (await cast.scene(caller)).call(operation)
                is_json = "json" in answer.headers.get("content-type", "")
                body = answer.json() if is_json and answer.content else {}
                told = sorted(body) if answer.status_code < 400 or not body else body["code"]
                found[key_of(operation), caller] = answer.status_code, told
    return found
