"""Who may call what, and about whose things: each call is made and compared with the reviewed tables of `access_matrix.py`.

(Inside each write the same is decided again: `integration/test_stale_edges.py`.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.contract.access_matrix import ALL, MATRICES, ByCaller, ByPlace, Matrix, acting
from tests.features.cast import Cast
from tests.features.stage import BODIES

# The places where another space's thing may be named, and why.
BY_DESIGN = {
    "GET /api/invites/{code} | path code": "an invite is for those who do not belong to its space",
    "POST /api/invites/{code}/accept | path code": "so it is when they come",
    "PUT /api/spaces/{space_id}/read | body message_id": "a position in the space of the path, not a message",
    "POST /api/auth/passkeys/sign-in | body user_id": "a passkey that is nobody's opens nothing, whomever it is said to be of",
    "POST /api/tokens | body scopes": "a field that was refused, in a call about oneself",
    "DELETE /api/users/me | body hand_over.space_id": "nothing of theirs is handed over by it, which is refused",
    "DELETE /api/users/me | body hand_over.user_id": "a field that was refused: nobody of that space",
}

_HOW = "Look at what `python -m tests.contract.access_matrix` proposes; if that is right, add --write."


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cast() -> AsyncIterator[Cast]:
    async with acting() as everybody:
        yield everybody


@pytest.mark.parametrize("matrix", MATRICES, ids=lambda matrix: matrix.file)
def test_there_is_a_row_for_each_call_and_no_other(matrix: Matrix) -> None:
    reviewed = list(matrix.read())
    missing = [name for name in matrix.names() if name not in reviewed]
    left_over = [name for name in reviewed if name not in matrix.names()]
    assert (missing, left_over) == ([], []), f"{matrix.file} lacks rows or has some too many. {_HOW}"
    assert reviewed == matrix.names(), f"The rows of {matrix.file} are not in order. {_HOW}"


def test_there_is_a_sample_for_each_body() -> None:
    with_body = {key for key, operation in ALL.items() if operation.body}
    assert with_body - BODIES.keys() == set(), "Add a sample to BODIES in tests/features/stage.py."
    assert BODIES.keys() - with_body == set(), "There is no such call any more: take its sample away."


@pytest.mark.parametrize(
    ("matrix", "name"),
    [pytest.param(matrix, name, id=name) for matrix in MATRICES for name in matrix.names()],
)
async def test_everybody_is_answered_as_reviewed(cast: Cast, matrix: Matrix, name: str) -> None:
    reviewed = matrix.read().get(name, {})
    assert await matrix.row(cast, name) == reviewed, (
        f"{name} answers otherwise than {matrix.file} says. {_HOW}"
    )


# What holds whatever a review lets pass.


def test_without_a_credential_that_stands_only_public_calls_are_answered() -> None:
    for name, row in ByCaller().read().items():
        if ALL[name].needs_session:
            assert (row["anonymous"], row["suspended"]) == ("401", "401"), name
        else:
            assert row["suspended"] == row["anonymous"] or name == "POST /api/auth/sign-in", name


def test_a_token_may_never_do_what_its_holder_may_not() -> None:
    holders = {"token:read": "owner", "token:write": "owner", "token:space": "owner", "token:ops": "operator"}
    for name, row in ByCaller().read().items():
        for token, holder in holders.items():
            assert row[token] == row[holder] or row[token].startswith("403"), f"{name} by {token}"


def test_a_token_does_nothing_beyond_its_scopes() -> None:
    for name, row in ByCaller().read().items():
        operation = ALL[name]
        if not operation.needs_session:
            continue
        allowed = {
            None: set(),
            "read": {"token:read", "token:write"},
            "write": {"token:write"},
            "ops": {"token:ops"},
        }[operation.token_scope]
        if allowed and operation.access.is_of_a_space:
            allowed |= {"token:space"} if operation.token_scope != "ops" else set()
        granted = {
            column for column in row if column.startswith("token:") and not row[column].startswith("403")
        }
        assert granted <= allowed, name


def test_only_operators_operate() -> None:
    for name, row in ByCaller().read().items():
        if ALL[name].access.name == "operator":
            for caller in ("stranger", "member", "admin", "owner", "unconfirmed"):
                assert row[caller] == "403 OPERATOR_ONLY", f"{name} by {caller}"


def test_the_command_line_is_an_operator_and_nobody_else() -> None:
    for name, row in ByCaller().read().items():
        if not ALL[name].needs_session:
            assert row["command line"] == row["anonymous"], name
        elif ALL[name].path.startswith("/api/ops/"):
            # Let in: to a call that works, or that a standalone server has nothing to do for.
            nothing_to_do = row["command line"] == "409 STANDALONE"
            assert row["command line"][0] == "2" or nothing_to_do, name
        else:
            assert row["command line"] == "401", name


def test_strangers_are_told_that_there_is_no_such_space() -> None:
    for name, row in ByCaller().read().items():
        if ALL[name].access.is_of_a_space:
            assert (row["stranger"], row["operator"]) == ("404", "404"), name


def test_what_belongs_to_somebody_else_is_not_there() -> None:
    for name, row in ByPlace().read().items():
        if name not in BY_DESIGN:
            assert row["owner"] == "404", name
            assert row["token:space"] in ("404", "403 TOKEN_SCOPE", "403 SESSION_REQUIRED"), name
    assert BY_DESIGN.keys() - ByPlace().read().keys() == set(), "There is no such place any more."
