"""The same on a libSQL primary as on one's own file: every operation, each answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.features.stage import OURS, key_of, staged
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
        stage = await staged(world)
        for operation in OURS:
            for caller in ("outsider", "member", "owner"):
                browser = await stage.browser_for(operation, caller)
                answer = await stage.call(operation, browser, await stage.scene())
                body = answer.json() if answer.content else {}
                told = sorted(body) if answer.is_success else body["code"]
                found[key_of(operation), caller] = answer.status_code, told
    return found
