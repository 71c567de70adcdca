"""What people do here: one folder per feature, each with its API and its nouns."""

from __future__ import annotations
