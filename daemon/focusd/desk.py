"""The front desk, on the main thread: takes requests in, gives orders on, says how things stand.

Nothing here is slow, because this thread hears `stop`.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from focusd import __version__
from focusd.board import Board
from focusd.clock import Clock
from focusd.config import Config
from focusd.darkroom import FrameFused, FrameSpoiled, FuseReport, Picture
from focusd.draft import Draft, Drafter
from focusd.errors import FocusdError, RequestError
from focusd.job import Ended, Job, JobStatus, advance
from focusd.journal import Runs
from focusd.link.mqtt import Message
from focusd.link.payloads import (
    REQUESTS,
    UNSUPPORTED,
    JobPlan,
    JobRef,
    JobStart,
    Mark,
    Move,
    Request,
    Settings,
    parse,
    read_payload,
    transaction_of,
)
from focusd.orders import (
    AllStop,
    Answered,
    Home,
    JobChanged,
    Jog,
    MarkEnd,
    MoveTo,
    Order,
    OrderDone,
    Report,
    RigState,
    RunJob,
    Ticket,
    Trouble,
    Zero,
)
from focusd.room import NoRoom
from focusd.runner import Signals
from focusd.schema import did_you_mean

_KNOWN_JOBS = 256
_RETAIN_AS_PUBLISHED = 5
MOVING = ("job/start", "home", "zero", "mark", "move")
"""Commands that an empty payload over MQTT 3.1.1 does not give."""
Extra = Callable[[dict[str, Any]], dict[str, Any]]
_COMMAND = re.compile(r"^[A-Za-z0-9_/-]{1,64}$")


class Desk:
    """Answers requests and publishes the rig's state.

    Parameters
    ----------
    config : Config
        The rig's.
    board : Board
        What the rig shows of itself.
    submit : callable
        Takes an `Order` to the job thread.
    signals : Signals
        Shared with the job thread.
    drafter : Drafter
        Completes requests.
    runs : Runs
        Gives run ids.
    clock : Clock
        The rig's; its time of day stamps and expires requests.
    clock_is_synced : callable
        Whether the time of day can be trusted.
    extras : mapping
        Further commands of whoever built the rig (the simulator's faults): fields in, answer out.
    """

    def __init__(
        self,
        config: Config,
        board: Board,
        submit: Callable[[Order], None],
        signals: Signals,
        drafter: Drafter,
        runs: Runs,
        clock: Clock,
        clock_is_synced: Callable[[], bool],
        extras: Mapping[str, Extra],
    ) -> None:
        self._config = config
        self._board = board
        self._submit = submit
        self._signals = signals
        self._drafter = drafter
        self._runs = runs
        self._clock = clock
        self._clock_is_synced = clock_is_synced
        self._extras = extras
        self._rig = RigState()
        self._job: Job | None = None
        self._waiting: deque[Job] = deque()
        self._drafts: dict[str, Draft] = {}
        self._outstanding = 0
        self._fused = 0
        self._known: OrderedDict[str, Job] = OrderedDict()

    @property
    def is_busy(self) -> bool:
        """Whether an order is being carried out or jobs wait."""
        return self._outstanding > 0 or bool(self._waiting)

    def announce(self) -> None:
        """Publish everything that is retained."""
        self._board.announce()
        self._show_rig()
        self._board.show_job(self._job)

    def publish_metrics(self) -> None:
        """Publish the numbers."""
        self._board.show_numbers(self._rig, self._job, self._fused, len(self._waiting))

    # What comes in.

    def receive(self, message: Message) -> None:
        """Take one message from the broker; every request is answered, whatever is in it."""
        command = self._board.topics.command(message.topic)
        if command is None:
            return
        if not _COMMAND.fullmatch(command):
            self._board.say("warning", "a request on a topic that is no command's was ignored")
            return
        ticket = Ticket(command, transaction_of(message.payload), message.reply_topic, message.correlation)
        try:
            # A retained stop that comes live is obeyed; one that is replayed to a new connection is not.
            if message.retained and not (command == "stop" and message.is_live):
                raise RequestError(
                    "a retained request is never carried out: it would be again at every start; publish "
                    "without -r, and clear it with an empty retained message",
                    code="retained",
                )
            if command == "stop":
                self._stop(ticket)
                return
            data = self._handle(command, ticket, message)
        except FocusdError as error:
            self._board.answer(Answered(ticket, error=error))
        else:
            if data is not None:
                self._board.answer(Answered(ticket, data))

    def hear(self, report: Report | FuseReport) -> None:
        """Take one report of the job or the fuse thread."""
        match report:
            case RigState():
                self._rig = report
                self._show_rig()
            case JobChanged(job):
                self._follow(job)
            case Answered():
                self._board.answer(report)
            case OrderDone():
                self._outstanding -= 1
                if self._rig.doubted:
                    # Nobody is to be surprised by a motor that moves after something went wrong.
                    self._drop_waiting(
                        JobStatus.CANCELLED, "the rail's position was lost before it", "not_homed"
                    )
                self._next_job()
            case Trouble(message):
                self._board.event("trouble", message=message)
                self._board.say("error", message)
            case Picture():
                self._board.show_picture(report)
            case FrameFused(_, frames):
                self._fused = frames
            case FrameSpoiled(stop_index, frame, reason):
                self._board.event("frame_spoiled", stop=stop_index, frame=frame, reason=reason)
                self._board.say("warning", f"stop {stop_index}: {reason}")

    def stop_by_button(self) -> None:
        """Do what `stop` does, for somebody who pressed the rig's own button."""
        self._stop(None, by="button")
        self._board.say("warning", "the stop button was pressed: the motor is off, the position unknown")

    def interrupt(self, reason: str) -> None:
        """End the jobs that wait, because the daemon ends; the running one hears of it by its signals."""
        self._drop_waiting(JobStatus.INTERRUPTED, reason, "interrupted")

    def _handle(self, command: str, ticket: Ticket, message: Message) -> dict[str, Any] | None:
        """Carry out a request at once and return the answer, or give an order and return None."""
        if message.expiry_s is not None and time.monotonic() - message.received_s > message.expiry_s:
            raise RequestError(f"the message expired after {message.expiry_s} s", code="expired")
        model = REQUESTS.get(command)
        if model is None and command not in self._extras:
            if command in UNSUPPORTED:
                raise RequestError(f"'{command}' is not built yet; see info.capabilities", code="unsupported")
            hint = did_you_mean(command, sorted(REQUESTS))
            raise RequestError(f"there is no command '{command}'{hint}", code="unknown_command")
        if not message.payload and message.version < _RETAIN_AS_PUBLISHED and command in MOVING:
            raise RequestError(
                "an empty payload moves nothing over MQTT 3.1.1, where clearing a retained message looks the "
                "same; send {}",
                code="empty",
            )
        fields = read_payload(message.payload)
        if isinstance(fields, str):
            if command not in ("job/start", "plan"):
                raise RequestError(f"'{command}' takes a JSON object, e.g. {{}}, not a bare word")
            fields = {"preset": fields}
        if model is None:
            return self._extras[command]({k: v for k, v in fields.items() if k != "transaction"})
        request = parse(model, self._drafter.with_preset(fields) if issubclass(model, JobStart) else fields)
        self._check_fresh(request)
        match request:
            case JobPlan():
                return self._drafter.draft(request, self._rig).facts
            case JobStart():
                return self._start(request, fields)
            case JobRef():
                return self._refer(command, request)
            case Settings():
                self._drafter.set(request)
                self._show_rig()
                return self._drafter.effective_settings()
        if command == "identify":
            return {"name": self._config.rig.name, "version": __version__}
        self._order(ticket, request)
        return None

    def _check_fresh(self, request: Request) -> None:
        if request.expires_at is None:
            return
        if not self._clock_is_synced():
            raise RequestError(
                "the rig's clock is not synchronised, so it cannot tell whether the request has expired; "
                "wait for it, or leave expires_at out",
                code="clock_unsynced",
            )
        if request.expired(self._clock.wall()):
            raise RequestError(f"the request expired at {request.expires_at}", code="expired")

    # Orders.

    def _order(self, ticket: Ticket, request: Request) -> None:
        if self.is_busy:
            raise RequestError(
                f"the rig is busy ({self._rig.state}); wait, or send job/cancel or stop", code="busy"
            )
        match ticket.command, request:
            case "home", _:
                order: Order = Home(ticket)
            case "zero", _:
                order = Zero(ticket)
            case _, Mark(end=end):
                order = MarkEnd(ticket, end)
            case _, Move(to_um=float(to_um)):
                order = MoveTo(ticket, to_um)
            case _, Move(by_um=float(by_um)):
                order = Jog(ticket, by_um)
            case _:
                raise RequestError(f"'{ticket.command}' cannot be carried out", code="unsupported")
        self._give(order)

    def _show_rig(self) -> None:
        self._board.show_rig(self._rig, self._drafter.effective_settings())

    def _give(self, order: Order) -> None:
        self._outstanding += 1
        self._submit(order)

    def _stop(self, ticket: Ticket | None, by: str = "request") -> None:
        """Emergency: first the signal, everything else after it."""
        self._signals.stop.set()
        self._drop_waiting(JobStatus.CANCELLED, "the emergency stop was pressed", "stopped")
        self._give(AllStop(ticket))
        self._board.event("stopped", by=by)

    # Jobs.

    def _start(self, request: JobStart, fields: dict[str, Any]) -> dict[str, Any]:
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
        if self.is_busy and len(self._waiting) >= self._config.mqtt.queue_limit:
            raise RequestError(f"{len(self._waiting)} jobs are waiting already; try again later", code="busy")
        draft = self._drafter.draft(request, self._rig)
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
        self._next_job()
        return {"id": job.run_id, "job_id": job.job_id, "ahead": ahead, **draft.facts}

    def _next_job(self) -> None:
        """Begin the first waiting job that still fits; memory and disk may have gone while it waited."""
        while self._waiting and not self._outstanding:
            job = self._waiting.popleft()
            try:
                self._drafter.admit(self._drafts.pop(job.run_id))
            except NoRoom as error:
                self._end(job, JobStatus.FAILED, str(error), error.code)
                continue
            self._signals.cancel.clear()
            self._signals.pause.clear()
            self._job = job
            self._fused = 0
            self._board.show_job(job)
            self._give(RunJob(job))

    def _refer(self, command: str, request: JobRef) -> dict[str, Any]:
        """Cancel, pause or resume."""
        for job in list(self._waiting):
            if command == "job/cancel" and _is_named(job, request, strictly=True):
                self._waiting.remove(job)
                self._end(job, JobStatus.CANCELLED, "cancelled before it began", "cancelled")
                return {"id": job.run_id, "job_id": job.job_id}
        running = self._job
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

    def _follow(self, job: Job) -> None:
        before = self._job
        self._job = job
        self._remember(job)
        self.publish_metrics()
        self._board.show_job(job)
        if before is None or before.run_id != job.run_id or before.status != job.status:
            kind = {"running": "job_started"}.get(job.status.value, f"job_{job.status.value}")
            if before is not None and before.status == JobStatus.PAUSED and not job.status.is_over:
                kind = "job_resumed"
            self._board.event(kind, id=job.run_id, job_id=job.job_id, error=job.error)
            if job.error is not None:
                self._board.say("warning", f"job {job.run_id} {job.status.value}: {job.error}")
        if before is not None and len(job.missing) > len(before.missing) and before.run_id == job.run_id:
            self._board.event("frame_missing", id=job.run_id, job_id=job.job_id, stop=job.missing[-1])

    def _remember(self, job: Job) -> None:
        if job.job_id is not None and job.job_id in self._known:
            self._known[job.job_id] = job

    def _drop_waiting(self, status: JobStatus, error: str, code: str) -> None:
        while self._waiting:
            self._end(self._waiting.popleft(), status, error, code)

    def _end(self, job: Job, status: JobStatus, error: str, code: str) -> None:
        """End a job that never began."""
        self._drafts.pop(job.run_id, None)
        ended = advance(job, Ended(status, error, code))  # type: ignore[arg-type]  # callers pass an end
        self._remember(ended)
        self._board.event(f"job_{ended.status.value}", id=job.run_id, job_id=job.job_id, error=error)
        if self._job is None or self._job.status.is_over:
            self._board.show_job(ended)


def _is_named(job: Job, request: JobRef, *, strictly: bool = False) -> bool:
    """Whether a request means this job; one that names none means the running one, unless `strictly`."""
    if request.id is None and request.job_id is None:
        return not strictly
    return request.id in (None, job.run_id) and request.job_id in (None, job.job_id)
