"""Post messages through `libsql_experimental` itself, one after the other, and print the seconds each took (JSON).

Run as a process of its own: `python -m tests.bench.driver_writes REPLICA URL SPACE_ID USER_ID MESSAGES`. Each message writes
the same rows as the product does, in one transaction.
"""

from __future__ import annotations

import json
import sys
import time

import libsql_experimental

from tests.bench.scene import text

_MESSAGE_SQL = """
INSERT INTO message (space_id, author_id, kind, mentions_all, created_at_ms, content) VALUES (?, ?, 'text', 0, ?, ?)"""
_CHANGE_SQL = """
INSERT INTO change (token, at_ms, actor_id, space_id, audience, kind, subject_id, data)
VALUES (hex(randomblob(8)), ?, ?, ?, 'space', 'message.created', last_insert_rowid(), '{}')"""


def main(path: str, url: str, space_id: int, user_id: int, messages: int) -> list[float]:
    """Return how long each message took, in seconds. Opening and the first sync are not counted."""
    connection = libsql_experimental.connect(path, sync_url=url, auth_token="")
    connection.sync()
    durations_s = []
    for number in range(messages):
        began_s = time.perf_counter()
        now_s = int(time.time())  # the driver cannot bind integers above 2^31
        connection.execute(_MESSAGE_SQL, (space_id, user_id, now_s, text(number)))
        connection.execute(_CHANGE_SQL, (now_s, user_id, space_id))
        connection.commit()
        durations_s.append(time.perf_counter() - began_s)
    return durations_s


if __name__ == "__main__":
    replica, primary, *numbers = sys.argv[1:]
    print(json.dumps(main(replica, primary, *map(int, numbers))))
