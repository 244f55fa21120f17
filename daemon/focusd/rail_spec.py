"""What a rail is: its screw, its limits, its end stop, and how a position is reached. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from focusd.errors import OutOfTravel
from focusd.plan import exact
from focusd.ramp import Ramp

Direction = Literal["up", "down"]
SIGN: dict[Direction, int] = {"up": 1, "down": -1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Homing:
    """How to find the end stop; lengths in um, speeds in um/s.

    `agree_um`: how far apart the switch may trip the first and the second time. `by_stall`: there is no
    switch, the motor driver tells when the carriage stands against a hard end.
    """

    direction: Direction
    position_um: float
    go_to_um: float | None
    fast_um_s: float
    slow_um_s: float
    back_off_um: float
    max_travel_um: float
    agree_um: float = 50.0
    by_stall: bool = False


@dataclass(frozen=True, slots=True)
class Reach:
    """How a position is reached: from which side, and with how much run-up."""

    side: Direction
    run_up_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RailSpec:
    """What a rail is, and how it may move.

    Parameters
    ----------
    um_per_step : Fraction
        Travel of one motor step, exact.
    low_um, high_um : float
        Soft limits; no step is commanded outside them once the position is trusted.
    start_um_s, cruise_um_s, accel_um_s2 : float
        The ramp.
    backlash_um, prerun_um : float
        Play of the screw, and how much more to run so that it is surely taken up.
    approach : {'up', 'down'}
        Side from which a position is reached.
    jog_max_um : float
        Longest single jog.
    homing : Homing or None
        None on a rail without an end stop.
    """

    um_per_step: Fraction
    low_um: float
    high_um: float
    start_um_s: float
    cruise_um_s: float
    accel_um_s2: float
    backlash_um: float = 0.0
    prerun_um: float = 0.0
    approach: Direction = "up"
    jog_max_um: float = 5000.0
    homing: Homing | None = None

    def ramp(self, cruise_um_s: float | None = None) -> Ramp:
        """Trapezoid in steps, up to `cruise_um_s` (the rail's own when None)."""
        hz_per_um_s = 1 / float(self.um_per_step)
        cruise_hz = (cruise_um_s or self.cruise_um_s) * hz_per_um_s
        start_hz = min(self.start_um_s * hz_per_um_s, cruise_hz)
        return Ramp(start_hz, cruise_hz, self.accel_um_s2 * hz_per_um_s)

    def steps_at(self, position_um: float) -> int:
        """Return the whole step nearest to a position; exact, whatever the distance."""
        return round(exact(position_um) / self.um_per_step)

    def um_at(self, steps: int) -> float:
        """Return the position, or the length, that so many steps are, um."""
        return float(steps * self.um_per_step)

    @property
    def home_reference_um(self) -> float | None:
        """Where the rail will stand after homing, or None without an end stop."""
        if self.homing is None:
            return None
        if self.homing.go_to_um is not None:
            return self.homing.go_to_um
        return self.um_at(self.home_steps(self.homing))

    def home_steps(self, homing: Homing) -> int:
        """Return the step count at the end stop.

        There the play is taken up on the end stop's side; the count is kept in the frame of a carriage whose
        play is taken up on the approach side, so the play lies between the two where the sides differ.
        """
        at_switch = self.steps_at(homing.position_um)
        if self.approach == homing.direction:
            return at_switch
        return at_switch + SIGN[homing.direction] * self.steps_at(self.backlash_um)

    def reach(
        self,
        approach: Direction | None = None,
        backlash_um: float | None = None,
        prerun_um: float | None = None,
    ) -> Reach:
        """How positions are reached; None takes the rail's own."""
        backlash = self.backlash_um if backlash_um is None else backlash_um
        prerun = self.prerun_um if prerun_um is None else prerun_um
        run_up = -(-(exact(backlash) + exact(prerun)) // self.um_per_step)
        return Reach(approach or self.approach, int(run_up))

    def check(self, position_um: float) -> None:
        """Raise `OutOfTravel` when a position is outside the soft limits."""
        if not self.low_um <= position_um <= self.high_um:
            raise OutOfTravel(
                f"position {position_um:g} um is outside the rail's limits {self.low_um:g} to "
                f"{self.high_um:g} um; choose a position inside, or change rail.low_um / high_um",
                position_um=position_um,
                low_um=self.low_um,
                high_um=self.high_um,
            )

    def inside(self, steps: int) -> int:
        """Return the step nearest to `steps` inside the limits, which need not be whole numbers of them."""
        steps = min(steps, int(exact(self.high_um) // self.um_per_step))
        return max(steps, int(-(-exact(self.low_um) // self.um_per_step)))

    def legs(self, at_steps: int, run_in: int, position_um: float, reach: Reach) -> list[int]:
        """Step counts that lead to a position; checked against the limits before any is made.

        Parameters
        ----------
        at_steps, run_in : int
            Where the motor is, and its signed travel since the last reversal.
        position_um : float
            Target.
        reach : Reach
            Side and run-up.

        Raises
        ------
        OutOfTravel
            The target, or the run-up before it, is outside the limits.
        """
        self.check(position_um)
        target = self.inside(self.steps_at(position_um))
        sign = SIGN[reach.side]
        ahead = (target - at_steps) * sign
        taken_up = max(0, run_in * sign)
        if ahead >= 0 and taken_up + ahead >= reach.run_up_steps:
            return [target - at_steps] if ahead else []
        before = target - sign * reach.run_up_steps
        before_um = self.um_at(before)
        if not self.low_um <= before_um <= self.high_um:
            raise OutOfTravel(
                f"position {position_um:g} um must be reached from {before_um:g} um (backlash and pre-run), "
                f"outside the rail's limits {self.low_um:g} to {self.high_um:g} um; stay "
                f"{self.um_at(reach.run_up_steps):g} um inside them",
                position_um=position_um,
                run_up_from_um=before_um,
                low_um=self.low_um,
                high_um=self.high_um,
            )
        return [leg for leg in (before - at_steps, target - before) if leg]

    def rehearse(
        self, positions_um: Iterable[float], reach: Reach, at_steps: int, run_in: int = 0
    ) -> list[list[int]]:
        """Work out the legs to each of several positions in turn, moving nothing.

        Parameters
        ----------
        positions_um : iterable of float
            In order of visit, um.
        reach : Reach
            Side and run-up.
        at_steps, run_in : int
            Where the motor is, and its signed travel since the last reversal (0: not known).

        Raises
        ------
        OutOfTravel
            One of them, or the run-up before it, is outside the limits.
        """
        route = []
        for position_um in positions_um:
            legs = self.legs(at_steps, run_in, position_um, reach)
            for leg in legs:
                at_steps, run_in = at_steps + leg, run_in_after(run_in, leg)
            route.append(legs)
        return route


def run_in_after(run_in: int, steps: int) -> int:
    """Signed travel since the last reversal, after another leg."""
    return run_in + steps if run_in * steps >= 0 else steps
