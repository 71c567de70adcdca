"""Spaces: rooms, who belongs to them with which role, and the links that let people in."""

from __future__ import annotations
