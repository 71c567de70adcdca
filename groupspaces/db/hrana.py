"""Hrana 3 over HTTP: how statements, values and errors travel to a libSQL primary and back.

Owns the JSON of `POST /v3/pipeline`: typed values, one atomic `batch` per transaction, and what the primary's error
codes mean. Never opens a connection and never decides what happens after an error: that is `remote_primary`.

Protocol: https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md; checked against sqld 0.24.32.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import orjson

from .batch import INT64_MAX, INT64_MIN, Batch, Row, Statement, Step, Value, Written, constraint_error
from .changes import is_record

# The newest change of a replica (its seq and token), and the epoch that it belongs to when that is known.
Lineage = tuple[int, str, int | None]
Result = dict[str, Any]

PIPELINE_PATH = "/v3/pipeline"


# Aborts the transaction when the primary has another history than we do: our newest change is not there, or another epoch has begun,
# for a primary filled with copied rows keeps their tokens; or when it is still being filled, or its data are elsewhere.
LINEAGE_SQL = """SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM change WHERE seq = ? AND token = ?)
OR (SELECT max(epoch) FROM lineage) <> ?
OR EXISTS (SELECT 1 FROM deployment WHERE name IN ('moving', 'moved_to')) THEN json('lineage') END"""

# Places of the steps that every transaction begins with; the batch's own follow.
BEGIN_STEP, LINEAGE_STEP, FIRST_STEP = 0, 1, 2

# The primary could not do it now and kept nothing of it (SQLite's primary result codes, and sqld's own).
TRANSIENT_CODES = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_IOERR",
    "SQLITE_NOMEM",
    "SQLITE_READONLY",
    "SQLITE_INTERRUPT",
    "SQLITE_PROTOCOL",
    "SQLITE_CANTOPEN",
    "TRANSACTION_TIMEOUT",
    "TRANSACTION_BUSY",
    "STREAM_EXPIRED",
    "BLOCKED",
    "SERVER_",
)

_BEGIN = b'{"stmt":{"sql":"BEGIN IMMEDIATE","want_rows":false}}'
_NO_LINEAGE = b'{"stmt":{"sql":"SELECT 1","want_rows":false},"condition":{"type":"ok","step":0}}'
_ROLLBACK = (
    b'{"stmt":{"sql":"ROLLBACK","want_rows":false},'
    b'"condition":{"type":"not","cond":{"type":"is_autocommit"}}}'
)
_CLOSE = b'{"type":"close"}'


class PrimaryError(Exception):
    """The primary could not run our SQL, for a reason that trying again does not change: a fault of ours."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message


class PrimaryBusy(Exception):
    """The primary could not do it now, and nothing of it was kept."""


class LineageMismatch(Exception):
    """The primary has another history than our replica (restored, wiped, half filled, or the wrong one); nothing was written."""


class GarbledAnswer(Exception):
    """What came back is not an answer to what was asked."""


def http_url(url: str) -> str:
    """Turn a primary's address as people write it (`libsql://…`, `wss://…`) into the one for HTTP, without a slash at its end."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return f"https://{url}".rstrip("/")
    scheme = {"libsql": "https", "wss": "https", "ws": "http"}.get(scheme.lower(), scheme.lower())
    return f"{scheme}://{rest}".rstrip("/")


# --- requests ---


def encode_steps(batch: Batch) -> bytes:
    """Encode a batch's own steps, each to run only if the one before did.

    Raises ValueError for a value that the primary could not take: then only this batch fails, not the others that
    would have travelled with it.
    """
    steps = [
        {
            "stmt": _statement(step.sql, step.params, want_rows=step.refused is None),
            "condition": {"type": "ok", "step": index - 1},
        }
        for index, step in enumerate(batch.steps(), FIRST_STEP)
    ]
    if not steps:
        raise ValueError("a batch needs at least one statement")
    return _dumps(steps)[1:-1]


def transaction(encoded_steps: bytes, count: int, lineage: Lineage | None) -> bytes:
    """Wrap `count` encoded steps: BEGIN IMMEDIATE, the lineage assertion, the steps, COMMIT, or else ROLLBACK."""
    commit = FIRST_STEP + count
    steps = (_BEGIN, _lineage_step(lineage), encoded_steps, _commit_step(commit), _ROLLBACK)
    return b'{"type":"batch","batch":{"steps":[' + b",".join(steps) + b"]}}"


def query(sql: str, params: Sequence[Value]) -> bytes:
    """Encode one statement outside any transaction."""
    return _dumps({"type": "execute", "stmt": _statement(sql, params)})


def asserted_query(sql: str, params: Sequence[Value], lineage: Lineage | None) -> bytes:
    """Encode one statement that runs only if the primary has our history."""
    steps = (
        {"stmt": _statement(LINEAGE_SQL, lineage) if lineage else _statement("SELECT 1", ())},
        {"stmt": _statement(sql, params), "condition": {"type": "ok", "step": 0}},
    )
    return _dumps({"type": "batch", "batch": {"steps": steps}})


def snapshot(queries: Sequence[Statement]) -> bytes:
    """Encode reads that see one state of the database."""
    steps = [_statement(query.sql, query.params) for query in queries]
    whole = [{"sql": "BEGIN", "want_rows": False}, *steps, {"sql": "ROLLBACK", "want_rows": False}]
    return _dumps({"type": "batch", "batch": {"steps": [{"stmt": step} for step in whole]}})


def pipeline(requests: Sequence[bytes]) -> bytes:
    """Put requests into one body. It always ends by closing its stream: leaked ones slow every later write down."""
    return b'{"requests":[' + b",".join((*requests, _CLOSE)) + b"]}"


# --- answers ---


def results(body: bytes, count: int) -> list[Result]:
    """Take a pipeline's answer apart: one result for each of `count` requests. Raises GarbledAnswer."""
    try:
        found = orjson.loads(body)["results"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise GarbledAnswer("the answer is not a pipeline's") from error
    if not isinstance(found, list) or len(found) < count or not all(isinstance(one, dict) for one in found):
        raise GarbledAnswer("the answer has not one result for each request")
    return found[:count]


def written(result: Result, batch: Batch) -> Written:
    """Read what a transaction did.

    Raises what its refusal means: AppError (a guard or a declared conflict), ConstraintViolation, LineageMismatch,
    PrimaryBusy, PrimaryError; in all of these nothing was written. GarbledAnswer when it cannot be told.
    """
    answer = _response(result, "batch")
    steps = batch.steps()
    commit = FIRST_STEP + len(steps)
    try:
        for index, error in enumerate(answer["step_errors"][: commit + 1]):
            if error is not None:
                raise _refusal(error, index, steps, batch)
        outcomes = answer["step_results"]
        if outcomes[commit] is None:
            raise GarbledAnswer("the transaction ended without COMMIT and without an error")
        return _collect(outcomes[FIRST_STEP:commit], steps, batch)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GarbledAnswer("the answer to a transaction cannot be read") from error


def rows(result: Result) -> list[Row]:
    """Read the rows of a `query`. Raises PrimaryBusy, PrimaryError, GarbledAnswer."""
    answer = _response(result, "execute")
    try:
        return _rows(answer)
    except (KeyError, TypeError, ValueError) as error:
        raise GarbledAnswer("the rows cannot be read") from error


def asserted_rows(result: Result) -> list[Row]:
    """Read the rows of an `asserted_query`. Raises LineageMismatch, PrimaryBusy, PrimaryError, GarbledAnswer."""
    answer = _response(result, "batch")
    try:
        for index, error in enumerate(answer["step_errors"]):
            if error is not None:
                raise _lineage_refusal(error) if index == 0 else _plain_error(error)
        return _rows(answer["step_results"][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GarbledAnswer("the rows cannot be read") from error


def snapshot_rows(result: Result, count: int) -> list[list[Row] | None]:
    """Read the rows of a `snapshot` of `count` queries, None for one whose table is not there. Raises like `rows`."""
    answer = _response(result, "batch")
    try:
        errors, outcomes = answer["step_errors"][: count + 1], answer["step_results"][1 : count + 1]
        for error in errors:
            if error is not None and not _lacks_table(error):
                raise _plain_error(error)
        return [None if outcome is None else _rows(outcome) for outcome in outcomes]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GarbledAnswer("the rows cannot be read") from error


# --- values ---


def encode_value(value: Value) -> dict[str, Any]:
    """Type one value: integers travel as text because JSON numbers lose them from 2^53 on. Raises ValueError."""
    match value:
        case None:
            return {"type": "null"}
        case int():
            if not INT64_MIN <= value <= INT64_MAX:
                raise ValueError("an integer does not fit in 64 bits")
            return {"type": "integer", "value": str(int(value))}
        case float():
            # JSON has no word for these, and one null here would make the primary refuse the whole pipeline.
            if not math.isfinite(value):
                raise ValueError("a number is not finite")
            return {"type": "float", "value": value}
        case str():
            return {"type": "text", "value": value}
        case bytes():
            return {"type": "blob", "base64": base64.b64encode(value).rstrip(b"=").decode()}


def decode_value(cell: dict[str, Any]) -> Value:
    """Turn one typed value into Python's. Raises ValueError, KeyError or TypeError for what is none."""
    match cell["type"]:
        case "null":
            return None
        case "integer":
            return int(cell["value"])
        case "float":
            # sqld writes infinity as null.
            return None if cell["value"] is None else float(cell["value"])
        case "text":
            return str(cell["value"])
        case "blob":
            text = cell["base64"]
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        case other:
            raise ValueError(f"unknown type of value: {other}")


# --- pieces ---


def _dumps(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # a lone surrogate
        raise ValueError(str(error)) from error


def _statement(sql: str, params: Sequence[Value], *, want_rows: bool = True) -> dict[str, Any]:
    statement: dict[str, Any] = {"sql": sql, "want_rows": want_rows}
    if params:
        statement["args"] = [encode_value(value) for value in params]
    return statement


def _lineage_step(lineage: Lineage | None) -> bytes:
    if lineage is None:
        return _NO_LINEAGE
    condition = {"type": "ok", "step": BEGIN_STEP}
    return _dumps({"stmt": _statement(LINEAGE_SQL, lineage, want_rows=False), "condition": condition})


def _commit_step(place: int) -> bytes:
    return b'{"stmt":{"sql":"COMMIT","want_rows":false},"condition":{"type":"ok","step":%d}}' % (place - 1)


def _response(result: Result, kind: str) -> Result:
    if result.get("type") == "error":
        raise _plain_error(result.get("error"))
    response = result.get("response")
    if not isinstance(response, dict) or response.get("type") != kind:
        raise GarbledAnswer("a result is not of the kind that was asked for")
    answer = response.get("result")
    if not isinstance(answer, dict):
        raise GarbledAnswer("a result is not of the kind that was asked for")
    return answer


def _refusal(error: dict[str, Any], index: int, steps: Sequence[Step], batch: Batch) -> Exception:
    if index == LINEAGE_STEP:
        return _lineage_refusal(error)
    message, code = str(error.get("message")), str(error.get("code") or "")
    place = index - FIRST_STEP
    refused = steps[place].refused if 0 <= place < len(steps) else None
    if refused is not None and "malformed JSON" in message:
        return refused
    if code.startswith("SQLITE_CONSTRAINT"):
        return constraint_error(message, batch.conflicts)
    return _plain_error(error)


def _lineage_refusal(error: dict[str, Any]) -> Exception:
    if "malformed JSON" in str(error.get("message")) or _lacks_table(error):
        return LineageMismatch("the primary does not have our newest change")
    return _plain_error(error)


def _lacks_table(error: dict[str, Any]) -> bool:
    return "no such table" in str(error.get("message"))


def _plain_error(error: Any) -> Exception:
    if not isinstance(error, dict):
        return GarbledAnswer("an error without words")
    message, code = str(error.get("message")), str(error.get("code") or "")
    if code.startswith("SQLITE_CONSTRAINT"):
        return constraint_error(message, {})
    if code.startswith(TRANSIENT_CODES):
        return PrimaryBusy(f"{code}: {message}")
    return PrimaryError(code, message)


def _collect(outcomes: Sequence[dict[str, Any]], steps: Sequence[Step], batch: Batch) -> Written:
    seq = 0
    by_statement: list[list[Row]] = [[] for _ in batch.statements]
    for step, outcome in zip(steps, outcomes, strict=True):
        if step.refused is not None:
            continue
        found = _rows(outcome)
        by_statement[step.statement] = found
        if found and is_record(batch.statements[step.statement]):
            seq = max(seq, int(str(found[-1][0])))
    return Written(seq=seq, rows=by_statement)


def _rows(outcome: dict[str, Any]) -> list[Row]:
    return [tuple(decode_value(cell) for cell in row) for row in outcome["rows"]]
