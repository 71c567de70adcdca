"""A standalone database as large as a test wants it, with the values that get lost on the way when somebody is careless."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from groupspaces.db import migrate

# Values that only an exact way carries: NUL, what JSON escapes, what looks like JSON or a number, what is no letter.
TEXTS = (
    "a\0b",
    "\0",
    "",
    "é😀\u2028\ufffe\U0010ffff",
    "\"'\\\n\r\t\x01\x7f",
    "[1]",
    "null",
    "1e5",
    "9007199254740993",
    "'; DROP TABLE user; --",
)
INTEGERS = (0, -1, 2**53 + 1, 2**63 - 1, -(2**63))
BLOBS = (b"", b"\0", b"\xff\xfe\0\x01", bytes(range(256)), b"no text \xc3")

# What differs between a source and what became of it: marks, and what begins a new epoch.
_OWN_NAMES = ("moving", "moved_to", "moved_from", "secret_fingerprint")
_NOT_CARRIED = ("instance", "lease", "sqlite_sequence")

# Rows in every table, thousands of them in one.
EVERY_TABLE = """
INSERT INTO user (id, email, name, username, password_hash, is_operator, created_at_ms)
  VALUES (1, 'a@example.org', 'Änne', 'anne', 'x', 1, 4000000000000), (2, 'b@example.org', 'B', 'ben', 'x', 0, 1);
INSERT INTO session (id, token_hash, user_id, user_agent, created_at_ms, expires_at_ms)
  VALUES (1, x'00ff', 1, '', 1, 4000000000000);
INSERT INTO space (id, name, slug, description, visibility, created_by, created_at_ms)
  VALUES (1, 'One', 'one', '', 'public', 1, 1);
INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (1, 1, 'owner', 1), (1, 2, 'member', 1);
INSERT INTO invite (code, space_id, role, created_by, created_at_ms) VALUES ('code', 1, 'member', 1, 1);
INSERT INTO message (id, space_id, author_id, kind, mentions_all, created_at_ms, content)
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
  SELECT i * 2, 1, 1, 'text', 0, i, 'message number ' || i || ' of many' FROM n;
INSERT INTO mention (user_id, space_id, message_id) SELECT 2, 1, id FROM message WHERE id % 20 = 0;
INSERT INTO idempotency (user_id, key, fingerprint, seq, at_ms) VALUES (1, 'it''s a' || char(0) || 'key', 'f', 1, 1);
INSERT INTO instance (id, boot, url, packed, seen_at_ms) VALUES ('a', 'b', '', '{}', 1);
INSERT INTO lease (name, holder, number, expires_at_ms) VALUES ('leader', 'a', 1, 1);
INSERT INTO tuning (instance_id, key, value, before, at_ms) VALUES ('', 'jitter', '0.2', '0.1', 1);
INSERT INTO audit (at_ms, instance_id, action, subject, data) VALUES (1, 'a', 'x', 'y', '{}');
INSERT INTO audit_seal (last_id, at_ms, entries, digest, signature) VALUES (1, 1, 1, x'01', x'02');
INSERT INTO totp (user_id, secret, created_at_ms) VALUES (1, x'000102', 1);
INSERT INTO recovery_code (user_id, code_hash) VALUES (1, x'aa'), (1, x'ab');
INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, created_at_ms)
  VALUES (1, x'01', x'02', 5000000000, 'Key', 1);
INSERT INTO linked_account (user_id, provider, subject, created_at_ms) VALUES (1, 'oidc', 'me', 1);
INSERT INTO api_token (user_id, token_hash, name, hint, scopes, created_at_ms) VALUES (1, x'03', 'T', 'abcd', '[]', 1);
INSERT INTO avatar (user_id, media_type, data) VALUES (1, 'image/webp', randomblob(3000));
INSERT INTO former_username (username, user_id, until_ms) VALUES ('older', 1, 4000000000000);
INSERT INTO backup (id, instance_id, reason, status, created_at_ms, duration_ms, file, size_bytes, sha256, is_encrypted, seq, epoch, schema_version)
  VALUES ('b', 'a', 'by hand', 'done', 1, 1, 'f', 1, '', 0, 1, 1, 1);
INSERT INTO maintenance (id, message, since_ms) VALUES (1, 'Soon', 1)
"""

Content = dict[str, list[tuple[Any, ...]]]


def fill(path: Path, *, messages: int = 50, characters: int = 200) -> Path:
    """Make a database with the current schema and rows in most of its tables; the same ones each time but for the origin."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "WAL")
    connection.pragma("foreign_keys", True)
    with connection:
        connection.execute(migrate.script())
        _people(connection)
        _messages(connection, messages, characters)
    connection.close()
    return path


def content(path: Path) -> Content:
    """Return every row that is carried, by table, in an order of its own; without what tells one place of a history from another."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        names = connection.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'libsql\\_%' ESCAPE '\\'"
        ).fetchall()
        found = {
            str(name): sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr)
            for (name,) in names
            if name not in _NOT_CARRIED
        }
    finally:
        connection.close()
    found["deployment"] = [row for row in found["deployment"] if row[0] not in _OWN_NAMES]
    found["lineage"] = [row for row in found["lineage"] if row[0] == 1]
    told = ("lineage.began", "deployment.changed")
    found["change"] = [row for row in found["change"] if row[6] not in told]
    return found


def _people(connection: apsw.Connection) -> None:
    insert = "INSERT INTO user (id, email, name, username, password_hash, is_operator, bio, created_at_ms) VALUES (?,?,?,?,?,?,?,?)"
    users = [
        (
            number,
            f"{number}@example.org",
            text or "-",
            f"u{number}{text}",
            "x",
            number % 2,
            text,
            abs(integer) // 2,
        )
        for number, (text, integer) in enumerate(zip(TEXTS, INTEGERS * 2, strict=True), 1)
    ]
    connection.executemany(insert, users)
    # One that was deleted: its id must not be given again.
    connection.execute(insert, (999, "gone@example.org", "Gone", "gone", "x", 0, "", 1))
    connection.execute("DELETE FROM user WHERE id = 999")
    for number, blob in enumerate(BLOBS, 1):
        connection.execute("INSERT INTO recovery_code VALUES (?, ?, NULL)", (number, blob))
        connection.execute("INSERT INTO avatar VALUES (?, 'image/png', ?)", (number, blob * 1000))
        connection.execute(
            "INSERT INTO session (token_hash, user_id, user_agent, created_at_ms, expires_at_ms) VALUES (?, ?, ?, 1, ?)",
            (blob, number, TEXTS[number], INTEGERS[number - 1]),
        )
    connection.execute(
        "INSERT INTO avatar VALUES (6, 'image/png', ?)", (random.Random(6).randbytes(700_000),)
    )
    for number, text in enumerate(TEXTS):
        connection.execute(
            "INSERT INTO former_username VALUES (?, ?, ?)", (text, 1 + number, INTEGERS[number % 5])
        )
    for number, integer in enumerate(INTEGERS):
        connection.execute(
            "INSERT INTO change (token, at_ms, actor_id, space_id, audience, kind, subject_id, data) VALUES (?,?,?,?,?,?,?,?)",
            (
                f"{number:016x}",
                integer,
                None,
                integer,
                "nobody",
                "test",
                integer,
                '{"a": [1, null, "\\u0000"]}',
            ),
        )


def _messages(connection: apsw.Connection, count: int, characters: int) -> None:
    connection.execute(
        "INSERT INTO space (id, name, slug, description, visibility, created_by, created_at_ms) "
        "VALUES (1, 'Garden', 'garden', '', 'private', 1, 1), (2, 'Other', 'other', '', 'public', 2, 1)"
    )
    people = range(1, len(TEXTS) + 1)
    connection.executemany(
        "INSERT INTO member (space_id, user_id, role, joined_at_ms) VALUES (?, ?, ?, 1)",
        [(space, user, "owner" if user == space else "member") for space in (1, 2) for user in people],
    )
    drawn = random.Random(1)
    letters = [chr(letter) for letter in (*range(32, 127), 0xE9, 0x1F600)]
    insert = (
        "INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content) "
        "VALUES (?, ?, 'text', 0, ?, ?)"
    )
    rows = [
        (1 + number % 2, 1 + number % len(TEXTS), number, "".join(drawn.choices(letters, k=characters)))
        for number in range(count)
    ]
    connection.executemany(insert, rows)
    # Larger than a chunk.
    connection.execute(insert, (1, 1, 1, "x\0" * 300_000))
    mentions: Sequence[tuple[int, int, int]] = [
        (user, 1 + number % 2, number + 1) for number in range(min(count, 500)) for user in people
    ]
    connection.executemany("INSERT INTO mention VALUES (?, ?, ?)", mentions)
