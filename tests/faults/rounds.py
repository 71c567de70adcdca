"""How often something is repeated, and what its moments are drawn from: both can be set, and the seed is always shown."""

from __future__ import annotations

import os
import random

ROUNDS_VARIABLE = "FAULT_ROUNDS"
SEED_VARIABLE = "FAULT_SEED"

# As many as there is time for in an ordinary run; `python -m tests.faults` makes it 50.
DEFAULT_ROUNDS = 10
SEED = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**6))


def rounds() -> int:
    """Return how often a test repeats its fault."""
    return int(os.environ.get(ROUNDS_VARIABLE) or DEFAULT_ROUNDS)


def chance_of(name: str) -> random.Random:
    """Return the chance of one test. Prints how to get the same again; pytest shows it when the test fails."""
    seed = int(os.environ.get(SEED_VARIABLE) or SEED)
    print(f"chance starts from {SEED_VARIABLE}={seed}")
    return random.Random(f"{seed}:{name}")
