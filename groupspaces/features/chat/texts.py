"""Parsed texts of messages, kept up to a fixed amount.

A page is encoded anew after each message on it; the others must not be parsed again. A message is parsed once when
it is posted: for whom it names, for the answer and for the event. Only content decides, so nothing here grows old.
"""

from __future__ import annotations

from collections import OrderedDict

from groupspaces import markdown
from groupspaces.markdown import Text

_CAPACITY_BYTES = 16 * 1024 * 1024
# What Python adds to the characters: the entry, two texts and a tuple; then each further part of a text.
_ENTRY_BYTES = 400
_PART_BYTES = 60


class Texts:
    """Parse contents, remembering the ones used last."""

    def __init__(self, capacity_bytes: int = _CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._texts: OrderedDict[str, Text] = OrderedDict()
        self.size_bytes = 0

    def of(self, content: str) -> Text:
        """Return a content parsed: a dictionary look-up, or at most about 2 ms."""
        kept = self._texts.get(content)
        if kept is not None:
            self._texts.move_to_end(content)
            return kept
        text = markdown.parse(content)
        self._texts[content] = text
        self.size_bytes += _size_bytes(content, text)
        while self.size_bytes > self._capacity_bytes:
            self.size_bytes -= _size_bytes(*self._texts.popitem(last=False))
        return text


def _size_bytes(content: str, text: Text) -> int:
    """Estimate what an entry holds: at most four bytes a character, when one of them is an emoji."""
    texts = (content, *text.parts)
    return _ENTRY_BYTES + sum(_PART_BYTES + len(part) * _width(part) for part in texts)


def _width(text: str) -> int:
    return 1 if text.isascii() else 4
