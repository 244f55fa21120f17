"""What a job will take, before it is started. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from focusd.job import Hold, JobSettings
from focusd.plan import StackPlan
from focusd.rail_spec import RailSpec

STATE_BYTES_PER_PIXEL = 120
"""Upper bound of the fusion's state and working buffers, colour; a test holds it against the real thing."""
# Uncompressed picture, depth and JPEG: a bound, since what deflate saves depends on the picture.
_PRINT_BYTES_PER_PIXEL = 8
_RECORD_BYTES_PER_STOP = 1200


@dataclass(frozen=True, slots=True)
class Pace:
    """The rig's own times, where a job says nothing.

    Parameters
    ----------
    settle_s : float
        Wait after a move.
    pre_delay_s : float
        Wait before the first exposure.
    hold : {'always', 'job', 'off'}
        What becomes of the motor's current.
    give_up_after : int
        Frames missing in a row that end a job.
    """

    settle_s: float = 1.0
    pre_delay_s: float = 0.0
    hold: Hold = "job"
    give_up_after: int = 3

    def settle_of(self, settings: JobSettings) -> float:
        """Wait after a move in a job with these settings, s."""
        return self.settle_s if settings.settle_s is None else settings.settle_s

    def pre_delay_of(self, settings: JobSettings) -> float:
        """Wait before the first exposure in a job with these settings, s."""
        return self.pre_delay_s if settings.pre_delay_s is None else settings.pre_delay_s


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job needs; None where the size of a frame is not known beforehand."""

    time_s: float
    memory_bytes: int | None
    disk_bytes: int | None


@dataclass(frozen=True, slots=True)
class Estimator:
    """Foresees jobs on one rig.

    Parameters
    ----------
    spec : RailSpec
        The rail.
    pace : Pace
        The rig's times.
    stop_s : callable
        Time that the exposures of one stop take with given settings, s.
    frame_pixels : int or None
        Pixels in a frame.
    """

    spec: RailSpec
    pace: Pace
    stop_s: Callable[[JobSettings], float]
    frame_pixels: int | None = None

    def of(self, plan: StackPlan, settings: JobSettings, from_um: float) -> Estimate:
        """Foresee one job that begins at `from_um`; time is without waiting for frames.

        Raises
        ------
        OutOfTravel
            A stop, or its run-up, is outside the limits.
        """
        reach = self.spec.reach(settings.approach, settings.backlash_um, settings.prerun_um)
        ramp = self.spec.ramp()
        positions_um = (*plan.positions_um, *settings.return_positions_um(plan))
        route = self.spec.rehearse(positions_um, reach, self.spec.steps_at(from_um))
        moving_s = sum(ramp.duration_s(abs(leg)) for legs in route for leg in legs)
        at_a_stop_s = self.pace.settle_of(settings) + self.stop_s(settings)
        time_s = moving_s + self.pace.pre_delay_of(settings) + len(plan) * at_a_stop_s
        if self.frame_pixels is None:
            return Estimate(time_s, None, None)
        memory_bytes = STATE_BYTES_PER_PIXEL * self.frame_pixels
        disk_bytes = _PRINT_BYTES_PER_PIXEL * self.frame_pixels + _RECORD_BYTES_PER_STOP * len(plan)
        return Estimate(time_s, memory_bytes, disk_bytes)
