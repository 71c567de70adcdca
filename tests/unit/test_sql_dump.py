"""Values as SQL text: whatever they are, SQLite reads back the very same ones, and the pattern knows them."""

from __future__ import annotations

import math
import re
import struct

import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from groupspaces.db.sql_literals import PATTERN, literal, number, text

# Where one value ends and another begins, where a marker is found again, and what a shell or a server takes for an end.
AWKWARD = st.text(st.sampled_from("\n\r\\nr01';,)(\0x é😀\u2028\ufeff"), max_size=40)
TEXTS = st.one_of(st.text(max_size=60), AWKWARD)
FLOATS = st.floats(allow_nan=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(st.none(), INTEGERS, FLOATS, TEXTS, st.binary(max_size=60))

MEMORY = apsw.Connection(":memory:")


def read_back(written: bytes) -> object:
    """Return what SQLite makes of a literal."""
    [(value,)] = MEMORY.execute(f"SELECT {written.decode()}").fetchall()
    return value


@given(VALUES)
@example("a\r\nb\\n\\r")
@example("\\\n\\n1\nn")
@example(-(2**63))
@example("it's\0")
def test_a_value_is_read_back_as_it_was(value: int | float | str | bytes | None) -> None:
    found = read_back(literal(value))
    assert type(found) is type(value)
    assert found == value


@given(FLOATS)
@example(-0.0)
@example(5e-324)
@example(-1.7976931348623157e308)
@example(0.1)
@example(1e22)
@example(math.inf)
def test_a_number_is_read_back_to_the_last_bit(value: float) -> None:
    assert struct.pack(">d", read_back(number(value).encode())) == struct.pack(">d", value)


@given(st.binary(max_size=40))
@example(b"\xff\n'")
def test_a_text_that_is_none_stays_what_it_is(value: bytes) -> None:
    written = text(value).decode()
    [(kind, found)] = MEMORY.execute(f"SELECT typeof({written}), CAST({written} AS BLOB)").fetchall()
    assert (kind, found) == ("text", value)


@given(VALUES)
def test_a_value_is_one_line_that_the_pattern_knows(value: int | float | str | bytes | None) -> None:
    written = literal(value)
    assert not re.search(rb"[\r\n\0]", written)
    assert re.fullmatch(PATTERN, written.decode())


@pytest.mark.parametrize(
    "written",
    [
        "",
        "a",
        "(SELECT 1)",
        "load_extension('x')",
        "randomblob(1000000000)",
        "1;DROP TABLE user",
        "'a'||'b'",
        "'a' -- ",
        "replace('a',x,char(10))",
        "replace('a','\\n',char(10)",
        "CAST('a' AS TEXT)",
        "'a'b'",
        "'a\0'",
        "X'0g'",
        "1,2",
    ],
)
def test_the_pattern_knows_nothing_else(written: str) -> None:
    assert not re.fullmatch(PATTERN, written)
