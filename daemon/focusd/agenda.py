"""What the job thread is to do: the order that is out, the jobs that wait, and the series under way.

A series has the rig from its first stack to its last. Jobs that are sent meanwhile wait until it has ended,
so that nothing makes one of its stacks late or moves the rail's zero.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from focusd.board import Board
from focusd.clock import Clock
from focusd.draft import Draft, Drafter
from focusd.errors import RequestError
from focusd.job import Ended, Job, JobStatus, advance
from focusd.journal import Runs
from focusd.lapse import Lapse
from focusd.link.payloads import JobRef, JobStart
from focusd.orders import Order, RigState, RunJob, Wait
from focusd.room import NoRoom
from focusd.signals import Signals

_KNOWN_JOBS = 256


class Agenda:
    """Gives the job thread its orders, one job after the other.

    Parameters
    ----------
    board : Board
        Shows the jobs.
    submit : callable
        Takes an `Order` to the job thread.
    signals : Signals
        Shared with the job thread.
    drafter : Drafter
        Completes requests.
    runs : Runs
        Gives run ids.
    clock : Clock
        The rig's; series keep its monotonic time, which no time server sets.
    most_waiting : int
        Jobs that may wait behind the present one.
    """

    def __init__(
        self,
        board: Board,
        submit: Callable[[Order], None],
        signals: Signals,
        drafter: Drafter,
        runs: Runs,
        clock: Clock,
        most_waiting: int,
    ) -> None:
        self._board = board
        self._submit = submit
        self._signals = signals
        self._drafter = drafter
        self._runs = runs
        self._clock = clock
        self._most_waiting = most_waiting
        self._outstanding = 0
        self._waiting: deque[Job] = deque()
        self._drafts: dict[str, Draft] = {}
        self._known: OrderedDict[str, Job] = OrderedDict()
        self._lapse: Lapse | None = None
        self.job: Job | None = None
        """The job that is shown: the running one, a series' next one, or the last."""
        self.fused = 0
        """Its frames in the picture."""

    @property
    def is_busy(self) -> bool:
        """Whether an order is being carried out or jobs wait."""
        passing = self._lapse is not None and self._lapse.was_left
        return self._outstanding > passing or bool(self._waiting)

    @property
    def doing(self) -> str | None:
        """What keeps the rig busy though it stands still; None where its state says so."""
        if self._lapse is None or not self._lapse.is_waiting:
            return None
        return f"series {self._lapse.series.series_id}, between two stacks"

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    def give(self, order: Order) -> None:
        """Hand an order to the job thread."""
        self._outstanding += 1
        self._submit(order)

    def order_done(self, rig: RigState) -> None:
        """Take note that an order was carried out, and give the next one if a job waits."""
        self._outstanding -= 1
        if rig.doubted:
            # Nobody is to be surprised by a motor that moves after something went wrong.
            self.drop(JobStatus.CANCELLED, "the rail's position was lost before it", "not_homed")
        if self._lapse is not None and self._lapse.was_left:
            self._lapse = None  # the order was its wait, whatever was given after it
        self._go_on()

    def show(self) -> None:
        """Publish the job."""
        lapse = self._lapse
        if self.job is None or lapse is None or not lapse.has(self.job):
            self._board.show_job(self.job)
        else:
            self._board.show_job(self.job, lapse.series, lapse.next_at)

    # Requests.

    def start(self, request: JobStart, fields: dict[str, Any], rig: RigState) -> dict[str, Any]:
        """Accept a job, or a series of them, and return the answer.

        Raises
        ------
        FocusdError
            It is refused.
        """
        known = None if request.job_id is None else self._known.get(request.job_id)
        if known is not None:
            if {**known.request, "transaction": 0} != {**fields, "transaction": 0}:
                raise RequestError(
                    f"job_id '{request.job_id}' was used for another request: it starts one job, however "
                    "often it comes; choose a new one",
                    code="job_id_used",
                )
            status = known.status.value
            return {"id": known.run_id, "job_id": known.job_id, "duplicate": True, "status": status}
        if self.is_busy and len(self._waiting) >= self._most_waiting:
            raise RequestError(f"{len(self._waiting)} jobs are waiting already; try again later", code="busy")
        draft = self._drafter.draft(request, rig)
        self._drafter.admit(draft)
        run_id = self._runs.new_id(self._clock.wall())
        job = Job(run_id, draft.z_plan, draft.plan, draft.settings, request.job_id, fields)
        if request.job_id is not None:
            self._known[request.job_id] = job
            while len(self._known) > _KNOWN_JOBS:
                self._known.popitem(last=False)
        self._waiting.append(job)
        self._drafts[run_id] = draft
        self._board.event("job_queued", id=job.run_id, job_id=job.job_id)
        ahead = len(self._waiting) - 1 + self._outstanding
        self._go_on()
        return {"id": job.run_id, "job_id": job.job_id, "ahead": ahead, **draft.facts}

    def refer(self, command: str, request: JobRef) -> dict[str, Any]:
        """Cancel, pause or resume, and return the answer.

        Raises
        ------
        RequestError
            There is no such job, or it is too late.
        """
        for job in list(self._waiting):
            if command == "job/cancel" and _is_named(job, request, strictly=True):
                self._waiting.remove(job)
                self._end(job, JobStatus.CANCELLED, "cancelled before it began", "cancelled")
                return {"id": job.run_id, "job_id": job.job_id}
        lapse, running = self._lapse, self.job
        if lapse is not None and lapse.is_named(request.id, request.job_id):
            return self._refer_to_lapse(command, lapse)
        if running is None or running.status.is_over or not _is_named(running, request):
            raise RequestError("no such job is running or waiting", code="no_job")
        match command:
            case "job/cancel" | "job/pause" if running.status is JobStatus.FINISHING:
                raise RequestError("the job is finishing: every stop is taken", code="bad_state")
            case "job/cancel":
                self._signals.cancel.set()
            case "job/pause":
                self._signals.pause.set()
            case _:
                self._signals.pause.clear()
        return {"id": running.run_id, "job_id": running.job_id}

    def _refer_to_lapse(self, command: str, lapse: Lapse) -> dict[str, Any]:
        """Cancel, pause or resume a series, in a stack or between two."""
        match command:
            case "job/cancel":
                self._signals.cancel.set()  # ends the wait for the next stack, too
                lapse.end(JobStatus.CANCELLED, "the series was cancelled", "cancelled")
            case "job/pause":
                self._signals.pause.set()
                lapse.hold(paused=True)
            case _:
                self._signals.pause.clear()
                lapse.hold(paused=False)
        series = lapse.series
        return {"id": series.run_id, "job_id": series.job_id, "series": series.series_id}

    # What becomes of jobs.

    def follow(self, job: Job) -> None:
        """Take a job as it stands now from the job thread."""
        before, self.job = self.job, job
        if self._lapse is not None and self._lapse.has(job):
            self._lapse.follow(job)
        self._remember(job)
        self.show()
        if before is None or before.run_id != job.run_id or before.status != job.status:
            kind = {"running": "job_started"}.get(job.status.value, f"job_{job.status.value}")
            if before is not None and before.status == JobStatus.PAUSED and not job.status.is_over:
                kind = "job_resumed"
            self._board.event(kind, id=job.run_id, job_id=job.job_id, error=job.error)
            if job.error is not None:
                self._board.say("warning", f"job {job.run_id} {job.status.value}: {job.error}")
        if before is not None and job.retaken > before.retaken and before.run_id == job.run_id:
            self._board.event("frame_retaken", id=job.run_id, job_id=job.job_id, retaken=job.retaken)
        if before is not None and len(job.missing) > len(before.missing) and before.run_id == job.run_id:
            self._board.event("frame_missing", id=job.run_id, job_id=job.job_id, stop=job.missing[-1])

    def drop(self, status: JobStatus, error: str, code: str) -> None:
        """End the jobs that wait and the series; the running job hears of it by its signals."""
        if self._lapse is not None:
            self._lapse.end(status, error, code)
        while self._waiting:
            self._end(self._waiting.popleft(), status, error, code)

    def _go_on(self) -> None:
        """Give the next order, unless one is out: the series' next stack, else the first job that fits."""
        while not self._outstanding:
            if self._lapse is not None:
                self._go_on_with(self._lapse)
            elif self._waiting:
                self._begin(self._waiting.popleft())
            else:
                return

    def _begin(self, job: Job) -> None:
        """Begin a job that waited; memory and disk may have gone meanwhile."""
        draft = self._drafts.pop(job.run_id)
        try:
            self._drafter.admit(draft)
        except NoRoom as error:
            self._end(job, JobStatus.FAILED, str(error), error.code)
            return
        if draft.time_plan is None:
            self._run(RunJob(job))
            return
        hall = (self._board, self._drafter, self._runs, self._clock)
        self._lapse = Lapse(job, draft, draft.time_plan, *hall, self._show_next, self._end)
        self._run(RunJob(job, self._lapse.series.place))

    def _go_on_with(self, lapse: Lapse) -> None:
        """Give the next order of a series, or let go of it."""
        order = lapse.next_order()
        match order:
            case RunJob():
                self._run(order)
            case Wait():
                self.give(order)
            case None:
                self._lapse = None

    def _run(self, order: RunJob) -> None:
        self._signals.cancel.clear()
        self._signals.pause.clear()
        self.job = order.job
        self.fused = 0
        self.show()
        self.give(order)

    def _show_next(self, job: Job) -> None:
        """Show a series' next stack, which waits for its time."""
        self.job = job
        self._remember(job)
        self.show()

    def _remember(self, job: Job) -> None:
        """Keep how a job stands under its client's name; a series has the id of its first run."""
        known = None if job.job_id is None else self._known.get(job.job_id)
        if known is not None and job.job_id is not None:
            self._known[job.job_id] = replace(job, run_id=known.run_id)

    def _end(self, job: Job, status: JobStatus, error: str, code: str) -> None:
        """End a job that never began."""
        self._drafts.pop(job.run_id, None)
        ended = advance(job, Ended(status, error, code))  # type: ignore[arg-type]  # callers pass an end
        self._remember(ended)
        self._board.event(f"job_{ended.status.value}", id=job.run_id, job_id=job.job_id, error=error)
        shown = self.job
        if shown is None or shown.status.is_over or shown.run_id == job.run_id:
            self.job = ended
            self.show()


def _is_named(job: Job, request: JobRef, *, strictly: bool = False) -> bool:
    """Whether a request means this job; one that names none means the running one, unless `strictly`."""
    if request.id is None and request.job_id is None:
        return not strictly
    return request.id in (None, job.run_id) and request.job_id in (None, job.job_id)
