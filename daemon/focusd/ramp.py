"""How fast one step may follow another: a trapezoid of speed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from focusd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Ramp:
    """Constant acceleration from a start rate up to a cruise rate, and back down before the end.

    Parameters
    ----------
    start_hz : float
        Steps per second the motor can start and stop at without losing any (its pull-in rate).
    cruise_hz : float
        Highest rate, at least `start_hz`.
    accel_hz_s : float
        Change of rate per second, above 0.

    Notes
    -----
    At constant acceleration the rate after k steps is ``sqrt(start**2 + 2 * accel * k)``; Austin's
    approximation of the same curve is in Atmel AVR446, section 2.3. Asked by steps since rest and steps
    remaining, rather than by index, so that a late motor can begin its ramp again in the middle of a move.
    """

    start_hz: float
    cruise_hz: float
    accel_hz_s: float

    def __post_init__(self) -> None:
        if not 0 < self.start_hz <= self.cruise_hz:
            raise ConfigError(
                f"start rate {self.start_hz:g} Hz and cruise rate {self.cruise_hz:g} Hz: the start rate must "
                "be above 0 and not above the cruise rate"
            )
        if not self.accel_hz_s > 0:
            raise ConfigError(f"acceleration {self.accel_hz_s:g} Hz/s: it must be above 0")

    def rate_hz(self, since_rest: int, remaining: int) -> float:
        """Rate allowed for the next step.

        Parameters
        ----------
        since_rest : int
            Steps made since the motor last stood still, from 0.
        remaining : int
            Steps still to make, the next one included, from 1.
        """
        from_an_end = min(since_rest, max(remaining - 1, 0))
        reached_hz = math.sqrt(self.start_hz**2 + 2 * self.accel_hz_s * from_an_end)
        return min(self.cruise_hz, reached_hz)

    def interval_s(self, since_rest: int, remaining: int) -> float:
        """Time from the previous step to the next one, s."""
        return 1.0 / self.rate_hz(since_rest, remaining)

    def duration_s(self, steps: int) -> float:
        """Time that a move of `steps` takes, s."""
        return sum(self.interval_s(k, steps - k) for k in range(steps))
