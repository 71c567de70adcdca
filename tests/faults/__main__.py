"""`make faults`: the tests of this folder with more rounds, and a seed that can be given again.

Example: `python -m tests.faults --rounds 50 --seed 7 -k kill`. Arguments not known here go to pytest.
"""

from __future__ import annotations

import argparse
import os
import sys

import pytest

from tests.faults import rounds


def main() -> int:
    """Run pytest on this folder and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often each kill is repeated (default 50)")
    parser.add_argument(
        "--seed", type=int, default=rounds.SEED, help="what chance starts from (default: random)"
    )
    options, others = parser.parse_known_args()
    os.environ[rounds.ROUNDS_VARIABLE] = str(options.rounds)
    os.environ[rounds.SEED_VARIABLE] = str(options.seed)
    print(f"{options.rounds} rounds, --seed {options.seed}", flush=True)
    # The rounds take as long as they take; pytest's own patience is for hanging tests of ordinary length.
    return int(pytest.main(["tests/faults", "-o", "faulthandler_timeout=3600", *others]))


if __name__ == "__main__":
    sys.exit(main())
