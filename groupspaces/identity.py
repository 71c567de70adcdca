"""Who this instance is in its fleet.

Owns the id: the operator's (`instance.id`), else one that the data folder made for itself at the first start and keeps.
Never talks to anybody: `ops/instances.py` tells the fleet.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import msgspec

from groupspaces import secret_file
from groupspaces.errors import SettingsError
from groupspaces.settings import Settings

ID_FILE = "instance-id"
_ID_CHARS = 12


class Identity(msgspec.Struct, frozen=True):
    """`id` is stable; `boot` is new at each start of this host's server and the same in all of its workers.

    `url` is where other instances reach this one; empty when it cannot be rung.
    """

    id: str
    boot: str
    region: str
    url: str


def identify(settings: Settings, *, boot: str | None = None) -> Identity:
    """Return who this instance is. Raises `SettingsError` when the data folder's id cannot be used."""
    given = settings.instance
    return Identity(
        id=given.id or _own_id(settings.data_dir / ID_FILE),
        boot=boot or secrets.token_hex(8),
        region=given.region,
        url=given.url.rstrip("/"),
    )


def _own_id(path: Path) -> str:
    try:
        return secret_file.read_or_create(path)[:_ID_CHARS]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}, which holds this instance's id, cannot be used: {error}") from error
