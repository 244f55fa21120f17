"""How fast one step may follow another: a trapezoid of speed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from focusd.errors import ConfigError

_EXACT_INTERVALS = 32


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
        return min(self.cruise_hz, self._reached_hz(from_an_end))

    def interval_s(self, since_rest: int, remaining: int) -> float:
        """Time from the previous step to the next one, s."""
        return 1.0 / self.rate_hz(since_rest, remaining)

    def intervals_s(self, count: int) -> NDArray[np.float64]:
        """Return `interval_s` by steps since rest, with no end in sight: from rest up to cruise rate.

        Parameters
        ----------
        count : int
            Most intervals wanted, from 1.

        Returns
        -------
        ndarray of float64
            (n,) s, n from 1 to `count`; every later interval is as long as the last one.
        """
        k = np.arange(min(count, self._to_cruise + 1), dtype=np.float64)
        return 1.0 / np.minimum(self.cruise_hz, np.sqrt(self.start_hz**2 + 2 * self.accel_hz_s * k))

    def duration_s(self, steps: int) -> float:
        """Time that a move of `steps` takes, s; the same work for any length.

        Both halves of a move mirror each other. The first intervals of a ramp are added up, the rest is
        Euler and Maclaurin's sum: an integral and two corrections.
        """
        half = steps // 2
        middle_s = self.interval_s(half, steps - half) if steps % 2 else 0.0
        ramping = min(half, self._to_cruise)
        return 2 * (self._ramp_s(ramping) + (half - ramping) / self.cruise_hz) + middle_s

    @property
    def _to_cruise(self) -> int:
        """Steps from rest to cruise rate."""
        return math.ceil((self.cruise_hz**2 - self.start_hz**2) / (2 * self.accel_hz_s))

    def _ramp_s(self, count: int) -> float:
        """Sum of the first `count` intervals, none at cruise rate yet, s."""
        exact = min(count, _EXACT_INTERVALS)
        first_s = sum(1.0 / self._reached_hz(k) for k in range(exact))
        low_hz, high_hz = self._reached_hz(exact), self._reached_hz(count)
        integral_s = (high_hz - low_hz) / self.accel_hz_s
        ends_s = (1 / low_hz - 1 / high_hz) / 2
        slopes_s = self.accel_hz_s * (low_hz**-3 - high_hz**-3) / 12
        return first_s + integral_s + ends_s + slopes_s

    def _reached_hz(self, since_rest: int) -> float:
        return math.sqrt(self.start_hz**2 + 2 * self.accel_hz_s * since_rest)
