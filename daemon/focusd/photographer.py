"""The job thread: owns the Rig, exclusively, and carries out one order after the other."""

from __future__ import annotations

import platform
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from focusd import __version__
from focusd.checkpoint import STATE_NAME, Saver
from focusd.clock import Clock
from focusd.config import Config
from focusd.darkroom import Darkroom
from focusd.develop import recover
from focusd.easel import NO_PRINTS, Prints, Taken
from focusd.errors import (
    FocusdError,
    JournalError,
    NotHomed,
    OutOfTravel,
    PlanError,
    RailError,
    Stopped,
)
from focusd.estimate import disk_bytes, kept_bytes
from focusd.flats import hand_over, shading_for
from focusd.flats import record_of as shading_record
from focusd.fusion import Fusion
from focusd.fusion.prefer import Prefer
from focusd.job import Ended, Finished, Job, JobEvent, JobStatus, Paused, Started, advance
from focusd.journal import JOURNAL_NAME, RECORD_NAME, Journal, Runs, record_of, write_json
from focusd.needs import FrameForm, correction_bytes, fusion_needs
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
    Trouble,
    Wait,
    Zero,
)
from focusd.pictures.shading import Shading
from focusd.preflight import Finding
from focusd.reception import Reception, frames_come
from focusd.register.registration import Registration
from focusd.rig import Rig
from focusd.room import read_room
from focusd.runner import Cancelled, Runner, Signals, StopRecord
from focusd.series import Place
from focusd.slabs import FOLDER as SLABS_FOLDER
from focusd.slabs import Slab, Slabs
from focusd.transforms import TRANSFORMS_NAME, read_transforms
from focusd.worker import Worker

_SLICE_S = 0.2


@dataclass(slots=True)
class _Session:
    """One job while it runs: what the record will say."""

    job: Job
    journal: Journal
    records: list[StopRecord]
    place: Place | None = None
    prints: Prints | None = None
    preflight: list[dict[str, Any]] | None = None
    shading: dict[str, Any] | None = None
    began_s: float = 0.0
    began_wall_s: float = 0.0
    captured_s: float | None = None


class Photographer:
    """Carries out orders on the rig.

    Parameters
    ----------
    rig : Rig
        From now on touched by this object's thread only.
    runner : Runner
        Drives stacks on it.
    darkroom : Darkroom
        Takes the frames.
    runs : Runs
        Where each job leaves its folder.
    config : Config
        For the record, and for what to do on an untrusted rail.
    clock : Clock
        The rig's.
    signals : Signals
        Shared with the main thread.
    post : callable
        Takes `Report`; must only enqueue.
    """

    def __init__(
        self,
        rig: Rig,
        runner: Runner,
        darkroom: Darkroom,
        runs: Runs,
        config: Config,
        clock: Clock,
        signals: Signals,
        post: Callable[[Report], None],
    ) -> None:
        self._rig = rig
        self._runner = runner
        self._darkroom = darkroom
        self._runs = runs
        self._config = config
        self._clock = clock
        self._signals = signals
        self._post = post
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._state = RigState()
        # Since the last doubt nobody has homed or zeroed: then no job takes the position for granted.
        self._doubted = False
        self._job_over = False
        self._beat: Callable[[], None] = lambda: None

    def order(self, order: Order) -> None:
        """Hand in an order; called by the main thread, which sees to it that few are waiting."""
        self._orders.put(order)

    def close(self) -> None:
        """Ask the thread to end after the present order; set ``signals.stop`` to end that one too."""
        self._orders.put(None)

    def work(self, worker: Worker) -> None:
        """Carry out orders until `close`; the body of the job thread. The motor is off afterwards."""
        self._beat = worker.beat
        try:
            self._show("idle")
            self.recover()
            while True:
                worker.beat()
                try:
                    order = self._orders.get(timeout=1.0)
                except queue.Empty:
                    continue
                if order is None:
                    return
                self._carry_out(order)
        finally:
            self._rig.close()

    def recover(self) -> None:
        """End the jobs that a crash or a power cut left open, with what there is of their pictures."""
        recover(
            self._runs,
            self._darkroom,
            self._clock,
            self._post,
            beat=self._beat,
            alarm=self._rig.make_safe,
            is_quitting=self._signals.quit.is_set,
        )

    def _carry_out(self, order: Order) -> None:
        ticket = None if isinstance(order, RunJob) else order.ticket
        was_trusted = self._rig.rail.trusted
        self._job_over = False
        try:
            if self._signals.stop.is_set() and not isinstance(order, AllStop):
                stopped = Stopped("the emergency stop came first; send the request again")
                if isinstance(order, RunJob):
                    self._post(JobChanged(advance(order.job, self._ended(stopped))))
                raise stopped
            data = self._do(order)
        except FocusdError as error:
            self._heed(error, was_trusted, moved=isinstance(order, Home))
            if ticket is not None:
                self._post(Answered(ticket, error=error))
            elif self._job_over:  # the job's own end could not tell of it
                self._post(Trouble(f"after the job had ended: {error}"))
        else:
            if ticket is not None:
                self._post(Answered(ticket, data))
        self._post(OrderDone())

    def _heed(self, error: FocusdError, was_trusted: bool, *, moved: bool = False) -> None:
        """Motor off after any failure; a mere refusal, which moved nothing, leaves everything as it was."""
        refused = isinstance(error, NotHomed | OutOfTravel | PlanError) and not moved
        if refused and was_trusted == self._rig.rail.trusted:
            self._show("idle", fault=self._state.fault)
            return
        self._rig.make_safe()
        if isinstance(error, Stopped):
            self._rig.rail.distrust()
        doubtful = isinstance(error, RailError) and not self._rig.rail.trusted
        self._doubted |= doubtful
        self._show("error" if doubtful else "idle", fault=f"{error.code}: {error}" if doubtful else None)

    def _do(self, order: Order) -> dict[str, Any]:
        rail = self._rig.rail
        match order:
            case AllStop():
                rail.distrust()
                self._rig.make_safe()
                self._doubted = True
                self._signals.stop.clear()
                self._show("idle")
                return {"motor": "off", "position_valid": False}
            case RunJob(job, place):
                self._run_job(job, place)
            case Wait(until_s):
                self._wait(until_s)
            case Home():
                self._home()
            case Zero():
                self._zero()
                self._rest()
            case MarkEnd(_, end):
                if not rail.trusted:
                    raise NotHomed(
                        "the rail's position is not known, so it cannot be marked: send `home` or `zero`"
                    )
                self._show(self._state.state, marks_um={**self._state.marks_um, end: rail.position_um})
            case MoveTo(_, to_um):
                rail.route_to(to_um)  # a refusal comes before anything is shown
                self._show("moving")
                rail.move_to(to_um)
                self._rest()
            case Jog(_, by_um):
                self._show("moving")
                rail.jog(by_um)
                self._rest()
        return {"position_um": rail.position_um, "position_valid": rail.trusted}

    def _wait(self, until_s: float) -> None:
        """Let time pass until `until_s`, and on while the series is paused; cancel and stop end it."""
        signals = self._signals
        while not signals.cancel.is_set():
            left_s = until_s - self._clock.now_s()
            if left_s <= 0 and not signals.pause.is_set():
                return
            slice_s = min(left_s, _SLICE_S) if left_s > 0 else _SLICE_S
            if not self._clock.sleep(slice_s, signals.stop):
                return  # `AllStop` comes next, or the daemon ends

    def _home(self) -> None:
        self._show("homing")
        self._rig.rail.home()
        self._doubted = False
        self._rest()

    def _zero(self) -> None:
        """Call the present place 0; marks were made in the old frame and are gone with it."""
        self._rig.rail.zero()
        self._doubted = False
        self._state = replace(self._state, marks_um={})

    def _rest(self) -> None:
        """After a move: current as the hold policy says, state idle."""
        if self._config.rail.hold != "always":
            self._rig.rail.release()
        self._show("idle")

    def _show(self, state: str, **changes: Any) -> None:
        rail = self._rig.rail
        self._state = replace(
            self._state,
            state=state,  # type: ignore[arg-type]  # the callers name the states
            position_um=rail.position_um,
            position_valid=rail.trusted,
            doubted=self._doubted,
            worst_late_s=rail.worst_late_s,
            **{"fault": None, **changes},
        )
        self._post(self._state)

    def _run_job(self, job: Job, place: Place | None) -> None:
        try:
            folder = self._runs.open(job.run_id)
            session = _Session(job, Journal(folder / JOURNAL_NAME), [], place)
            session.journal.accept(job, self._clock.wall())
        except JournalError as error:
            self._post(JobChanged(advance(job, self._ended(error))))
            raise
        session.began_s, session.began_wall_s = self._clock.now_s(), time.monotonic()
        failure: FocusdError | None = None
        was_trusted = self._rig.rail.trusted
        try:
            try:
                self._photograph(session, folder)
                # Waits on although the emergency stop is pressed: the stack is whole, the motor off at once.
                session.prints = self._darkroom.develop(folder, self._rig.make_safe)
                last: Finished | Ended = Finished(self._result(session))
            except FocusdError as error:
                self._rig.make_safe()
                last, failure = self._salvage(session, folder, error), error
            self._conclude(session, folder, last)
        finally:
            session.journal.close()
        if failure is None or isinstance(failure, Cancelled):
            self._show("idle")
        else:
            self._heed(failure, was_trusted)

    def _photograph(self, session: _Session, folder: Path) -> None:
        job, rail = session.job, self._rig.rail
        if not rail.trusted:
            self._become_trusted()
        plan = job.z_plan.resolve(rail.position_um, self._state.marks_um)
        self._advance(session, Started(plan))
        self._show("running")
        interval_s = self._config.data.checkpoint_s
        saver = Saver(folder / STATE_NAME, interval_s) if interval_s else None

        cut = job.settings.slab_plan

        shading = self._shading(session, folder)

        registration = self._registration(job)

        def admit(form: FrameForm) -> None:
            needs = fusion_needs(form, slabs=cut.open_at_once if cut else 0)
            saved_bytes = needs.checkpoint_bytes if saver is not None else 0
            count = cut.count(len(plan)) if cut else 0
            memory = needs.memory_bytes + (0 if shading is None else shading.nbytes)
            is_laid = job.settings.transforms is not None
            memory += correction_bytes(form, job.settings.correction, is_laid=is_laid)
            disk = disk_bytes(form, len(plan), saved_bytes, count)
            disk += kept_bytes(form, job.settings, len(plan), self._config.stack.retries)
            read_room(folder).require(memory, disk)

        def note(slab: Slab) -> None:
            session.journal.append("slab", self._clock.wall(), **slab.as_json())

        slabs = Slabs(cut, folder / SLABS_FOLDER, note) if cut else None
        fusion = Fusion(
            mode=job.settings.fusion_mode or "default",
            prefer=Prefer.over(job.settings.prefer or "none", plan.positions_um),
        )
        self._darkroom.begin(self._beat, saver, admit, slabs, fusion, shading, registration)
        reception = Reception(
            self._darkroom, job.settings, folder, lambda found: self._looked(session, found), shading
        )
        began_s = self._clock.now_s()
        try:
            self._runner.run(
                plan,
                job.settings,
                reception,
                lambda event: self._report(session, event),
                session.records,
                preflight=self._needs_look(session),
            )
        finally:
            session.captured_s = self._clock.now_s() - began_s
            reception.close()

    def _needs_look(self, session: _Session) -> bool:
        """Whether a test frame comes first; of a series before the first stack alone: nights are dark."""
        is_first = session.place is None or session.place.loop == 1
        return is_first and self._config.stack.preflight and frames_come(self._config.camera)

    def _shading(self, session: _Session, folder: Path) -> Shading | None:
        """Return the correction of the job's preset, if it has any, and note it."""
        preset, data_dir = session.job.settings.preset, self._config.data.dir
        shading = shading_for(data_dir, preset)
        if shading is not None:
            session.shading = shading_record(data_dir, preset)
            if session.job.settings.keep_frames not in (None, "off"):
                hand_over(data_dir, preset, folder)
        return shading

    def _registration(self, job: Job) -> Registration[Taken] | None:
        """Make what lays the frames on each other; None where nothing is to be done."""
        settings, optics = job.settings, self._config.optics
        table = None
        if settings.transforms is not None:
            table = read_transforms(self._runs.folder / settings.transforms / TRANSFORMS_NAME)
        if table is None and not settings.correction.is_any:
            return None
        return Registration(
            settings.correction,
            optics=None if optics is None else optics.as_optics(),
            pupil_um=None if optics is None else optics.pupil_um,
            table=table,
            border=settings.border or "crop",
        )

    def _looked(self, session: _Session, findings: Sequence[Finding]) -> None:
        """Note what the test frame shows."""
        session.preflight = [finding.as_json() for finding in findings]
        session.journal.append("preflight", self._clock.wall(), findings=session.preflight)

    def _become_trusted(self) -> None:
        match self._config.rail.at_start:
            case "home":
                self._home()
            case "zero" if not self._doubted:
                self._zero()
            case _:
                raise NotHomed(
                    "the rail's position is not known: send `home` or `zero` first, or set [rail] at_start"
                )

    def _report(self, session: _Session, event: JobEvent) -> None:
        self._advance(session, event)
        self._show("paused" if isinstance(event, Paused) else "running")

    def _advance(self, session: _Session, event: JobEvent) -> None:
        session.job = advance(session.job, event)
        self._post(JobChanged(session.job))
        session.journal.enter(event, self._clock.wall())

    def _conclude(self, session: _Session, folder: Path, last: Finished | Ended) -> None:
        """Write the record, then tell: who hears that a job is over finds all its files."""
        session.job = advance(session.job, last)
        try:
            session.journal.enter(last, self._clock.wall(), sync=True)
            write_json(folder / RECORD_NAME, self._record(session))
            if session.job.result is not None:  # else the saved state is all that is left
                (folder / STATE_NAME).unlink(missing_ok=True)
        finally:
            self._post(JobChanged(session.job))
            self._job_over = True

    def _salvage(self, session: _Session, folder: Path, error: FocusdError) -> Ended:
        """Keep what there is of the picture, and return how the job ends by its error."""
        if session.records and session.prints is None:
            try:
                session.prints = self._darkroom.develop(folder, self._rig.make_safe)
            except FocusdError as second:
                ended = self._ended(error)
                why = f"{error}; nor could the picture so far be written: {second}"
                if (folder / STATE_NAME).exists():
                    why += f"; make room, then `focusd develop {folder}` writes what was saved of it"
                return replace(ended, error=why)
        result = self._result(session) if session.prints and session.prints.result else None
        return self._ended(error, result)

    def _ended(self, error: FocusdError, result: dict[str, Any] | None = None) -> Ended:
        """Return how a job ends by an error."""
        status: Literal[JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED] = JobStatus.FAILED
        if isinstance(error, Cancelled | Stopped):
            if self._signals.quit.is_set():
                why = "the daemon was ended; what was fused so far is in the run's folder"
                return Ended(JobStatus.INTERRUPTED, why, "interrupted", result)
            status = JobStatus.CANCELLED
        return Ended(status, str(error), error.code, result)

    def _result(self, session: _Session) -> dict[str, Any]:
        """Return ``job.result``; all null where frames stay in the camera."""
        prints = session.prints
        if prints is None or (prints.result is None and (prints.spoiled or session.job.missing)):
            raise FocusdError("no frame of the stack could be fused; see the events for each frame's reason")
        missing = sorted({*session.job.missing, *prints.spoiled})
        return {**(prints.result or NO_PRINTS), "missing": missing}

    def _record(self, session: _Session) -> dict[str, Any]:
        prints = session.prints
        return record_of(session.job, prints.fused if prints else 0) | {
            "config": self._config.model_dump(mode="json"),
            "versions": {
                "focusd": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "opencv": cv2.__version__,
            },
            "times": {
                "capture_s": session.captured_s,
                "total_s": self._clock.now_s() - session.began_s,
                "wall_s": time.monotonic() - session.began_wall_s,
            },
            "stops": [record.as_json() for record in session.records],
            "preflight": session.preflight,
            "shading": session.shading,
            "series": None if session.place is None else asdict(session.place),
            "laid": prints.laid if prints else None,
            "slabs": [slab.as_json() for slab in prints.slabs] if prints else [],
            "truth": self._rig.witness() if self._rig.witness else None,
        }
