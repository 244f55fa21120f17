"""The motor: a rotor that follows the field while it can.

The rotor rests wherever the field repeats, every four full steps; so a rotor that falls behind by less than
two full steps catches up, and one that falls behind further loses a multiple of four, as real ones do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from focusd_sim.driver import UNITS_PER_STEP

_CYCLE = 4 * UNITS_PER_STEP
# A ramp computed in floats must not fail at its own limit.
_RAMP_SLACK = 1.05


@dataclass(frozen=True, slots=True)
class Torque:
    """What the motor can do, in full steps; 0 lifts a limit.

    Parameters
    ----------
    pull_in_hz : float
        Rate it starts and stops at without a ramp, full steps/s.
    pull_out_hz : float
        Rate it falls out of step at, however gently it got there, full steps/s.
    acceleration_hz_s : float
        Hardest ramp above the pull-in rate, full steps/s^2.
    drift_hz : float
        Detents a released shaft slips each second, negative towards the near end.
    """

    pull_in_hz: float = 0.0
    pull_out_hz: float = 0.0
    acceleration_hz_s: float = 0.0
    drift_hz: float = 0.0


class Motor:
    """Field and rotor. Angles are whole units of 1/256 full step.

    Parameters
    ----------
    torque : Torque
        What it can do.
    limits : (int, int)
        Shaft angles at which the carriage meets its hard ends.
    moved : callable
        Called as ``moved(shaft, t_s)`` after every change of the shaft's angle.
    full_steps_per_turn : float
        Usually 200; behind a gear not always whole.

    Attributes
    ----------
    shaft, field : int
        True angle of the rotor, and of the field as if every step had been followed.
    slipped_steps : int
        Full steps lost to speed, acceleration, a stall or a hard end.
    crashes : int
        Steps on which a hard end held the carriage.
    overruns : int
        Stops so abrupt that the rotor ran on.
    """

    def __init__(
        self,
        torque: Torque,
        limits: tuple[int, int],
        moved: Callable[[int, float], None],
        full_steps_per_turn: float = 200,
    ) -> None:
        self.shaft = 0
        self.field = 0
        self.slipped_steps = 0
        self.crashes = 0
        self.overruns = 0
        self._moved = moved
        self._limits = limits
        self._per_turn = full_steps_per_turn * UNITS_PER_STEP
        self._pull_in_hz = torque.pull_in_hz or math.inf
        self._pull_out_hz = torque.pull_out_hz or math.inf
        self._acceleration_hz_s = torque.acceleration_hz_s or math.inf
        self._drift_hz = torque.drift_hz
        self._stalled = False
        self._energised = False
        self._in_step = True
        self._cycles = 0
        self._rate_hz = 0.0
        self._last_s = -math.inf
        self._released_s = -math.inf
        self._hops = 0

    @property
    def degrees(self) -> float:
        """True angle of the shaft, degrees, not wrapped."""
        return self.shaft * 360.0 / self._per_turn

    @property
    def energised(self) -> bool:
        """Whether current holds the rotor."""
        return self._energised

    def stall(self, stalled: bool) -> None:
        """Jam the rotor, or free it: at the next step it jumps to the nearest place the field allows."""
        self._stalled = stalled

    def step(self, units: int, t_s: float) -> None:
        """Turn the field by `units` at `t_s`; the rotor follows if it can."""
        length = abs(units) / UNITS_PER_STEP
        gap_s = t_s - self._last_s
        rate_hz = math.copysign(length / gap_s if gap_s > 0 else math.inf, units)
        self._overrun_check(abs(rate_hz), rate_hz * self._rate_hz < 0, length, t_s)
        self.field += units
        self._in_step = self._follows(rate_hz, length)
        self._rate_hz = rate_hz
        self._last_s = t_s
        if self._in_step:
            self._seek(t_s)
        else:
            self._account()

    def turn_field(self, units: int) -> None:
        """Turn the translator while no current flows: the rotor notices when it is next energised."""
        self.field += units

    def energise(self, t_s: float) -> None:
        """Switch the current on: the rotor jumps to the nearest place the field allows."""
        self.settle(t_s)
        self._energised = True
        self._in_step = True
        self._rate_hz = 0.0
        self._seek(t_s)

    def release(self, t_s: float) -> None:
        """Switch the current off: the rotor falls into the nearest detent."""
        self.settle(t_s)
        self._energised = False
        self._released_s = t_s
        self._hops = 0
        self._turn_to(round(self.shaft / UNITS_PER_STEP) * UNITS_PER_STEP, t_s)

    def settle(self, t_s: float) -> None:
        """Let time pass until `t_s`: a rotor out of step at rest falls back in, a released one drifts."""
        if not self._energised:
            self._drift(t_s)
            return
        rest_s = self._last_s + 2 / self._pull_in_hz  # twice: a ramp's last steps may be just below pull-in
        if t_s <= rest_s or self._rate_hz == 0:
            return
        self._overrun_check(0.0, False, 1.0, rest_s)
        self._rate_hz = 0.0
        if not self._in_step:
            self._in_step = True
            self._seek(rest_s)

    def _follows(self, rate_hz: float, length: float) -> bool:
        """Whether the rotor gets from its rate to `rate_hz` within one step of `length` full steps."""
        rate, before = abs(rate_hz), abs(self._rate_hz)
        if rate <= self._pull_in_hz:
            return True
        if rate > self._pull_out_hz or not self._in_step:
            return False
        start = max(before, self._pull_in_hz) if rate_hz * self._rate_hz > 0 else self._pull_in_hz
        # v^2 = v0^2 + 2 a s
        return rate**2 <= start**2 + 2 * self._acceleration_hz_s * length * _RAMP_SLACK

    def _overrun_check(self, rate: float, reversed_: bool, length: float, t_s: float) -> None:
        """Let the rotor run on by a cycle if the field braked harder than it can."""
        before = abs(self._rate_hz)
        if before <= self._pull_in_hz or not self._in_step:
            return
        if not reversed_ and rate**2 >= before**2 - 2 * self._acceleration_hz_s * length * _RAMP_SLACK:
            return
        self.overruns += 1
        self._turn_to(self.shaft + int(math.copysign(_CYCLE, self._rate_hz)), t_s)

    def _seek(self, t_s: float) -> None:
        """Turn to the nearest angle at which the field holds the rotor."""
        ahead = (self.field - self.shaft + _CYCLE // 2 - 1) % _CYCLE - (_CYCLE // 2 - 1)
        self._turn_to(self.shaft + ahead, t_s)

    def _turn_to(self, angle: int, t_s: float) -> None:
        low, high = self._limits
        free = self.shaft if self._stalled else min(max(angle, low), high)
        if free != angle and not self._stalled:
            self.crashes += 1
        if free != self.shaft:
            self.shaft = free
            self._moved(free, t_s)
        self._account()

    def _account(self) -> None:
        """Count whole cycles between field and rotor as lost."""
        if not self._energised:
            return
        cycles = (self.field - self.shaft + _CYCLE // 2 - 1) // _CYCLE
        if cycles != self._cycles:
            self.slipped_steps += 4 * abs(cycles - self._cycles)
            self._cycles = cycles

    def _drift(self, t_s: float) -> None:
        if self._drift_hz == 0 or self._released_s == -math.inf:
            return
        due = int(abs(self._drift_hz) * (t_s - self._released_s))
        while self._hops < due:
            self._hops += 1
            hop = int(math.copysign(UNITS_PER_STEP, self._drift_hz))
            self._turn_to(self.shaft + hop, self._released_s + self._hops / abs(self._drift_hz))
