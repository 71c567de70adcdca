"""What one person hears on one event stream after the other, and that it is everything once.

Owns the rules of streams: positions only rise, no event comes twice, none that should come is left out between two positions,
`reset` comes only where history was cut, the instance's copy was spoiled or too much was missed, and nobody hears of a space they do not belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .checks import Checks

# Beyond this an instance tells a client to reload rather than replay: `live.MAX_REPLAYED`, less what may come meanwhile.
_TOO_MUCH_MISSED = 400

# May this person hear of this space, for an event of this position?
MayHear = Callable[[int, int], bool]
# Was the copy at this instance spoiled, so that whoever listens there may have been told what is not so?
WasSpoiled = Callable[[str], bool]


@dataclass(slots=True)
class _Stretch:
    """What was heard without an interruption that was announced: positions from `start` to the last one."""

    era: int
    start: int
    last: int
    heard: set[int] = field(default_factory=set)


class Hearing:
    """One person's ears. `position` is the Last-Event-ID to resume with; None begins anew."""

    def __init__(
        self, name: str, checks: Checks, *, may_hear: MayHear, was_spoiled: WasSpoiled = lambda _: False
    ) -> None:
        self.name = name
        self.position: int | None = None
        self._checks = checks
        self._may_hear = may_hear
        self._was_spoiled = was_spoiled
        self._stretches: list[_Stretch] = []
        self._stretch: _Stretch | None = None
        self._era = 0

    def connected(self) -> None:
        """Begin to listen, on a new connection. After a cut everything begins anew."""
        model = self._checks.model
        if self._era != model.era:
            self._era = model.era
            self.position = None
            self._stretch = None

    def positioned(self, seq: int, at_s: float) -> None:
        """Take a position without an event: where the stream begins, or up to where all was replayed."""
        if not self._holds():
            self.position = seq
            return
        if self._stretch is None:
            self._begin(seq)
        elif seq < self._stretch.last:
            self._violated("event_backwards", f"position {seq} after {self._stretch.last}", at_s)
        else:
            self._stretch.last = seq
        self.position = seq

    def heard(self, seq: int, kind: str, data: Mapping[str, Any], at_s: float) -> None:
        """Take an event."""
        self.position = seq
        space_id = data.get("space_id")
        if isinstance(space_id, int) and kind != "member.left" and not self._may_hear(space_id, seq):
            self._violated("forbidden_event", f"{kind} of space {space_id} at {seq}", at_s)
        if not self._holds():
            return
        if self._stretch is None:
            self._begin(seq)
        elif seq <= self._stretch.last:
            what = "event_repeated" if seq in self._stretch.heard else "event_backwards"
            self._violated(what, f"{kind} at {seq} after {self._stretch.last}", at_s)
        else:
            self._stretch.last = seq
        if self._stretch is not None:
            self._stretch.heard.add(seq)

    def reset(self, seq: int, at_s: float, *, instance: str = "") -> None:
        """Take the word of an instance that what came meanwhile is not told."""
        self.position = seq
        stretch, self._stretch = self._stretch, None
        if not self._holds():
            return
        is_little = stretch is not None and seq - stretch.last < _TOO_MUCH_MISSED
        if stretch is not None and is_little and not self._was_spoiled(instance):
            self._violated(
                "unexpected_reset", f"from {stretch.last} to {seq}, though no history was cut", at_s
            )
        self._begin(seq)

    def has_heard(self, seq: int) -> bool:
        """Tell whether everything up to a position of the history of now was listened to."""
        stretch = self._stretch
        return stretch is not None and stretch.era == self._checks.model.era and stretch.last >= seq

    def find_gaps(self, space_id: int, at_s: float) -> None:
        """Report each acknowledged write to a space whose event was left out. For the end, when all were heard."""
        model = self._checks.model
        for seq, message_id in model.events(space_id):
            for stretch in self._stretches:
                if (
                    stretch.era == model.era
                    and stretch.start < seq <= stretch.last
                    and seq not in stretch.heard
                ):
                    self._violated(
                        "event_gap",
                        f"message {message_id} was written at {seq}; positions {stretch.start} to {stretch.last} "
                        "were heard without it",
                        at_s,
                    )

    def _holds(self) -> bool:
        return self._checks.model.holds(self._era)

    def _begin(self, seq: int) -> None:
        self._stretch = _Stretch(self._era, seq, seq)
        self._stretches.append(self._stretch)

    def _violated(self, kind: str, detail: str, at_s: float) -> None:
        self._checks.violated(kind, f"{self.name} heard {detail}", at_s, self.name)
