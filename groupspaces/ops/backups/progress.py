"""How far something is that takes long: what is being done, and how many bytes of how many."""

from __future__ import annotations

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """`total_bytes` is 0 where nobody can tell."""

    step: str
    done_bytes: int = 0
    total_bytes: int = 0

    def further(self, size_bytes: int) -> Progress:
        """Return it so many bytes further."""
        return msgspec.structs.replace(self, done_bytes=self.done_bytes + size_bytes)
