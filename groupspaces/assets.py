"""Where the browser client's files live.

A wheel carries a copy inside the package; an editable install has none and uses the checkout's own files, so that an
edit shows at the next reload. This module only names the place: it reads nothing and creates nothing.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def static_dir() -> Path:
    """Name the folder of the browser client, with its `vendor/` beside its own modules."""
    packaged = _PACKAGE / "_static"
    return packaged if packaged.exists() else _PACKAGE.parent / "static"
