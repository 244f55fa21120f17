"""A series while it is under way: which order comes next, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from focusd.board import Board
from focusd.clock import Clock
from focusd.draft import Draft, Drafter
from focusd.job import Ended, Job, JobStatus, advance
from focusd.journal import Runs
from focusd.orders import RunJob, Wait
from focusd.preflight import PreflightFailed
from focusd.room import NoRoom
from focusd.series import Series, TimePlan


class Lapse:
    """One series, from its first stack on.

    Parameters
    ----------
    job : Job
        Its first stack.
    draft : Draft
        What all of them are.
    time_plan : TimePlan
        When.
    board, drafter, runs, clock
        As `focusd.agenda.Agenda` has them.
    show : callable
        Takes the next stack when it begins to wait, or is paused or resumed.
    end_job : callable
        Ends a stack that never began: job, status, error and code.
    """

    def __init__(
        self,
        job: Job,
        draft: Draft,
        time_plan: TimePlan,
        board: Board,
        drafter: Drafter,
        runs: Runs,
        clock: Clock,
        show: Callable[[Job], None],
        end_job: Callable[[Job, JobStatus, str, str], None],
    ) -> None:
        self.series = Series(time_plan, (job.run_id,), job.job_id)
        """How it stands."""
        self.next_at: datetime | None = None
        """Time of day at which the next stack is to begin, by what the clock shows now."""
        self._job = job
        self._draft = draft
        self._board = board
        self._drafter = drafter
        self._runs = runs
        self._clock = clock
        self._show = show
        self._end_job = end_job
        self.was_left = False
        """Whether it ended between two stacks: the wait for the next one is over in a moment."""
        # The stack that waits for its time.
        self._coming: Job | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the rig rests until its next stack's time."""
        return self._coming is not None

    def has(self, job: Job) -> bool:
        """Whether a job is the stack that is under way or comes next."""
        return job.run_id == self.series.run_id

    def is_named(self, run_id: str | None, job_id: str | None) -> bool:
        """Whether a request that names these, or nothing, means the series, and it has not ended."""
        return not self.series.ended and self.series.is_named(run_id, job_id)

    def follow(self, job: Job) -> None:
        """Take its present stack as it stands now."""
        self._job = job
        if job.status is JobStatus.RUNNING and self.series.first_s is None:
            self.series = self.series.begun(job.plan, self._clock.now_s())
            self._foretell(self.series.loop + 1)

    def hold(self, *, paused: bool) -> None:
        """Let no further stack begin, or let them again."""
        self.series = self.series.held(paused=paused)
        if self._coming is not None:
            self._foretell(self.series.loop)
            self._show(self._coming)

    def next_order(self) -> RunJob | Wait | None:
        """Return what the job thread is to do now that it is free; None: the series has ended."""
        if self.series.ended or (self._coming is None and not self._goes_on_after(self._job)):
            return None
        while True:
            if not self.series.paused:
                self._skip()
            if self.series.is_complete:
                self.end(JobStatus.DONE)
                return None
            due_s = self.series.due_s(self.series.loop)
            assert due_s is not None  # noqa: S101  # a series whose first stack never began has ended
            coming = self._coming = self._coming or self._make_next()
            if self.series.paused or self._clock.now_s() < due_s:
                self._foretell(self.series.loop)
                self._show(coming)
                return Wait(due_s)
            self._coming = None
            try:
                self._drafter.admit(self._draft, all_stacks=False)
            except NoRoom as error:
                self._end_job(coming, JobStatus.FAILED, str(error), error.code)
                self._job = advance(coming, Ended(JobStatus.FAILED, str(error), error.code))
                if not self._goes_on_after(self._job):
                    return None
                continue
            self._job = coming
            self._foretell(self.series.loop + 1)
            return RunJob(coming, self.series.place)

    def end(self, status: JobStatus, error: str | None = None, code: str = "") -> None:
        """End the series; a stack that is under way ends by itself. Safe to call again."""
        if self.series.ended:
            return
        self.series = replace(self.series, ended=True)
        promised, self.next_at = self.next_at is not None, None
        coming, self._coming = self._coming, None
        if coming is not None:
            self.was_left = True
            if status is JobStatus.DONE:
                self._end_job(coming, JobStatus.CANCELLED, "its time passed in a pause of the series", "late")
            else:
                self._end_job(coming, status, error or "", code)
        elif promised:
            self._show(self._job)
        whole = self._job.status is JobStatus.DONE and coming is None
        series = self.series
        rest = series.rest_of(self._job.request, again=not whole)
        self._tell(f"series_{status.value}", **series.counts, error=error, go_on=rest)
        if error is not None:
            where = f"at stack {series.loop} of {series.time_plan.loops}"
            remedy = "; `go_on` in its event is the request that takes the rest" if rest else ""
            self._board.say("warning", f"series {series.series_id} {status.value} {where}: {error}{remedy}")

    def _goes_on_after(self, job: Job) -> bool:
        """Count a stack that has ended; whether another one comes."""
        self.series = self.series.counted(job.status)
        status = self.series.ends_by(job.status)
        if job.code == PreflightFailed.code:
            status = JobStatus.FAILED  # no other stack has a test frame: all would be spoiled
        if status is None:
            self.series = self.series.onward()
            return True
        why = f"the stack ended so: {job.error}"
        if status is JobStatus.FAILED and self.series.failed_in_a_row > 1:
            why = f"{self.series.failed_in_a_row} stacks in a row failed, the last one so: {job.error}"
        self.end(status, why, job.code or "")
        return False

    def _skip(self) -> None:
        """Leave out stacks whose time has passed, and tell."""
        before, self.series = self.series, self.series.caught_up(self._clock.now_s())
        skipped = self.series.skipped - before.skipped
        if skipped:
            self._tell("series_late", skipped=skipped, first=before.loop, last=self.series.loop - 1)

    def _make_next(self) -> Job:
        """Make the next stack, at the first one's stops."""
        run_id = self._runs.new_id(self._clock.wall())
        self.series = replace(self.series, run_ids=(*self.series.run_ids, run_id))
        plan = self.series.plan
        assert plan is not None  # noqa: S101  # a series whose first stack never began has ended
        first = self._job
        job = Job(run_id, self.series.z_plan(), plan, self._draft.settings, first.job_id, first.request)
        self._board.event("job_queued", id=job.run_id, job_id=job.job_id)
        return job

    def _foretell(self, loop: int) -> None:
        """Work out when a stack begins; it is not known while the series is paused."""
        due_s = None if self.series.paused else self.series.due_s(loop)
        left_s = None if due_s is None else due_s - self._clock.now_s()
        self.next_at = None if left_s is None else self._clock.wall() + timedelta(seconds=left_s)

    def _tell(self, event_type: str, **facts: object) -> None:
        self._board.event(event_type, id=self.series.series_id, job_id=self.series.job_id, **facts)
