"""The product on a machine whose clock is wrong: `python -m tests.support.skewed SECONDS serve …`.

Only wall clocks are moved, and before anything of the product is imported; the monotonic one goes on as it does.
"""

from __future__ import annotations

import sys
import time


def skew(by_s: float) -> None:
    """Put this process's wall clock forward (or back)."""
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + by_s
    time.time_ns = lambda: nanoseconds() + int(by_s * 1e9)


if __name__ == "__main__":
    skew(float(sys.argv.pop(1)))
    from groupspaces.cli import main

    sys.exit(main())
