"""Four coils switched one by one, as by a ULN2003: which of them are on says where the field points.

It knows coils, levels and times, and nothing of where they come from.
"""

from __future__ import annotations

import math

from focusd_sim.driver import UNITS_PER_STEP, Pulses, Rotor

HALF_STEP = UNITS_PER_STEP // 2

SHORTEST_FIELD_S = 1e-4
"""Assumed: in a shorter time the current of a winding has hardly changed and the rotor notices nothing."""

# Where the field points, in half steps, by the sums of opposite coils: first less third, second less fourth.
_PLACES = {(1, 0): 0, (1, 1): 1, (0, 1): 2, (-1, 1): 3, (-1, 0): 4, (-1, -1): 5, (0, -1): 6, (1, -1): 7}
_CYCLE = len(_PLACES)
_ROUNDING_S = 5e-10  # as in the driver chips: rig time is a float sum


class Coils:
    """The windings of a four-phase unipolar motor, their switches fed by edges.

    A field turns the rotor once it has stood for `SHORTEST_FIELD_S`, from the time of its last edge, by the
    shorter way from the field before; so the lines of one step may be set one after the other. All coils off
    is off at once. Opposite coils cancel each other: without another one they hold nothing.

    Parameters
    ----------
    rotor : Rotor
        What the field turns.

    Attributes
    ----------
    pulses : Pulses
        ``total`` fields that followed another one; ``violations``: "opposite" for fields that cancelled,
        "jump" for those further than a full step from the one before, which the rotor may follow either way.
    """

    def __init__(self, rotor: Rotor) -> None:
        self.pulses = Pulses()
        self._rotor = rotor
        self._on = [False] * 4
        self._place = 0
        self._holds = False
        self._pending = False
        self._since_s = -math.inf

    @property
    def enabled(self) -> bool:
        """Whether there is a field."""
        return self._points() is not None

    def switch(self, coil: int, level: bool, t_s: float) -> bool:
        """Take an edge on the input of `coil`, 0 to 3; high is on.

        Returns
        -------
        bool
            Whether it turned the field, rather than made it or took it away.
        """
        self.flush(t_s)
        before = self._points()
        self._on[coil] = level
        after = self._points()
        self._since_s = t_s
        self._pending = any(self._on)
        if not self._pending:
            self._let_go()
        return before is not None and after is not None and before != after

    def flush(self, t_s: float) -> None:
        """Let the field that has stood long enough by `t_s` turn the rotor."""
        if not self._pending or t_s - self._since_s < SHORTEST_FIELD_S - _ROUNDING_S:
            return
        self._pending = False
        place = self._points()
        if place is None:
            self._count("opposite")
            self._let_go()
            return
        ahead = (place - self._place + _CYCLE // 2) % _CYCLE - _CYCLE // 2
        self._place = place
        if not self._holds:
            self._holds = True
            self._rotor.turn_field(ahead * HALF_STEP)
            self._rotor.energise(self._since_s)
        elif ahead:
            self.pulses.total += 1
            if abs(ahead) * HALF_STEP > UNITS_PER_STEP:
                self._count("jump")
            self._rotor.step(ahead * HALF_STEP, self._since_s)

    def _points(self) -> int | None:
        first, second, third, fourth = self._on
        return _PLACES.get((first - third, second - fourth))

    def _let_go(self) -> None:
        if self._holds:
            self._holds = False
            self._rotor.release(self._since_s)

    def _count(self, kind: str) -> None:
        self.pulses.violations[kind] = self.pulses.violations.get(kind, 0) + 1
