"""The places in which archives are made and opened: what a killed process leaves is removed by the next who comes, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

from groupspaces.ops.backups.workplace import clear, place_in


def test_a_place_is_there_for_as_long_as_it_is_needed(tmp_path: Path) -> None:
    with place_in(tmp_path) as first, place_in(tmp_path) as second:
        assert first != second
        assert clear(tmp_path) == 0, "somebody works there"
        assert first.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    places = tmp_path / ".work"
    left = {
        "begun": places / ".0123456789abcdef",  # killed, or perhaps made right now
        "old": places / ".1123456789abcdef",
        "used": places / "2123456789abcdef",
        "being removed": places / "3123456789abcdef",  # killed after its lock had gone
    }
    for place in left.values():
        (place / "work").mkdir(parents=True)
        (place / "work" / "settings.toml").write_text("")
    (left["used"] / "lock").touch()
    hours_ago = time.time() - 2 * 3600
    os.utime(left["old"], (hours_ago, hours_ago))
    assert clear(tmp_path) == 3
    assert list(places.iterdir()) == [left["begun"]]
