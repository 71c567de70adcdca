"""People: signing up and in, their sessions, their profile."""

from __future__ import annotations
