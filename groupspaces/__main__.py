"""Run the command line as `python -m groupspaces`, for places where the `groupspaces` script is not on PATH."""

from __future__ import annotations

import sys

from groupspaces.cli import main

if __name__ == "__main__":
    sys.exit(main())
