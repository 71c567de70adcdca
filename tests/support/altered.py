"""Changing a database file behind everybody's back, as a bad disk or a fault of the driver would. Nobody may have it open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# In a process of its own: closing any descriptor of the file in this one would drop the locks of the SQLite here.
_PROGRAM = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("PRAGMA foreign_keys = off")
for sql in sys.argv[2:]:
    connection.execute(sql)
connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
connection.close()
"""


def alter(database: Path, *statements: str) -> None:
    """Run statements on a file; without any, only move its WAL into it."""
    subprocess.run([sys.executable, "-c", _PROGRAM, str(database), *statements], check=True, timeout=30)


def flip_bit(database: Path, marker: bytes) -> None:
    """Flip the lowest bit of the byte that stands before where `marker` is, in the database file itself."""
    alter(database)
    content = bytearray(database.read_bytes())
    place = content.index(marker) - 1
    content[place] ^= 1
    database.write_bytes(content)
