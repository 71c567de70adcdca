"""What a copy of the primary must be before readers see it: whole, of a schema and a secret that fit, and of our family.

Looks at files that nobody serves yet, off the event loop: `accept` reads the whole file. Never changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from groupspaces.errors import SettingsError

from . import common_secret, lineage, migrate
from .changes import HEAD_SQL
from .lineage import Holding
from .reader import quick_check, read_once
from .replica import GenerationRefused


def accept(path: Path, fingerprints: Sequence[str], holding: Holding | None) -> None:
    """Raise GenerationRefused for a new copy that must not replace what this instance holds."""
    found = quick_check(path)
    if found != "ok":
        raise GenerationRefused(f"quick_check: {found}")
    try:
        migrate.status_of(read_once(path, migrate.ledger_sql()[1]))
        rows = read_once(path, common_secret.SQL)
        if not read_once(path, HEAD_SQL):
            raise GenerationRefused("its change feed is empty")
        # The primary may have been exchanged since it was asked what it is.
        question = lineage.question(holding)
        verdict = lineage.judge(lineage.traits_of(read_once(path, question.sql, question.params)), holding)
        if verdict not in ("ours", "other_history"):
            raise GenerationRefused(f"the primary it was fetched from is not ours ({verdict})")
        common_secret.compare(rows, fingerprints)
    except (apsw.Error, SettingsError) as error:
        raise GenerationRefused(str(error)) from error


def accept_first(path: Path, fingerprints: Sequence[str], *, agreed: bool) -> int:
    """Return the schema version of the copy that is there at start.

    Raises GenerationRefused for one of an older schema, which a new copy replaces, and SettingsError (the server stops) for one of
    another secret. Where the primary has `agreed` to ours, that file is of a time before, and a new copy is fetched as well.
    """
    status = migrate.status_of(read_once(path, migrate.ledger_sql()[1]))
    if status.pending:
        raise GenerationRefused(f"it has schema {status.version}, older than this version's")
    try:
        common_secret.compare(read_once(path, common_secret.SQL), fingerprints)
    except SettingsError as error:
        if not agreed:
            raise
        raise GenerationRefused("it is older than the secret of this deployment") from error
    return status.version


def holding_in(path: Path) -> Holding:
    """Return what a file holds: nothing that is known, when it cannot be read."""
    try:
        return lineage.holding_of(read_once(path, lineage.HOLDING_SQL))
    except apsw.Error:
        return Holding()
