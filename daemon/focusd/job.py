"""What one run of a plan is, and how it may change. Pure.

::

    queued ──Started──> running ──Captured──> finishing ──Finished──> done
      │                  │   ^                    │
      │            Paused│   │Resumed             │
      │                  v   │                    │
      │                 paused                    │
      │                  │                        │
      └──────────────────┴──── Ended(reason) ─────┘──> cancelled | failed | interrupted

`advance` is the only way from one `Job` to the next; the journal holds the events, so replaying it through
`advance` gives the same job again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from focusd.errors import FocusdError
from focusd.plan import StackPlan, ZPlan
from focusd.register.aligner import Mode
from focusd.register.correction import Border, Correction, OddPolicy
from focusd.slab_plan import SlabPlan

Approach = Literal["up", "down"]
Hold = Literal["always", "job", "off"]
ReturnTo = Literal["none", "start", "end", "centre"]
Preference = Literal["none", "front", "back"]
FusionMode = Literal["default", "fast"]
KeepFrames = Literal["off", "source", "jpeg"]


class JobStatus(StrEnum):
    """The word on the wire."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHING = "finishing"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in _OVER


_OVER = {JobStatus.DONE, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How the stops of a job are visited and photographed. None means: as the rig's config says.

    Parameters
    ----------
    settle_s : float or None
        Wait after a move before the exposure may begin, s.
    approach : {'up', 'down'} or None
        Side from which every stop is reached, so that the screw's play never matters.
    backlash_um, prerun_um : float or None
        Play of the screw, and the extra distance run to take it up, um.
    shots_per_step : int
        Exposures at each stop, from 1; each is fused.
    pre_delay_s : float or None
        Wait before the first exposure only, a test frame's or the first stop's (hands off the bench), s.
    shutter_on_s, shutter_gap_s, post_shot_s, mirror_lockup_s : float or None
        Length of the release press, pause between two shots at one stop, wait after a shot before the rail
        may move, and pause between mirror and shutter (0: no mirror lock-up), s.
    return_to : {'none', 'start', 'end', 'centre'}
        Where the rail goes after the last stop; start, end and centre are the plan's.
    hold : {'always', 'job', 'off'} or None
        Whether the motor keeps its current: always, until the job ends, or for moves and exposures only.
    slab, slab_overlap : int or None
        Stops in a slab that is fused by itself as well, from 2, and those it shares with the next; 0: none.
    prefer : {'none', 'front', 'back'} or None
        Which end wins where two depths answer about alike: high positions are in front.
    fusion_mode : {'default', 'fast'} or None
        The best picture, or a little less in less time.
    align : {'off', 'auto', 'translation', 'similarity', 'affine'} or None
        What of the frames' place may be corrected before they are fused.
    gain : bool or None
        Even flicker out.
    odd_frames : {'off', 'fuse', 'skip', 'stop'} or None
        What becomes of a frame that does not go with its neighbours; one that is skipped may be taken again.
    border : {'crop', 'mark'} or None
        Whether what not all frames cover is cut off, or told by a mask.
    transforms : str or None
        The run whose frames lay as these will: nothing is estimated.
    keep_frames : {'off', 'source', 'jpeg'} or None
        Whether each frame is kept in the run's folder: as it came without loss, or as JPEG.
    lights : tuple of str
        Lights that take turns at each stop, one exposure each; the first one's frames are fused.
    preset : str or None
        Name of the preset the job took, whose flat field and dark frame its frames are corrected by.
    force : bool
        Begin whatever the test frame shows.
    """

    settle_s: float | None = None
    approach: Approach | None = None
    backlash_um: float | None = None
    prerun_um: float | None = None
    shots_per_step: int = 1
    pre_delay_s: float | None = None
    shutter_on_s: float | None = None
    shutter_gap_s: float | None = None
    post_shot_s: float | None = None
    mirror_lockup_s: float | None = None
    return_to: ReturnTo = "none"
    hold: Hold | None = None
    slab: int | None = None
    slab_overlap: int | None = None
    prefer: Preference | None = None
    fusion_mode: FusionMode | None = None
    align: Mode | None = None
    gain: bool | None = None
    odd_frames: OddPolicy | None = None
    border: Border | None = None
    transforms: str | None = None
    keep_frames: KeepFrames | None = None
    lights: tuple[str, ...] = ()
    preset: str | None = None
    force: bool = False

    @property
    def exposures_per_stop(self) -> int:
        """Exposures at each stop, from 1: `shots_per_step` with each light."""
        return self.shots_per_step * max(1, len(self.lights))

    @property
    def correction(self) -> Correction:
        """What is done to each frame before it is fused."""
        return Correction(align=self.align or "off", gain=self.gain or False, odd=self.odd_frames or "off")

    @property
    def slab_plan(self) -> SlabPlan | None:
        """How the stack is cut into slabs; None when it is not.

        Raises
        ------
        PlanError
            Numbers that do not go together.
        """
        return SlabPlan(self.slab, self.slab_overlap or 0) if self.slab else None

    def return_positions_um(self, plan: StackPlan) -> list[float]:
        """Return where the rail goes after the last stop of `plan`, um: one position, or none."""
        match self.return_to:
            case "start":
                return [plan.positions_um[0]]
            case "end":
                return [plan.positions_um[-1]]
            case "centre":
                return [(plan.low_um + plan.high_um) / 2]
            case _:
                return []


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a plan, as it stands; frozen, so a copy can be handed to any thread.

    Parameters
    ----------
    run_id : str
        Made by the daemon; the only name on disk.
    z_plan : ZPlan
        What was asked.
    plan : StackPlan
        Its stops, as they were foreseen when the job was accepted; resolved anew when it starts.
    settings : JobSettings
        How to visit them.
    job_id : str, optional
        The client's own name for it: data, never a path.
    request : dict
        The request as it came, for the record.
    """

    run_id: str
    z_plan: ZPlan
    plan: StackPlan
    settings: JobSettings = JobSettings()
    job_id: str | None = None
    request: dict[str, Any] = field(default_factory=dict)
    status: JobStatus = JobStatus.QUEUED
    done: int = 0
    missing: tuple[int, ...] = ()
    retaken: int = 0
    eta_s: float | None = None
    error: str | None = None
    code: str | None = None
    result: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The rig began the job; `plan` is what it will visit."""

    plan: StackPlan


@dataclass(frozen=True, slots=True)
class StopDone:
    """A stop was exposed and its frame arrived, or (`missing`) did not."""

    index: int
    missing: bool = False
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class Retaken:
    """A frame that was lost or unusable is taken again."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The rig waits between two stops."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The rig goes on."""


@dataclass(frozen=True, slots=True)
class Captured:
    """The last stop was exposed; the picture is being finished."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The picture is on disk."""

    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The job ended early: cancelled, failed or interrupted. `result` is what there is of the picture."""

    status: Literal[JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED]
    error: str
    code: str
    result: dict[str, Any] | None = None


JobEvent = Started | StopDone | Retaken | Paused | Resumed | Captured | Finished | Ended


def advance(job: Job, event: JobEvent) -> Job:
    """Return the job after `event`.

    Raises
    ------
    FocusdError
        The event cannot follow from the job's present status.
    """
    S = JobStatus  # noqa: N806  # keeps the table readable
    match job.status, event:
        case S.QUEUED, Started(plan):
            return replace(job, status=S.RUNNING, plan=plan)
        case S.RUNNING | S.PAUSED, StopDone(index, missing, eta_s):
            lost = (*job.missing, index) if missing else job.missing
            return replace(job, done=job.done + 1, missing=lost, eta_s=eta_s)
        case S.RUNNING | S.PAUSED, Retaken():
            return replace(job, retaken=job.retaken + 1)
        case S.RUNNING, Paused():
            return replace(job, status=S.PAUSED, eta_s=None)
        case S.PAUSED, Resumed():
            return replace(job, status=S.RUNNING)
        case S.RUNNING, Captured():
            return replace(job, status=S.FINISHING, eta_s=None)
        case S.FINISHING, Finished(result):
            return replace(job, status=S.DONE, result=result, eta_s=0.0)
        case ((S.QUEUED | S.RUNNING | S.PAUSED | S.FINISHING), Ended(status, error, code, result)):
            return replace(job, status=status, error=error, code=code, result=result, eta_s=None)
    raise FocusdError(f"job {job.run_id} is {job.status.value}: {type(event).__name__} cannot follow")
