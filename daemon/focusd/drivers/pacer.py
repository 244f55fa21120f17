"""Steps timed in Python, on the rig's clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from focusd.clock import Clock
from focusd.halt import Halt
from focusd.rail import Until
from focusd.ramp import Ramp


class Pacer:
    """Gives the beat of a move, step by step.

    A late step is never caught up: each interval counts from the previous actual step, and after a gap of
    more than one interval the ramp begins again, because the motor has come to rest meanwhile.

    Parameters
    ----------
    clock : Clock
        The rig's.

    Attributes
    ----------
    worst_late_s : float
        The latest any step has been behind its time so far, s.
    ended_by : Until or None
        What ended the last run early, if not the emergency stop.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.worst_late_s = 0.0
        self.ended_by: Until | None = None

    def run(
        self,
        count: int,
        ramp: Ramp,
        stop: Halt,
        until: Sequence[Until],
        beat: Callable[[], float],
    ) -> int:
        """Call `beat` at each of `count` steps; `stop` and `until` end the run before the next one.

        `beat` makes the step and returns the rig time just after it: the next interval counts from there.

        Returns
        -------
        int
            Steps made.
        """
        clock = self._clock
        self.ended_by = None
        since_rest = 0
        last_s = clock.now_s()
        for made in range(count):
            interval_s = ramp.interval_s(since_rest, count - made)
            ahead_s = last_s + interval_s - clock.now_s()
            if not clock.sleep(max(0.0, ahead_s), stop):
                return made
            self.ended_by = next((end for end in until if end.reached), None)
            if self.ended_by is not None:
                return made
            late_s = clock.now_s() - last_s - interval_s
            if made:
                self.worst_late_s = max(self.worst_late_s, late_s)
            since_rest = 0 if late_s > interval_s else since_rest + 1
            last_s = beat()
        return count
