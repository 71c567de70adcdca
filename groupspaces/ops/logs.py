"""The log: one JSON object a line on standard output.

Owns the format, what must never be in it (redacted here as the last line of defence), and the thread that writes it, so
that a slow terminal or a full pipe stops no request. Lines wait in a bounded queue; what does not fit is counted and
reported, never waited for. Everybody else uses `logging` and `logging_context.log`.
"""

from __future__ import annotations

import json
import logging
import queue
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from io import FileIO
from typing import Any, Protocol

import orjson

from groupspaces.logging_context import request_id
from groupspaces.settings import Settings

QUEUE_LINES = 10_000
BATCH_BYTES = 65_536  # what a pipe takes at once on Linux
CLOSE_TIMEOUT_S = 1.0
RETRY_S = 0.01
MESSAGE_MAX_CHARS = 8_000
EXCEPTION_MAX_CHARS = 32_000
FIELD_MAX_DEPTH = 6
REDACTED = "[redacted]"

# Loggers of libraries: uvicorn's own handlers make way for ours, and chatter of every request or job is left out.
UVICORN_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
QUIET_LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2", "apscheduler", "asyncio")

SECRET_FIELD = re.compile(
    r"(?i)(^|[._-])(authorization|cookies?|passwords?|passwd|secrets?|tokens?|api[_-]?keys?|dsn|totp)$"
)
SECRET_TEXT = re.compile(
    r"""(?ix)
      (?P<before> \b(?:bearer|basic)\s+ ) [\w.~+/=-]{8,}                    # Authorization
    | (?P<name> \b(?:gs_session|authToken|password|secret|token)["']?\s*[=:]\s*["']? ) [^\s"'&;,]+
    | (?P<scheme> ://) [^/\s@]+ @                                           # user and password in an address
    | \bgs_[\w-]{16,}                                                       # our API tokens
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*                                        # a JSON Web Token
    """
)


class Output(Protocol):
    """An unbuffered binary stream."""

    def write(self, data: memoryview, /) -> int | None: ...


class Redaction:
    """Takes out what looks like a secret, and the secrets of this instance wherever they turn up."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        literals = sorted({value for value in known if len(value) >= 8}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, literals))) if literals else None

    def text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(REDACTED, text)
        return SECRET_TEXT.sub(_redact_match, text)

    def fields(self, value: Any, depth: int = 0) -> Any:
        """Return a copy of a JSON-like value with secrets redacted by their name or form."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            if depth == FIELD_MAX_DEPTH:
                return "…"
            return {
                str(name): REDACTED
                if inner and SECRET_FIELD.search(str(name))
                else self.fields(inner, depth + 1)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return "…" if depth == FIELD_MAX_DEPTH else [self.fields(inner, depth + 1) for inner in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(str(value))


class JsonFormatter(logging.Formatter):
    """Makes one line of JSON from a record. Call it where the record was made: it reads the request id there."""

    def __init__(self, redaction: Redaction, common: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._redaction = redaction
        self._common = dict(common or {})

    def format(self, record: logging.LogRecord) -> str:
        return self.encode(record).decode()

    def encode(self, record: logging.LogRecord) -> bytes:
        """Return the line without its end. A field never replaces one of the log's own."""
        line: dict[str, Any] = {
            "timestamp": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "message": self._redaction.text(_shortened(_message(record), MESSAGE_MAX_CHARS)),
            "logger": record.name,
            **self._common,
        }
        current_request = request_id.get()
        if current_request is not None:
            line["request_id"] = current_request
        if record.exc_info and record.exc_info[0] is not None:
            text = "".join(traceback.format_exception(*record.exc_info))
            line["exception"] = self._redaction.text(_shortened(text, EXCEPTION_MAX_CHARS, keep_end=True))
        fields = getattr(record, "fields", None)
        if isinstance(fields, Mapping):
            line |= {
                name: value for name, value in self._redaction.fields(fields).items() if name not in line
            }
        return _to_json(line)


class QueuedLines(logging.Handler):
    """Formats where the record was made and leaves the writing to a thread. `dropped` counts lines without room."""

    def __init__(
        self,
        formatter: JsonFormatter,
        stream: Output,
        capacity: int = QUEUE_LINES,
        *,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._formatter = formatter
        self._stream = stream
        self._batch_bytes = batch_bytes
        self._lines: queue.Queue[bytes | None] = queue.Queue(capacity)
        self._closed = False
        self._without_room = 0
        self._unwritten = 0
        self._reported = 0
        self._writer = threading.Thread(target=self._write_lines, name="log-writer", daemon=True)
        self._writer.start()

    @property
    def dropped(self) -> int:
        return self._without_room + self._unwritten

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self._formatter.encode(record))
        except queue.Full:
            self._without_room += 1  # safe: `handle` holds the handler's lock

    def close(self) -> None:
        """Write what is waiting, for at most a second. Also called when the process ends."""
        if not self._closed:
            self._closed = True
            try:
                self._lines.put(None, timeout=CLOSE_TIMEOUT_S)
            except queue.Full:
                pass  # nobody reads our output; the thread ends with the process
            self._writer.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write_lines(self) -> None:
        ending = False
        while not ending:
            batch, ending = self._next_batch()
            if self.dropped > self._reported:
                batch += self._report_of_drops()
            try:
                self._write(batch)
            except OSError:  # output closed or its disk full; the next batch may get through
                self._unwritten += batch.count(b"\n")

    def _write(self, batch: bytes) -> None:
        """Write everything: an unbuffered stream may take a part, or nothing when somebody made it non-blocking."""
        rest = memoryview(batch)
        while rest:
            written_bytes = self._stream.write(rest)
            if written_bytes is None:
                time.sleep(RETRY_S)
            else:
                rest = rest[written_bytes:]

    def _next_batch(self) -> tuple[bytes, bool]:
        """Wait for a line and take what else is there, up to the size of a batch. True with the last one."""
        lines: list[bytes] = []
        size_bytes = 0
        line = self._lines.get()
        while line is not None:
            lines.append(line)
            size_bytes += len(line)
            if size_bytes >= self._batch_bytes:
                break
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                break
        return b"".join(line + b"\n" for line in lines), line is None

    def _report_of_drops(self) -> bytes:
        dropped = self.dropped
        count, self._reported = dropped - self._reported, dropped
        record = logging.LogRecord(
            "groupspaces.log", logging.WARNING, __file__, 0, "Log lines were dropped", None, None
        )
        record.fields = {"count": count}
        return self._formatter.encode(record) + b"\n"


def configure(settings: Settings, stream: Output | None = None, *, worker: int | None = None) -> QueuedLines:
    """Send all logging of this process to `stream` (standard output) as JSON lines, at the level of the settings.

    One of several workers says its number in each line, and writes line by line: a pipe that is full takes those whole.
    Replaces what was configured before, uvicorn's handlers included (start it with `log_config=None`).
    """
    common = {"instance": settings.instance.id} if settings.instance.id else {}
    if worker is not None:
        common["worker"] = str(worker)
    formatter = JsonFormatter(Redaction(settings.secret_values()), common)
    # Not sys.stdout.buffer: a thread stuck in its lock would break the end of the process (CPython aborts it).
    handler = QueuedLines(
        formatter,
        stream or FileIO(sys.stdout.fileno(), "w", closefd=False),
        batch_bytes=BATCH_BYTES if worker is None else 1,
    )
    root = logging.getLogger()
    for previous in root.handlers[:]:
        root.removeHandler(previous)
        previous.close()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for name in UVICORN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return handler


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # arguments that do not fit their message must not end a request
        return f"{record.msg} {record.args!r}"


def _redact_match(match: re.Match[str]) -> str:
    kept = match["before"] or match["name"] or match["scheme"] or ""
    return f"{kept}{REDACTED}{'@' if match['scheme'] else ''}"


def _shortened(text: str, max_chars: int, *, keep_end: bool = False) -> str:
    """Cut a text that is too long; of a traceback the end says most."""
    if len(text) <= max_chars:
        return text
    return f"…{text[-max_chars:]}" if keep_end else f"{text[:max_chars]}…"


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _to_json(line: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(line)
    except TypeError:  # an integer above 64 bits or half of a surrogate pair; json knows both
        return json.dumps(line, default=str).encode()
