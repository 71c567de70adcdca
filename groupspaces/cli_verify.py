"""`groupspaces replica verify`: compare the replica with the primary, and wait for what is found."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from groupspaces.cli_running import RunningInstance, counted, duration, json_line, size

_LOOK_S = 0.5
_DIFFERENT, _NOT_FINISHED = 1, 9


def add_action(actions: Any) -> argparse.ArgumentParser:
    """Add `verify` to the actions of `replica`, and return it."""
    verify: argparse.ArgumentParser = actions.add_parser(
        "verify",
        help="compare this instance's copy with the primary, row by row",
        description="Digests travel, not rows. Where something differs the copy is fetched anew. With --wait, the exit code is 0 when "
        "all is equal, 1 when something differs, and 9 when it was not finished.",
    )
    verify.add_argument(
        "--table", action="append", default=[], metavar="T", help="only this table; can be repeated"
    )
    verify.add_argument("--wait", action="store_true", help="show how it goes, and end when it has ended")
    verify.set_defaults(command=_verify)
    return verify


def _verify(arguments: argparse.Namespace) -> int:
    server = RunningInstance(arguments)
    started = server.call("POST", "/verify", {"tables": arguments.table})
    if not arguments.wait:
        print(
            json_line(started)
            if arguments.json
            else "Verifying; `groupspaces replica status` tells how it goes."
        )
        return 0
    ended = _waited(server, started, quiet=arguments.json)
    if arguments.json:
        print(json_line(ended))
    if (why := _why_not_finished(started, ended)) is not None:
        print(f"groupspaces: This was not verified: {why}.", file=sys.stderr)
        return _NOT_FINISHED
    if not arguments.json:
        print("\n".join(_described(ended)))
    return _DIFFERENT if ended["state"] == "different" else 0


def _why_not_finished(started: dict[str, Any], ended: dict[str, Any]) -> str | None:
    """Say why nothing is known of the verification that was begun, None when it is."""
    if ended["at"] != started["at"]:
        return "the process that compared was replaced, or another comparison has begun since; begin again"
    return ended["error"] or "it ended early" if ended["state"] == "failed" else None


def _waited(server: RunningInstance, started: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Return how the verification that began then has ended.

    One that found a difference may have been followed by another by now, which then tells of the first.
    """
    in_place = sys.stderr.isatty() and not quiet
    shown = ""
    while True:
        now: dict[str, Any] = server.status()["verification"]
        found = now["found"]
        if found is not None and found["at"] == started["at"]:
            _clear(shown)
            return {**now, "at": found["at"], "state": "different", "differences": found["differences"]}
        if now["at"] != started["at"] or now["state"] != "running":
            _clear(shown)
            return now
        if in_place:
            shown = f"{now['ranges_done']} of {now['ranges_total']} ranges, {size(now['bytes'])}"
            sys.stderr.write(f"\r{shown}\x1b[K")
            sys.stderr.flush()
        time.sleep(_LOOK_S)


def _clear(shown: str) -> None:
    if shown:
        sys.stderr.write("\r\x1b[K")


def _described(ended: dict[str, Any]) -> Iterator[str]:
    amount = (
        f"{counted(len(ended['tables']), 'table')}, {counted(ended['rows'], 'row')}, {size(ended['bytes'])}"
    )
    if ended["state"] == "equal":
        yield f"equal: {amount} at feed {ended['seq']}, took {duration(ended['duration_ms'])}"
    if ended["state"] == "different":
        yield "different:"
        for one in ended["differences"]:
            yield f"  {described_range(one)}"
        yield "A new copy is being fetched, and verified when it is there."


def described_range(one: dict[str, Any]) -> str:
    """Say which rows differ."""
    after = "from the first row" if one["from"] is None else f"after {one['from']}"
    up_to = "to the last" if one["to"] is None else f"up to {one['to']}"
    return f"{one['table']}, {after} {up_to}" + (f": {one['reason']}" if one["reason"] else "")


def verification_line(found: dict[str, Any], generation: int) -> str:
    """Say on one line how the newest verification went, beside the generation that serves."""
    match found["state"]:
        case "never":
            return "not since the start"
        case "running":
            return f"running, {found['ranges_done']} of {found['ranges_total']} ranges"
        case "failed":
            return f"failed at {found['at']}: {found['error']}"
        case state:
            part = "" if found["whole"] else f" ({', '.join(found['tables'])} only)"
            of = "" if found["generation"] == generation else f"; that was generation {found['generation']}"
            return f"{state} at {found['at']}, feed {found['seq']}{part}{of}"
