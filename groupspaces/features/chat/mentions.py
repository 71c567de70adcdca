"""Mentions: whom a message names.

Owns the table `mention`, one row per message and person named by `@username`. Who belongs to the space, and
so can be named, is decided by the primary inside the write. A person goes on being named by what they were called before, which
nobody else can be called; a deleted account is named by nothing. `@all` is a fact of the message itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from groupspaces.db.batch import Row, Statement, Value
from groupspaces.markdown import ALL, Text

# More names than this in one message call nobody.
_MAX_NAMED = 50


class Named(msgspec.Struct, frozen=True):
    """What a text says: usernames that may or may not exist, and whether it says `@all`."""

    usernames: Sequence[str]
    everybody: bool


# A column: the people a message names, as a JSON object from each username they have or had to their id.
OF_MESSAGE = """(SELECT json_group_object(username, user_id) FROM (
  SELECT named.username, named.id AS user_id FROM mention JOIN user AS named ON named.id = mention.user_id
  WHERE mention.message_id = message.id AND named.deleted_at_ms IS NULL
  UNION ALL
  SELECT former_username.username, former_username.user_id
  FROM mention JOIN former_username ON former_username.user_id = mention.user_id
  WHERE mention.message_id = message.id))"""

_NOBODY = "{}"

_INSERT_SQL = """
INSERT INTO mention (user_id, space_id, message_id)
SELECT DISTINCT user.id, member.space_id, {message_id}
FROM json_each(?) AS name
JOIN user ON user.id = coalesce(
  (SELECT holder.id FROM user AS holder WHERE holder.username = name.value),
  (SELECT former.user_id FROM former_username AS former WHERE former.username = name.value))
JOIN member ON member.space_id = ? AND member.user_id = user.id
WHERE user.id <> ?
RETURNING user_id, (SELECT json_group_array(username) FROM (
  SELECT username FROM user WHERE user.id = mention.user_id
  UNION ALL SELECT username FROM former_username WHERE former_username.user_id = mention.user_id))"""

_OF_NEW_MESSAGE_SQL = _INSERT_SQL.format(message_id="last_insert_rowid()")
_OF_MESSAGE_SQL = _INSERT_SQL.format(message_id="?")
_FORGET_SQL = "DELETE FROM mention WHERE message_id = ?"

_decode = msgspec.json.Decoder(dict[str, int]).decode
_decode_names = msgspec.json.Decoder(list[str]).decode


def named_in(text: Text) -> Named:
    """Return whom a text names."""
    found = text.usernames
    return Named(tuple(sorted(found - {ALL})[:_MAX_NAMED]), ALL in found)


def of_new_message(space_id: int, author_id: int, usernames: Sequence[str]) -> Statement:
    """Return the statement that names people in the message inserted just before; see `returned`."""
    return Statement(_OF_NEW_MESSAGE_SQL, (_json(usernames), space_id, author_id))


def of_message(message_id: int, space_id: int, author_id: int, usernames: Sequence[str]) -> Statement:
    """Return the statement that names people in a message there is; see `returned`."""
    return Statement(_OF_MESSAGE_SQL, (message_id, _json(usernames), space_id, author_id))


def forget(message_id: int) -> Statement:
    """Return the statement after which a message names nobody."""
    return Statement(_FORGET_SQL, (message_id,))


def parsed(column: str) -> dict[str, int]:
    """Return what `OF_MESSAGE` says."""
    return {} if column == _NOBODY else _decode(column)


def returned(rows: Sequence[Row]) -> dict[str, int]:
    """Return the people, by every username they have or had, whom the primary found among those a message names."""
    return {name: int(str(user_id)) for user_id, names in rows for name in _decode_names(str(names))}


def _json(usernames: Sequence[str]) -> Value:
    return msgspec.json.encode(usernames).decode()
