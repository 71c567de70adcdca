"""Where the files live that are no Python: the browser client and `config.toml`.

A wheel carries copies inside the package; an editable install has none and uses the checkout's own files, so that an
edit shows at the next reload. This module only names places: it reads nothing and creates nothing.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent


def static_dir() -> Path:
    """Name the folder of the browser client, with its `vendor/` beside its own modules."""
    return _first_existing(_PACKAGE / "_static", _CHECKOUT / "static")


def default_config_path() -> Path:
    """Name the `config.toml` that lists every setting with its default."""
    return _first_existing(_PACKAGE / "_config.toml", _CHECKOUT / "config.toml")


def _first_existing(packaged: Path, checkout: Path) -> Path:
    return packaged if packaged.exists() else checkout
