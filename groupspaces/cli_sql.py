"""SQL dumps on the command line: `groupspaces backup export --sql`, and what `groupspaces restore` does with one.

Owns the words. What a dump is, is `db/sql_form.py`'s; what is made of one, `ops/backups/sql_text.py`'s.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from groupspaces.cli_backup import Bar
from groupspaces.cli_call import print_json
from groupspaces.cli_long import run
from groupspaces.cli_running import counted, size
from groupspaces.db.folder import FolderError
from groupspaces.errors import AppError
from groupspaces.settings import load

_ENDINGS = (".sql", ".sql.gz")


def is_dump(name: str) -> bool:
    """Tell a dump from an archive."""
    return name.endswith(_ENDINGS)


def export(arguments: argparse.Namespace) -> int:
    """Write what this folder's instance reads."""
    from groupspaces.ops.backups.sql_text import export_sql

    to = Path(arguments.sql or time.strftime("groupspaces-%Y%m%dT%H%M%SZ.sql.gz", time.gmtime()))
    if not is_dump(to.name):
        raise AppError(f"{to} is to be SQL: give it a name that ends in .sql or .sql.gz.", code="INVALID")
    bar = Bar(arguments)
    try:
        found = run(export_sql(load(os.environ), to, bar.show_progress))
    finally:
        bar.end()
    head = found.head
    if arguments.json:
        facts = {"feed_seq": head.seq, "epoch": head.epoch, "schema": head.schema_version}
        print_json({"file": found.file, "size_bytes": found.size_bytes, "rows": found.rows, **facts})
    else:
        rows = counted(found.rows, "row")
        print(f"{found.file}: {size(found.size_bytes)}, {rows}, of feed position {head.seq}.")
        print("Uploaded files are not in it. `groupspaces restore` reads it, and so does `sqlite3 new.db`.")
    return 0


@contextmanager
def archive_of(dump: Path, beside: Path, passphrase: str, bar: Bar) -> Iterator[Path]:
    """Have an archive of what a dump holds, in the folder `beside`: what is done with one is the same then."""
    from groupspaces.ops.backups import errands, workplace
    from groupspaces.ops.backups.making import Made
    from groupspaces.ops.backups.sql_text import ConvertOrder

    with ExitStack() as stack:
        try:
            place = stack.enter_context(workplace.place_in(beside))
        except OSError as error:
            raise FolderError(f"{beside} cannot be written: {error.strerror}.") from error
        order = ConvertOrder(str(dump), str(place), passphrase)
        try:
            made = run(errands.run("convert", order, Made, bar.show_progress))
        finally:
            bar.end()
        yield place / made.file
