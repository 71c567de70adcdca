"""Chat: messages, whom they mention, how far each member has read."""

from __future__ import annotations
