"""Proof that the torture test can fail: the product as it is, then with one thing spoilt, under the faults that this is there for.

`python -m tests.faults.spoilt [NAME …]` (all: twenty minutes, most of them for one that never heals; `--list` names them) copies the package to a folder of its own,
changes the lines named below and nothing else, runs `groupspaces torture` on both, and fails unless the first finds nothing and the
second what it has to. What is spoilt is a safeguard taken out, or, where nothing guards, a fault put in.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.process import clean_environment
from tests.support.sqld import BINARY

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "groupspaces"
RUN_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Change:
    """Text of one file of the package, which is there once, and what it becomes."""

    path: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the file. Raises ValueError when the text is not there, or more than once."""
        path = package / self.path
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has this {text.count(self.old)} times:\n{self.old}")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, slots=True)
class Spoilt:
    """One thing spoilt: `found` are violations of which at least one must be reported, under these faults."""

    name: str
    what: str
    faults: str
    found: frozenset[str]
    changes: tuple[Change, ...]
    seed: int = 3
    minutes: float = 0.2


def _in_every_page(statement: str) -> Change:
    head = "async def get_messages(ctx: Context, query: MessagesQuery) -> bytes:\n"
    return Change("features/chat/api.py", head, f"{head}    {statement}\n")


PROOFS = (
    Spoilt(
        "lineage",
        "the token in write batches and before syncs, the verdict on the primary, the look whether a file was overwritten",
        "restore_primary",
        frozenset({"write_lost", "own_write_missing", "replica_differs"}),
        (
            Change("db/replicated.py", "lineage=self._our_head,", "lineage=lambda: None,"),
            Change("db/agreement.py", 'return verdict == "other_history"', "return False"),
            Change(
                "db/follower.py",
                "            if not self.seq:\n                return True\n            is_our_epoch",
                "            return True\n            is_our_epoch",
            ),
        ),
        seed=74,
        minutes=0.6,
    ),
    Spoilt(
        "idempotency",
        "keeping the Idempotency-Key",
        "loss,reset,kill_app",
        frozenset({"write_doubled"}),
        (
            Change(
                "web/idempotency.py",
                "            Statement(_KEEP_SQL, (self.user_id, self.key, self.fingerprint)),\n",
                "",
            ),
        ),
    ),
    Spoilt(
        "bookmarks",
        "waiting for the position a reader names, or has written at",
        "latency,slow",
        frozenset({"bookmark_ignored", "own_write_missing", "read_backwards"}),
        (
            Change("web/bookmarks.py", "if wanted is not None and wanted > status.seq:", "if False:"),
            Change(
                "web/bookmarks.py",
                "if principal is not None and self.wanted(principal) > status.seq:",
                "if False:",
            ),
        ),
    ),
    Spoilt(
        "damage",
        "fetching a damaged replica anew",
        "truncate_replica,delete_index",
        frozenset({"not_healed"}),
        (
            Change(
                "db/renewal.py",
                "        self._take(wish)\n        if not generation:\n",
                '        if cause == "damaged":\n            return\n        self._take(wish)\n        if not generation:\n',
            ),
        ),
    ),
    Spoilt(
        "replay",
        "the replay after Last-Event-ID",
        "kill_app",
        frozenset({"event_gap"}),
        (
            Change(
                "web/stream.py",
                "missed = await self._hub.replay(self._stream.user_id, self._after_seq, begin)",
                'missed: bytes | None = b""',
            ),
        ),
    ),
    Spoilt(
        "wiped",
        "keeping away from a primary that is empty",
        "wipe_primary",
        frozenset({"wiped_primary_used"}),
        (
            Change(
                "db/agreement.py",
                'if verdict != "ours" and verdict != "other_history":\n            self._r',
                "if False:\n            self._r",
            ),
        ),
    ),
    Spoilt(
        "membership",
        "asking who belongs to a space before its events are told",
        "none",
        frozenset({"forbidden_event"}),
        (
            Change(
                "live.py",
                "        if change.audience == SPACE:\n            return await self._members_of(change.space_id)\n",
                "        if change.audience == SPACE:\n            return frozenset(self._streams)\n",
            ),
        ),
    ),
    Spoilt(
        "loop",
        "put in: every page of messages stands on the event loop for 0.4 s",
        "none",
        frozenset({"loop_stalled"}),
        (_in_every_page("__import__('time').sleep(0.4)"),),
    ),
    Spoilt(
        "files",
        "put in: every page of messages leaves ten files open",
        "none",
        frozenset({"too_many_files"}),
        (_in_every_page("globals().setdefault('_kept', []).extend(open('/dev/null') for _ in range(10))"),),
    ),
    Spoilt(
        "memory",
        "put in: every page of messages keeps 10 MB",
        "none",
        frozenset({"memory_grew"}),
        (_in_every_page("globals().setdefault('_kept', []).append(bytearray(b'x') * 10_000_000)"),),
        minutes=0.4,
    ),
)


def main() -> int:
    """Run the proofs that were asked for and return how many failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.spoilt", description=__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    parser.add_argument("--list", action="store_true", help="say which there are")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{proof.name:12} {proof.what}" for proof in PROOFS))
        return 0
    if unknown := set(options.names) - {proof.name for proof in PROOFS}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return sum(not prove(proof) for proof in PROOFS if not options.names or proof.name in options.names)


def prove(proof: Spoilt) -> bool:
    """Run one proof and say how it went."""
    print(f"{proof.name}: {proof.what}\n    {' '.join(['groupspaces', *arguments(proof)])}", flush=True)
    sound = run(proof, ())
    print(f"    as it is    {summary(sound)}", flush=True)
    for violation in sound["violations"]:
        print("\n        ".join([f"        {violation['detail']}", *violation["history"]]), flush=True)
    spoilt = run(proof, proof.changes)
    print(f"    without it  {summary(spoilt)}", flush=True)
    first = next((one for one in spoilt["violations"] if one["kind"] in proof.found), None)
    if first is not None:
        print(f"    {first['kind']}: {first['detail'][:200]}", flush=True)
    held = not sound["violations"] and first is not None
    print(f"    {'proved' if held else 'NOT PROVED'}", flush=True)
    return held


def run(proof: Spoilt, changes: tuple[Change, ...]) -> dict[str, Any]:
    """Run the torture test on a copy of the package with these changes; returns its report."""
    with tempfile.TemporaryDirectory(prefix="groupspaces-spoilt-") as folder:
        package = Path(folder) / PACKAGE.name
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        for change in changes:
            change.apply(package)
        for name in ("static", "config.toml"):
            (Path(folder) / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "groupspaces", *arguments(proof), "--sqld", str(BINARY), "--json"]
        ended = subprocess.run(
            command,
            cwd=folder,
            env=clean_environment() | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
    if not ended.stdout:
        raise SystemExit(f"it could not be run:\n{ended.stderr}")
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def arguments(proof: Spoilt) -> list[str]:
    """Return the arguments of the command."""
    return ["torture", "--seed", str(proof.seed), "--minutes", str(proof.minutes), "--faults", proof.faults]


def summary(report: dict[str, Any]) -> str:
    """Say what was found on one line."""
    kinds = Counter(one["kind"] for one in report["violations"])
    found = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "nothing found"
    return f"{sum(report['faults'].values())} faults, {report['operations']} operations: {found}"


if __name__ == "__main__":
    sys.exit(main())
