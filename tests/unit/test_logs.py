from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from groupspaces.logging_context import log, request_id
from groupspaces.ops.logs import (
    MESSAGE_MAX_CHARS,
    UVICORN_LOGGERS,
    JsonFormatter,
    QueuedLines,
    Redaction,
    configure,
)
from groupspaces.settings import Settings, load
from tests.support.wait import block_until

SECRET = "correct horse battery staple"
logger = logging.getLogger("groupspaces.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Give the test run its own handlers and levels back."""
    root = logging.getLogger()
    handlers, level, levels = root.handlers[:], root.level, logger.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logger.setLevel(levels)
    logging.captureWarnings(False)


def logged(act: Callable[[], object], settings: Settings | None = None) -> list[dict[str, Any]]:
    """Return the lines that `act` logs under `settings`."""
    output = io.BytesIO()
    handler = configure(settings or load({}), output)
    act()
    handler.close()
    return [json.loads(line) for line in output.getvalue().splitlines()]


def one(act: Callable[[], object], settings: Settings | None = None) -> dict[str, Any]:
    (line,) = logged(act, settings)
    return line


# --- the format ---


def test_a_line_has_time_level_message_logger_and_fields() -> None:
    line = one(lambda: log(logger, logging.INFO, "100 % synced", duration_ms=12, path="/api/spaces"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "message": "100 % synced",
        "logger": "groupspaces.test",
        "duration_ms": 12,
        "path": "/api/spaces",
    }


def test_arguments_and_plain_extra_fields_work_as_usual() -> None:
    line = one(lambda: logger.warning("%s of %d", "one", 2, extra={"fields": {"seq": 5}}))
    assert (line["message"], line["seq"], line["level"]) == ("one of 2", 5, "warning")


def test_a_field_never_replaces_what_the_log_says() -> None:
    line = one(lambda: logger.info("real", extra={"fields": {"message": "forged", "level": "none"}}))
    assert (line["message"], line["level"]) == ("real", "info")


def test_the_request_id_is_that_of_the_caller() -> None:
    def act() -> None:
        token = request_id.set("req-1")
        logger.info("inside")
        request_id.reset(token)
        logger.info("outside")

    inside, outside = logged(act)
    assert inside["request_id"] == "req-1"
    assert "request_id" not in outside


def test_the_instance_is_named_when_it_has_a_name() -> None:
    settings = load({"GROUPSPACES__INSTANCE__ID": "fra-1"})
    assert one(lambda: logger.info("hello"), settings)["instance"] == "fra-1"


def test_messages_and_exceptions_of_several_lines_stay_on_one() -> None:
    def act() -> None:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            log(logger, logging.ERROR, "It\nfailed", exc_info=True)

    line = one(act)
    assert line["message"] == "It\nfailed"
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].endswith("ValueError: first\nsecond\n")


def test_what_json_has_no_form_for_is_still_logged() -> None:
    line = one(lambda: log(logger, logging.INFO, "odd \ud800", big=2**70, path=Path("/x"), nan=float("nan")))
    assert line["big"] == 2**70
    assert line["path"] == "/x"
    deep: dict[str, Any] = {}
    deep["itself"] = deep
    assert one(lambda: log(logger, logging.INFO, "deep", value=deep))["message"] == "deep"


def test_arguments_that_do_not_fit_their_message_lose_nothing() -> None:
    line = one(lambda: logger.info("%d items", "many"))
    assert "%d items" in line["message"]
    assert "many" in line["message"]


def test_a_long_message_is_cut() -> None:
    assert len(one(lambda: logger.info("x" * 1_000_000))["message"]) == MESSAGE_MAX_CHARS + 1


def test_levels_follow_the_settings() -> None:
    def act() -> None:
        logger.debug("detail")
        logger.warning("warning")

    assert [line["message"] for line in logged(act)] == ["warning"]
    assert [line["message"] for line in logged(act, load({"NODE_ENV": "development"}))] == [
        "detail",
        "warning",
    ]
    assert logged(act, load({"GROUPSPACES__LOG__LEVEL": "error"})) == []


def test_uvicorn_and_warnings_come_the_same_way() -> None:
    for name in UVICORN_LOGGERS:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False

    def act() -> None:
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old call", DeprecationWarning, stacklevel=1)

    first, second = logged(act)
    assert first["message"] == "Started server process [7]"
    assert "DeprecationWarning: old call" in second["message"]


# --- what must not be in it ---


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hidden-value-1",
        "authorization: basic aGlkZGVuLXZhbHVl",
        "Cookie: gs_session=hidden-value.abc; theme=dark",
        "used gs_hiddenvalue0123456789",
        "token eyJhbGciOiJFZERTQSJ9.eyJhIjoicncifQ.hidden-value",
        "https://user:hidden-value@primary.example.org/v2/pipeline",
        "libsql://primary.example.org?authToken=hidden-value",
        '{"password": "hidden-value", "name": "Ann"}',
        "password=hidden-value",
        f"the secret is {SECRET}",
    ],
)
def test_secrets_are_taken_out_of_texts(text: str) -> None:
    settings = load({"AUTH_SECRET": SECRET})

    def act() -> None:
        logger.info(text)
        logger.info("%s", text)
        log(logger, logging.INFO, "field", inner={"list": [text]})
        try:
            raise RuntimeError(text)
        except RuntimeError:
            logger.exception("raised")

    lines = logged(act, settings)
    assert len(lines) == 4
    for line in lines:
        shown = json.dumps(line)
        assert "[redacted]" in shown
        for hidden in ("hidden-value", "aGlkZGVu", "hiddenvalue", SECRET):
            assert hidden not in shown


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Cookie",
        "set-cookie",
        "password",
        "token",
        "auth_token",
        "api_key",
        "X-Api-Key",
        "dsn",
    ],
)
def test_fields_with_the_name_of_a_secret_are_hidden(name: str) -> None:
    line = one(lambda: log(logger, logging.INFO, "call", headers={name: "hidden-value"}))
    assert line["headers"] == {name: "[redacted]"}


def test_ordinary_words_stay() -> None:
    text = "the token was refused by https://primary.example.org/v2/pipeline?x=1 for user@example"
    line = one(lambda: log(logger, logging.INFO, text, tokens_used=5, session_id=7))
    assert line["message"] == text
    assert (line["tokens_used"], line["session_id"]) == (5, 7)


# --- nobody waits for it ---


class StuckOutput:
    """An output whose reader has stopped reading until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.entered = threading.Event()
        self.content = b""

    def write(self, data: memoryview) -> int | None:
        self.entered.set()
        self.let_go.wait(30)
        self.content += data
        return len(data)


def quiet_handler(output: Any, capacity: int) -> QueuedLines:
    return QueuedLines(JsonFormatter(Redaction()), output, capacity)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("groupspaces.test", logging.INFO, __file__, 1, message, None, None)


def test_a_stuck_output_drops_lines_counts_them_and_says_so() -> None:
    output = StuckOutput()
    handler = quiet_handler(output, capacity=10)
    handler.handle(record("first"))
    assert output.entered.wait(5)
    for number in range(25):
        handler.handle(record(f"line {number}"))
    assert handler.dropped == 15
    output.let_go.set()
    block_until(lambda: b"Log lines were dropped" in output.content)
    handler.close()
    lines = [json.loads(line) for line in output.content.splitlines()]
    assert [line["message"] for line in lines[:11]] == ["first", *(f"line {number}" for number in range(10))]
    assert [line["count"] for line in lines if "count" in line] == [15]


def test_closing_does_not_wait_for_a_stuck_output() -> None:
    output = StuckOutput()
    handler = quiet_handler(output, capacity=1)
    handler.handle(record("first"))
    assert output.entered.wait(5)
    handler.handle(record("second"))
    handler.close()
    assert output.content == b""
    output.let_go.set()


def test_an_output_that_takes_parts_or_refuses_gets_what_it_can() -> None:
    class Reluctant:
        content = b""
        calls = 0

        def write(self, data: memoryview) -> int | None:
            self.calls += 1
            if self.calls == 1:
                raise OSError(28, "No space left on device")
            if self.calls == 2:
                return None
            self.content += data[:7]
            return min(7, len(data))

    output = Reluctant()
    handler = quiet_handler(output, capacity=10)
    handler.handle(record("lost"))
    block_until(lambda: handler.dropped == 1)
    handler.handle(record("kept"))
    handler.close()
    lines = [json.loads(line) for line in output.content.splitlines()]
    assert [line["message"] for line in lines] == ["kept", "Log lines were dropped"]


def test_what_was_logged_last_is_written_when_the_process_ends() -> None:
    code = (
        "import logging; from groupspaces.ops.logs import configure; from groupspaces.settings import Settings;"
        "configure(Settings()); [logging.info('line %d', n) for n in range(500)]"
    )
    root = Path(__file__).parents[2]
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, check=True, timeout=60
    )
    assert [json.loads(line)["message"] for line in outcome.stdout.splitlines()] == [
        f"line {n}" for n in range(500)
    ]
    assert outcome.stderr == b""


def test_a_process_whose_output_is_never_read_still_ends() -> None:
    code = (
        "import logging; from groupspaces.ops.logs import configure; from groupspaces.settings import Settings;"
        "configure(Settings()); [logging.info('x' * 1000) for n in range(5000)]; print('', end='')"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.communicate()
