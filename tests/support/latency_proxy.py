"""A wire with a length, between a program under test and its primary: the product's own (`groupspaces torture`), as tests call it."""

from __future__ import annotations

from groupspaces.ops.torture.wire import ANSWERS, Mode, Traffic, Wire

LatencyProxy = Wire

__all__ = ["ANSWERS", "LatencyProxy", "Mode", "Traffic"]
