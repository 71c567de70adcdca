"""What is in force: which row of the log counts, and what the settings have to say."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from groupspaces.ops.tuning import EVERYWHERE, KEYS, RANGES, Chosen, Tuned, fold, tuned
from groupspaces.settings import Replica

SETTINGS = Tuned(interval_s=1.0, idle_interval_s=60.0, jitter=0.1, doorbell=True)


def after(*rows: tuple[str, str, Any]) -> Tuned:
    """Return what is in force after these (instance, key, value), the oldest first, however they were read."""
    log = [Chosen(number, *row) for number, row in enumerate(rows, 1)]
    random.Random(1).shuffle(log)
    return tuned(SETTINGS, fold(log))


def test_without_a_row_the_settings_hold() -> None:
    assert after() == SETTINGS


def test_the_newest_row_of_a_key_counts() -> None:
    found = after(("me", "interval_s", 2.0), ("me", "interval_s", 3.0), ("me", "jitter", 0.2))
    assert found == msgspec.structs.replace(SETTINGS, interval_s=3.0, jitter=0.2)


def test_everywhere_takes_the_place_of_what_was_chosen_for_one_before() -> None:
    assert after(("me", "interval_s", 2.0), (EVERYWHERE, "interval_s", 5.0)).interval_s == 5.0
    assert after((EVERYWHERE, "interval_s", 5.0), ("me", "interval_s", 2.0)).interval_s == 2.0


def test_null_gives_the_settings_back_their_say() -> None:
    assert after(("me", "doorbell", False), ("me", "doorbell", None)) == SETTINGS
    assert after((EVERYWHERE, "doorbell", False), ("me", "doorbell", None)) == SETTINGS
    assert after(("me", "interval_s", 2.0), (EVERYWHERE, "interval_s", None)) == SETTINGS


def test_an_idle_interval_left_below_the_other_counts_as_equal_to_it() -> None:
    assert after(("me", "interval_s", 90.0)).idle_interval_s == 90.0
    assert after(("me", "interval_s", 90.0), ("me", "interval_s", None)).idle_interval_s == 60.0


def test_every_tunable_is_a_setting_and_every_number_has_its_range() -> None:
    assert set(KEYS) <= set(Replica.__struct_fields__)
    assert RANGES == {"interval_s": (0.1, 3600), "idle_interval_s": (0.1, 3600), "jitter": (0, 0.5)}
