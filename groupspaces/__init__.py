"""Group Spaces: collaborative spaces that read from a local libSQL file and write to one primary."""

from __future__ import annotations

__version__ = "0.1.0"
