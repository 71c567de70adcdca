"""`groupspaces jobs …`: what runs by itself at an instance, how it went, and when it runs."""

from __future__ import annotations

import argparse
import re
from typing import Any

from groupspaces.cli_call import Operator, add_json, print_json, print_table
from groupspaces.cli_running import duration
from groupspaces.errors import AppError

_PATH = "/api/ops/jobs"
_EXIT_FAILED = 1
_LOOK_S = 0.2
_INTERVAL = re.compile(r"^([0-9]+(?:\.[0-9]+)?)([smhd])$")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_EXAMPLES = """examples:
  groupspaces jobs run backup
  groupspaces jobs schedule backup "30 1 * * *"
  groupspaces jobs schedule disk_watch 5m
  groupspaces jobs schedule backup default"""


def add_commands(commands: Any) -> None:
    """Add `jobs` and its actions to the command line."""
    jobs = commands.add_parser(
        "jobs",
        help="list, run, pause and reschedule what runs by itself",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = jobs.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="show all jobs, how each went last and when it runs next")
    listing.set_defaults(command=_list)
    run = actions.add_parser("run", help="run a job now and wait; exit code 1 when it fails")
    run.set_defaults(command=_run)
    pause = actions.add_parser("pause", help="let a job rest until it is resumed")
    pause.set_defaults(command=_change, change={"paused": True})
    resume = actions.add_parser("resume", help="end a pause")
    resume.set_defaults(command=_change, change={"paused": False})
    schedule = actions.add_parser("schedule", help="choose when a job runs at this instance")
    schedule.set_defaults(command=_schedule)
    history = actions.add_parser("history", help="show how a job went, newest first")
    history.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default 20)")
    history.set_defaults(command=_history)
    for action in (run, pause, resume, schedule, history):
        action.add_argument("job", metavar="JOB", help="as `jobs list` shows it")
    schedule.add_argument(
        "when", metavar="WHEN", help='"90s", "15m", "6h", a crontab line in UTC, or default'
    )
    for action in (listing, run, pause, resume, schedule, history):
        action.add_argument("--instance", metavar="ID", help="another instance of the fleet")
    add_json(listing, run, pause, resume, schedule, history)


def _list(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        found = operator.call("GET", _PATH, instance=arguments.instance)
    if arguments.json:
        print_json(found)
        return 0
    rows = (
        (
            job["id"],
            _when(job),
            _last(job),
            job["next_run_at"] if not job["paused"] else "paused",
            job["title"],
        )
        for job in found["items"]
    )
    print_table(("job", "when", "last", "next", "what"), rows)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    with Operator() as operator:
        operator.call("POST", f"{_PATH}/{arguments.job}/run", instance=arguments.instance)
        while (job := _job(operator, arguments))["running"]:
            operator.pause(_LOOK_S)
    if arguments.json:
        print_json(job)
    else:
        print(_last(job))
    return _EXIT_FAILED if job["last"] and job["last"]["outcome"] == "failed" else 0


def _change(arguments: argparse.Namespace) -> int:
    return _changed(arguments, arguments.change)


def _schedule(arguments: argparse.Namespace) -> int:
    if arguments.when == "default":
        return _changed(arguments, {"schedule": None})
    found = _INTERVAL.match(arguments.when)
    if found is None:
        return _changed(arguments, {"schedule": {"cron": arguments.when}})
    return _changed(arguments, {"schedule": {"interval_s": float(found[1]) * _UNITS_S[found[2]]}})


def _changed(arguments: argparse.Namespace, change: dict[str, Any]) -> int:
    with Operator() as operator:
        job = operator.call("PATCH", f"{_PATH}/{arguments.job}", change, instance=arguments.instance)
    if arguments.json:
        print_json(job)
    else:
        print(f"{job['id']}: {'paused' if job['paused'] else _when(job)}.")
    return 0


def _history(arguments: argparse.Namespace) -> int:
    limit = max(1, min(arguments.limit, 200))
    with Operator() as operator:
        found = operator.call(
            "GET", f"{_PATH}/{arguments.job}/runs", limit=limit, instance=arguments.instance
        )
    if arguments.json:
        print_json(found)
        return 0
    rows = (
        (run["started_at"], run["runs"], run["outcome"], duration(run["duration_ms"]), run["detail"])
        for run in found["items"]
    )
    print_table(("began", "runs", "outcome", "took", "detail"), rows)
    return 0


def _job(operator: Operator, arguments: argparse.Namespace) -> dict[str, Any]:
    for job in operator.call("GET", _PATH, instance=arguments.instance)["items"]:
        if job["id"] == arguments.job:
            return dict(job)
    raise AppError(f"There is no job {arguments.job}.", code="NOT_FOUND")


def _when(job: dict[str, Any]) -> str:
    schedule = job["schedule"]
    return (
        f"every {schedule['interval_s']:g} s" if schedule["kind"] == "interval" else f"{schedule['cron']} UTC"
    )


def _last(job: dict[str, Any]) -> str:
    last = job["last"]
    if job["running"] or last is None:
        return "running" if job["running"] else "not yet"
    return f"{last['outcome']} {last['started_at']} {last['detail']}".strip()
