"""What a job will take, before it is started. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from focusd.job import Hold, JobSettings
from focusd.needs import FrameForm, fusion_needs
from focusd.plan import StackPlan
from focusd.rail_spec import RailSpec

# Of a run's prints, bytes a pixel, as if deflate saved nothing, which depends on the picture: a JPEG (1.2),
# depth in 32 and in 16 bits (6), origin (2), confidence and reason (2), depth in colours at half the size
# (0.8); the picture itself comes on top.
_MAPS_BYTES_PER_PIXEL = 12
_RECORD_BYTES_PER_STOP = 1200
# Of a kept frame's line; the camera's name in it is the longest part.
_INDEX_BYTES_PER_FRAME = 1000


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
    retries : int
        Frames of a job that may be taken again in all.
    """

    settle_s: float = 1.0
    pre_delay_s: float = 0.0
    hold: Hold = "job"
    give_up_after: int = 3
    retries: int = 10

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
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    checkpoint_bytes: int | None = None


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
    frame : FrameForm or None
        Size and kind of a frame.
    checkpoints : bool
        The fusion's state is saved while a job runs.
    """

    spec: RailSpec
    pace: Pace
    stop_s: Callable[[JobSettings], float]
    frame: FrameForm | None = None
    checkpoints: bool = True

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
        if self.frame is None:
            return Estimate(time_s)
        cut = settings.slab_plan
        needs = fusion_needs(self.frame, slabs=cut.open_at_once if cut else 0)
        checkpoint_bytes = needs.checkpoint_bytes if self.checkpoints else 0
        disk = disk_bytes(self.frame, len(plan), checkpoint_bytes, cut.count(len(plan)) if cut else 0)
        disk += kept_bytes(self.frame, settings, len(plan), self.pace.retries)
        return Estimate(time_s, needs.memory_bytes, disk, checkpoint_bytes)


def disk_bytes(frame: FrameForm, stops: int, checkpoint_bytes: int, slabs: int = 0) -> int:
    """Bytes that a run leaves on disk or holds there while it is made; an upper bound.

    Parameters
    ----------
    frame : FrameForm
        Size and kind of the frames, and so of the picture.
    stops : int
        Of the stack, 1 or more.
    checkpoint_bytes : int
        Size of a checkpoint; there are two for a moment, since the new one is whole before it takes the old
        one's place.
    slabs : int
        Pictures of slabs, 0 or more.
    """
    samples = 1 if frame.colour == "grey" else 3
    prints = ((1 + slabs) * samples * frame.bits // 8 + _MAPS_BYTES_PER_PIXEL) * frame.pixels
    return prints + 2 * checkpoint_bytes + _RECORD_BYTES_PER_STOP * stops


def kept_bytes(frame: FrameForm, settings: JobSettings, stops: int, retries: int = 0) -> int:
    """Bytes that the kept frames of a run take on disk; an upper bound, on top of `disk_bytes`.

    Parameters
    ----------
    frame : FrameForm
        Size and kind of the frames.
    settings : JobSettings
        Says whether frames are kept, and how many a stop has.
    stops : int
        Of the stack, 1 or more.
    retries : int
        Frames that may be taken again; a spoiled one is kept as well.
    """
    kind = settings.keep_frames or "off"
    if kind == "off":
        return 0
    frames = stops * settings.exposures_per_stop + retries
    return frames * (frame.kept_nbytes(kind) + _INDEX_BYTES_PER_FRAME)
