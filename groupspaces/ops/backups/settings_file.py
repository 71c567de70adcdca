"""`settings.toml` of an archive: what an operator had decided, to be read by people and used as a `config.toml`.

Owns that no secret is in it: each is named with where it has to come from.
"""

from __future__ import annotations

import itertools

import orjson

from groupspaces.settings import Setting, Settings

_HEAD = "# The settings of the instance that made this backup, as far as they differ from the defaults. Secrets are left out."


def settings_file(settings: Settings) -> str:
    """Return the settings that are not defaults, as TOML."""
    given = [setting for setting in settings.describe() if setting.source != "default"]
    lines = [_HEAD]
    for section, found in itertools.groupby(given, key=lambda setting: setting.key.split(".")[0]):
        lines += ["", f"[{section}]", *map(_line, found)]
    return "\n".join(lines) + "\n"


def _line(setting: Setting) -> str:
    name = setting.key.split(".", 1)[1]
    if setting.secret:
        return f"# {name} = a secret, which came from {setting.source}"
    # Of the values that settings have, JSON and TOML write all alike.
    return f"{name} = {orjson.dumps(setting.value, default=str).decode()}"
