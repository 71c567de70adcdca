"""Taking an SQL script apart into its statements."""

from __future__ import annotations

import re

import apsw

# What may stand between and after statements: comments, white space, a lone semicolon.
_NO_STATEMENT = re.compile(r"(--[^\n]*(\n|$)|[\s;])*")


def split_script(sql: str) -> list[str]:
    """Split at the semicolons that end statements: not at those in texts, comments and triggers."""
    statements: list[str] = []
    begun = ""
    for piece in re.split(r"(?<=;)", sql):
        begun += piece
        if apsw.complete(begun):
            statements.append(begun.strip())
            begun = ""
    statements.append(begun.strip())
    return [statement for statement in statements if _NO_STATEMENT.fullmatch(statement) is None]
