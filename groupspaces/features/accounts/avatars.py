"""Pictures of people: making one of an upload, keeping it, giving it out.

Owns the table `avatar` and the column `user.avatar`, which is the picture's name: a hash of it, so that what is at an address never
changes. An upload is known by how it begins, never by what it is called, and decoded in a process of its own
(`picture_process.py`), a few at a time. Never checks who may see a picture: see `access.SHARES_A_SPACE`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from groupspaces.db.batch import Batch, Read, Statement, Write
from groupspaces.db.changes import audience_user, record, record_if_changed
from groupspaces.errors import Invalid, NotFound, Unauthenticated, Unavailable, UnsupportedMedia
from groupspaces.features.accounts import users
from groupspaces.features.accounts.users import User
from groupspaces.logging_context import log

MEDIA_TYPE = "image/webp"
MAX_UPLOAD_BYTES = 5 * 1024 * 1024
MAX_PIXELS = 40_000_000

_MODULE = "groupspaces.features.accounts.picture_process"
_PACKAGE_HOME = str(Path(__file__).parents[3])
# All that process may know of our environment: no secret is among it.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
# Above the process's own bounds.
_TIMEOUT_S = 20.0
# Each may take a gigabyte for a moment.
_AT_A_TIME = 1
_NAME_CHARS = 16

_log = logging.getLogger("groupspaces.accounts")

_STORE_SQL = """
INSERT INTO avatar (user_id, media_type, data)
SELECT id, ?, ? FROM user WHERE id = ? AND deleted_at_ms IS NULL
ON CONFLICT (user_id) DO UPDATE SET media_type = excluded.media_type, data = excluded.data"""
_NAME_SQL = f"UPDATE user SET avatar = ?, version = version + 1 WHERE id = ? RETURNING {users.COLUMNS}"
_FORGET_SQL = "DELETE FROM avatar WHERE user_id = ?"
_UNNAME_SQL = "UPDATE user SET avatar = NULL, version = version + 1 WHERE id = ? AND avatar IS NOT NULL"
_ONE_SQL = """
SELECT avatar.data FROM user JOIN avatar ON avatar.user_id = user.id
WHERE user.id = ? AND user.avatar = ?"""


class Pictures:
    """Make pictures of people out of what they upload."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    async def portrait(self, upload: bytes) -> bytes:
        """Return a picture of 256 by 256 points as WebP, a few kB, with nothing else of the upload in it.

        Raises UnsupportedMedia for anything but PNG, JPEG, WebP and GIF, Invalid (`PICTURE_INVALID`) for what is broken or has
        more points than we take. Costs a process: 0.2 s, up to 2 s for 40 million points.
        """
        picture_format = format_of(upload)
        if picture_format is None:
            raise UnsupportedMedia("Send a picture: PNG, JPEG, WebP or GIF.")
        async with self._turns:
            return await asyncio.to_thread(_made, upload, picture_format)


def format_of(upload: bytes) -> str | None:
    """Return Pillow's word for the kind of picture that begins like this, or None."""
    if upload.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if upload.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if upload.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if upload.startswith(b"RIFF") and upload[8:12] == b"WEBP":
        return "WEBP"
    return None


async def put(write: Write, user_id: int, picture: bytes) -> User:
    """Give somebody a picture that `portrait` made, in place of the one before. One round trip."""
    gone = Unauthenticated("This account can no longer be used.")
    name = hashlib.sha256(picture).hexdigest()[:_NAME_CHARS]
    batch = Batch(
        [
            Statement(_STORE_SQL, (MEDIA_TYPE, picture, user_id), refused=gone),
            Statement(_NAME_SQL, (name, user_id)),
            record("user.updated", actor_id=user_id, audience=audience_user(user_id), subject_id=user_id),
        ]
    )
    written = await write(batch)
    return users.own_of(written.rows[1][0])


async def remove(write: Write, user_id: int) -> None:
    """Take somebody's picture away; to have none already is no error."""
    facts: dict[str, Any] = {
        "actor_id": user_id,
        "audience": audience_user(user_id),
        "subject_id": user_id,
    }
    batch = Batch(
        [
            Statement(_FORGET_SQL, (user_id,)),
            Statement(_UNNAME_SQL, (user_id,)),
            record_if_changed("user.updated", **facts),
        ]
    )
    await write(batch)


async def one(read: Read, user_id: int, name: str) -> bytes:
    """Return the picture of this name. Raises NotFound, also for the name of one they had before."""
    rows: Any = await read(_ONE_SQL, (user_id, name))
    if not rows:
        raise NotFound("There is no such picture any more.")
    picture: bytes = rows[0][0]
    return picture


def _made(upload: bytes, picture_format: str) -> bytes:
    """Run the process, in a thread. Whatever it dies of, the upload is to blame, unless it could not even begin."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    paths = (_PACKAGE_HOME, environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", _MODULE, picture_format, str(MAX_PIXELS)],
            input=upload,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log(_log, logging.ERROR, "pictures cannot be made", error=type(error).__name__)
        raise Unavailable("Pictures cannot be made right now. Try again later.", retry_after_s=10) from error
    if ended.returncode == 0 and ended.stdout:
        return ended.stdout
    if ended.returncode != os.EX_DATAERR:
        # The kind of error only: its text may be the upload's.
        error_kind = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2].partition(":")[0]
        log(
            _log,
            logging.WARNING,
            "a picture ended its process",
            code=ended.returncode,
            error=error_kind[:100],
        )
    raise Invalid(
        f"This picture cannot be used: it is damaged, or has more than {MAX_PIXELS // 1_000_000} million points.",
        code="PICTURE_INVALID",
    )
