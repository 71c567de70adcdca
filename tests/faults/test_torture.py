"""The torture test itself: five short runs that must find nothing, and the command's manners. Longer ones are for people to start.

That the rules find what is wrong is shown in `tests/unit/test_torture_checks.py`, and with the product's own safeguards taken out in
`docs/TESTING_VALIDATION.md`.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from groupspaces.ops.torture.checks import Violation
from groupspaces.ops.torture.faults import KINDS
from groupspaces.ops.torture.plan import plan
from groupspaces.ops.torture.report import Report
from tests.faults.spoilt import PACKAGE, PROOFS, Spoilt
from tests.support.process import clean_environment
from tests.support.sqld import BINARY
from tests.support.wait import block_until

# Each is seconds of faults, after the seconds that a deployment takes to start. Together they have every kind of fault.
SECONDS = 6
SEEDS = (5402, 3622, 1046, 654, 5969)
# With fewer, people stood still: this is a fifth of what they do on a machine that is busy with other things.
LEAST_OPERATIONS = 80
RUN_TIMEOUT_S = 420.0

Running = subprocess.Popen[str]


def test_the_seeds_have_every_kind_of_fault() -> None:
    planned = {one.fault.kind for seed in SEEDS for one in plan(seed, SECONDS / 60)}
    assert planned == set(KINDS)


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_what_is_spoilt_to_prove_that_a_run_can_fail_is_there(proof: Spoilt, tmp_path: Path) -> None:
    for change in proof.changes:
        copy = tmp_path / change.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copyfile(PACKAGE / change.path, copy)
        change.apply(tmp_path)
        compile(copy.read_text(), change.path, "exec")
    assert proof.changes
    assert set(proof.faults.split(",")) <= {*KINDS, "none"}


@pytest.fixture(scope="module")
def short_runs() -> Iterator[dict[int, Running]]:
    """All seeds at once: most of a run is waiting, and nothing in one depends on how quick it is."""
    with ExitStack() as stack:
        yield {
            seed: stack.enter_context(started("--seed", str(seed), "--minutes", str(SECONDS / 60), "--json"))
            for seed in SEEDS
        }


@pytest.mark.sqld
@pytest.mark.parametrize("seed", SEEDS)
def test_a_short_run_finds_nothing(short_runs: dict[int, Running], seed: int) -> None:
    ended = ended_by_itself(short_runs[seed])

    found = report_of(ended)
    assert found["violations"] == [], text_of(found)
    assert ended.returncode == 0, ended.stderr
    assert found["seed"] == seed
    assert found["operations"] >= LEAST_OPERATIONS, found
    assert {*found["faults"], *found["missed"], *found["skipped"]} == {
        one.fault.kind for one in plan(seed, SECONDS / 60)
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "latency,earthquake"], "no such fault: earthquake. There are: latency"),
        (["--instances", "1"], "from 2 to"),
        (["--instances", "99"], "from 2 to"),
        (["--minutes", "0"], "must be a number above 0"),
        (["--minutes", "soon"], "must be a number above 0"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_started(arguments: list[str], said: str) -> None:
    ended = torture(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr


def test_without_a_primarys_program_it_says_so(tmp_path: Path) -> None:
    ended = torture("--sqld", str(tmp_path / "none"))
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "no libSQL server" in ended.stderr


@pytest.mark.sqld
def test_ctrl_c_tells_what_was_found_until_then_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    arguments = ("--seed", "1", "--minutes", "9", "--faults", "restore_primary", "--json")
    with started(*arguments, TMPDIR=str(folder)) as running:
        block_until(lambda: list(folder.glob("*/primary/copies/*")), RUN_TIMEOUT_S, "the first fault")
        running.send_signal(signal.SIGINT)
        ended = ended_by_itself(running)
    found = report_of(ended)
    assert ended.returncode == 130
    assert (found["seed"], found["whole"], found["violations"]) == (1, False, [])
    assert found["faults"] == {"restore_primary": 1}
    assert list(folder.iterdir()) == []


def test_what_was_found_is_told_with_its_history() -> None:
    violation = Violation("write_lost", "message 7 is gone", 3.25, ["   3.100 alice post"])
    report = Report(
        seed=5,
        again="groupspaces torture --seed 5",
        is_whole=True,
        faults={"reset": 2},
        missed={"kill_child": 1},
        operations={"post": 3, "read": 4},
        violations=[violation],
        suppressed=1,
        skipped={"disk_full": "no root"},
        duration_s=9.04,
        machine={"stalls": 0},
    )
    assert report.as_json() == {
        "seed": 5,
        "faults": {"reset": 2},
        "operations": 7,
        "violations": [
            {
                "kind": "write_lost",
                "detail": "message 7 is gone",
                "at_s": 3.25,
                "history": ["   3.100 alice post"],
            }
        ],
        "suppressed": 1,
        "missed": {"kill_child": 1},
        "skipped": {"disk_full": "no root"},
        "whole": True,
        "again": "groupspaces torture --seed 5",
        "duration_s": 9.0,
    }
    text = "\n".join(report.lines())
    assert "violations  2" in text
    assert "again       groupspaces torture --seed 5" in text
    assert "VIOLATION write_lost at 3.250 s: message 7 is gone\n       3.100 alice post" in text


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[Running]:
    """Start the command; it is ended when nobody waits for it any more."""
    command = [sys.executable, "-m", "groupspaces", "torture", "--sqld", str(BINARY), *arguments]
    with subprocess.Popen(
        command,
        env=clean_environment() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def ended_by_itself(running: Running) -> subprocess.CompletedProcess[str]:
    """Wait for its end."""
    output, errors = running.communicate(timeout=RUN_TIMEOUT_S)
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


def torture(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    with started(*arguments) as running:
        return ended_by_itself(running)


def report_of(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what was printed, which is JSON and nothing else."""
    assert ended.stdout, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def text_of(found: dict[str, Any]) -> str:
    """Return violations with their histories, for whoever has to find out why."""
    return "\n".join(
        "\n    ".join([f"{one['kind']}: {one['detail']}", *one["history"]]) for one in found["violations"]
    )
