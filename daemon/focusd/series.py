"""Stacks of one plan, begun at a steady interval: what was asked, and how far it has come. Pure.

::

    queued ──> loop 1 ──> wait ──> loop 2 ──> wait ──> ... ──> loop n ──> done
                 └──────────┴─── ended ─┴────────┴──> cancelled | failed | interrupted

Loop k is due at the first one's beginning + (k - 1) intervals, whatever became of those before it. One that
cannot begin in its time is skipped and not made up for, so that a series ends when it was to end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from focusd.errors import PlanError
from focusd.job import JobStatus
from focusd.plan import StackPlan, ZPlan

# Loops that fail one after the other and end a series.
_GIVE_UP_AFTER = 2
# A loop may begin so much after its time, a tenth of the interval at most; later it is skipped.
_GRACE_S = 1.0
# Share of the interval below which what is left of it is worth a warning.
_SPARE = 0.1
# Stops that can be listed one by one in a request of 64 KiB.
_MOST_LISTED = 4000
# Fields of a request that are for that one request alone.
_ONCE = ("transaction", "job_id", "expires_at", "z_plan", "time_plan")


@dataclass(frozen=True, slots=True)
class TimePlan:
    """How often, and how many times.

    Parameters
    ----------
    interval_s : float
        From the beginning of one stack to that of the next, above 0.
    loops : int
        Stacks, from 1.
    """

    interval_s: float
    loops: int

    def require(self, stack_s: float) -> None:
        """Refuse an interval that is too short for a stack, which takes `stack_s` by estimate.

        Raises
        ------
        PlanError
            With both figures.
        """
        if stack_s > self.interval_s:
            raise PlanError(
                f"a stack takes {stack_s:.1f} s, without waiting for frames, and time_plan.interval is "
                f"{self.interval_s:g} s: make it {math.ceil(stack_s * (1 + _SPARE))} s or more, or the stack "
                "shorter",
                stack_s=stack_s,
                interval_s=self.interval_s,
            )

    def warning(self, stack_s: float) -> str | None:
        """Say so where a stack hardly leaves time for late frames and for writing its picture."""
        spare_s = self.interval_s - stack_s
        if self.loops == 1 or spare_s >= _SPARE * self.interval_s:
            return None
        return (
            f"a stack leaves {spare_s:.1f} s of an interval of {self.interval_s:g} s for frames that come "
            "late, and for writing its picture: a stack that takes longer makes the next one be skipped"
        )

    def time_s(self, stack_s: float) -> float:
        """Time from the first stack's beginning to the last one's end, s."""
        return (self.loops - 1) * self.interval_s + stack_s

    def disk_bytes(self, run_bytes: int, passing_bytes: int) -> int:
        """Disk for all stacks.

        Parameters
        ----------
        run_bytes : int
            What one needs.
        passing_bytes : int
            What of that is gone again when it has ended.
        """
        return self.loops * run_bytes - (self.loops - 1) * passing_bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Which stack of a series a run is, for its record.

    Parameters
    ----------
    series : str
        The first run's id, which is the series'.
    loop, loops : int
        Number of the stack, from 1, and of how many.
    """

    series: str
    loop: int
    loops: int


@dataclass(frozen=True, slots=True)
class Series:
    """A series as it stands; frozen.

    Parameters
    ----------
    time_plan : TimePlan
        What was asked.
    run_ids : tuple of str
        Of its stacks so far; the last is the one that runs or comes next.
    job_id : str or None
        The client's own name for it.
    loop : int
        Number of the stack that runs or comes next, from 1; above `loops` when none does.
    first_s : float or None
        Rig time at which the first stack began.
    plan : StackPlan or None
        The first one's stops, which are every one's.
    done, failed, skipped : int
        Stacks that ended well, that did not, and that never began because their time had passed.
    failed_in_a_row : int
        Of those, the last ones.
    paused, ended : bool
        No stack begins until it is resumed; or at all.
    """

    time_plan: TimePlan
    run_ids: tuple[str, ...]
    job_id: str | None = None
    loop: int = 1
    first_s: float | None = None
    plan: StackPlan | None = None
    done: int = 0
    failed: int = 0
    skipped: int = 0
    failed_in_a_row: int = 0
    paused: bool = False
    ended: bool = False

    @property
    def series_id(self) -> str:
        """The first run's id."""
        return self.run_ids[0]

    @property
    def run_id(self) -> str:
        """Id of the run that is under way or comes next."""
        return self.run_ids[-1]

    @property
    def place(self) -> Place:
        """Which stack the present run is."""
        return Place(self.series_id, self.loop, self.time_plan.loops)

    @property
    def is_complete(self) -> bool:
        """Whether no stack is left."""
        return self.loop > self.time_plan.loops

    @property
    def counts(self) -> dict[str, int]:
        """Return how many there are of each, for the wire."""
        names = ("done", "failed", "skipped")
        return {"loops": self.time_plan.loops} | {name: getattr(self, name) for name in names}

    def due_s(self, loop: int) -> float | None:
        """Rig time at which a stack is to begin; None for one that is not, or is not known yet."""
        if self.first_s is None or loop > self.time_plan.loops:
            return None
        return self.first_s + (loop - 1) * self.time_plan.interval_s

    def begun(self, plan: StackPlan, now_s: float) -> Series:
        """Return the series after a stack began; the first one sets time and stops for all."""
        return self if self.first_s is not None else replace(self, plan=plan, first_s=now_s)

    def counted(self, status: JobStatus) -> Series:
        """Return the series after a stack ended."""
        if status is JobStatus.DONE:
            return replace(self, done=self.done + 1, failed_in_a_row=0)
        return replace(self, failed=self.failed + 1, failed_in_a_row=self.failed_in_a_row + 1)

    def ends_by(self, status: JobStatus) -> JobStatus | None:
        """Return how the series ends by the end of a stack that was counted; None: it goes on."""
        if status in (JobStatus.CANCELLED, JobStatus.INTERRUPTED):
            return status
        if self.failed_in_a_row and (self.failed_in_a_row >= _GIVE_UP_AFTER or self.first_s is None):
            return JobStatus.FAILED
        return None

    def onward(self) -> Series:
        """Return the series with the next stack to come."""
        return replace(self, loop=self.loop + 1)

    def caught_up(self, now_s: float) -> Series:
        """Return the series without the stacks whose time has passed."""
        due_s = self.due_s(self.loop)
        if due_s is None:
            return self
        interval_s = self.time_plan.interval_s
        late_s = now_s - due_s - min(_GRACE_S, interval_s / 10)
        if late_s <= 0:
            return self
        skipped = min(math.ceil(late_s / interval_s), self.time_plan.loops - self.loop + 1)
        return replace(self, loop=self.loop + skipped, skipped=self.skipped + skipped)

    def z_plan(self) -> ZPlan:
        """Return the first stack's stops, to be visited wherever the carriage is."""
        assert self.plan is not None  # noqa: S101  # asked for the stacks after the first
        return ZPlan(absolute=self.plan.positions_um, go_up=_goes_up(self.plan))

    def held(self, *, paused: bool) -> Series:
        """Return the series paused, or not."""
        return replace(self, paused=paused)

    def is_named(self, run_id: str | None, job_id: str | None) -> bool:
        """Whether a request that names these, or nothing, means the series."""
        return (run_id is None or run_id in self.run_ids) and job_id in (None, self.job_id)

    def rest_of(self, request: Mapping[str, Any], *, again: bool) -> dict[str, Any] | None:
        """Return the request that would go on with it.

        None where nothing is left, its stops are unknown, or they are too many for a request.

        Parameters
        ----------
        request : mapping
            The one that began it.
        again : bool
            The present stack is not whole: take it once more.
        """
        left = self.time_plan.loops - self.loop + again
        plan = self.plan
        if plan is None or left < 1 or len(plan) > _MOST_LISTED:
            return None
        # One by one: the ends and a step would not always give the same stops again, by the last digit.
        positions_um = [round(position_um, 6) for position_um in plan.positions_um]
        return {name: value for name, value in request.items() if name not in _ONCE} | {
            "z_plan": {"absolute": positions_um, "go_up": _goes_up(plan)},
            "time_plan": {"interval": self.time_plan.interval_s, "loops": left},
        }


def _goes_up(plan: StackPlan) -> bool:
    return plan.positions_um[0] <= plan.positions_um[-1]
