"""Drive a plan on a rig: move, settle, expose, hand the frame on; one Stop after the other.

The way of one Stop::

    move (from the approach side) -> collect the last stop's frame, if it was not there before -> settle ->
    expose -> the shutter has closed: the carriage may move again

so the camera's file travels, and the fusion works, while the rail is already moving on and settling.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from focusd.clock import Clock
from focusd.errors import CameraError, ExposureTimeout, FocusdError, FrameLost, Stopped
from focusd.estimate import Pace
from focusd.halt import Halt
from focusd.job import Captured, JobEvent, JobSettings, Paused, Resumed, StopDone
from focusd.plan import StackPlan, Stop
from focusd.rig import Exposure, Frame, Rig

_SLICE_S = 0.2


class Cancelled(FocusdError):
    """The job was cancelled; the rig is between two stops and the position is trusted."""

    code = "cancelled"


@dataclass(frozen=True, slots=True)
class Signals:
    """What other threads may tell the job thread while it works.

    Others set `stop`; the job thread alone clears it, when it carries out `AllStop`.

    Parameters
    ----------
    stop : Halt
        Emergency: wakes every wait, ends every move before the next step.
    cancel : Event
        Ends the job at the next stop; wakes the wait before it.
    pause : Event
        Holds the job between two stops while set.
    quit : Event
        The daemon is ending: a job that `stop` ends is interrupted, not cancelled.
    """

    stop: Halt = field(default_factory=Halt)
    cancel: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    quit: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class ShotRecord:
    """One exposure, for the run's record; times in rig seconds since the stack began."""

    opened_s: float
    closed_s: float
    exposure_s: float | None
    at: str
    frame: str | None
    error: str | None


@dataclass(slots=True)
class StopRecord:
    """One stop, for the run's record."""

    index: int
    planned_um: float
    position_um: float
    arrived_s: float
    shots: list[ShotRecord] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class Runner:
    """Drives stacks on a rig, on the job thread.

    Parameters
    ----------
    rig : Rig
        Owned by the calling thread.
    clock : Clock
        The rig's.
    signals : Signals
        What other threads may say.
    pace : Pace
        The rig's times.
    """

    def __init__(self, rig: Rig, clock: Clock, signals: Signals, pace: Pace) -> None:
        self._rig = rig
        self._clock = clock
        self._signals = signals
        self._pace = pace

    def run(
        self,
        plan: StackPlan,
        settings: JobSettings,
        deliver: Callable[[Stop, float, Frame], None],
        report: Callable[[JobEvent], None],
        records: list[StopRecord],
    ) -> None:
        """Photograph every stop.

        Parameters
        ----------
        plan : StackPlan
            Where to stop. The whole way is checked against the limits before the first pulse.
        settings : JobSettings
            How.
        deliver : callable
            Takes each frame with its stop and the rail's true step position in um; may block while the
            fusion is behind.
        report : callable
            Takes `StopDone`, `Paused`, `Resumed` and `Captured` as they happen.
        records : list of StopRecord
            Appended to as stops are reached, so that it is there for a stack that ends early.

        Raises
        ------
        Cancelled
            Between two stops. What was delivered stays delivered.
        CameraError
            Too many frames missing in a row.
        RailError, Stopped
            The motor is off and the position untrusted.
        """
        stack = _Stack(self._rig, self._clock, self._signals, self._pace, settings, deliver, report)
        try:
            stack.run(plan, records)
        finally:
            stack.abandon_pending()
            # Nothing is left on, whatever happened; only a finished stack may keep the motor holding.
            if not (stack.complete and stack.hold == "always"):
                self._rig.rail.release()
            self._rig.camera.end()


class _Stack:
    """One stack while it runs."""

    def __init__(
        self,
        rig: Rig,
        clock: Clock,
        signals: Signals,
        pace: Pace,
        settings: JobSettings,
        deliver: Callable[[Stop, float, Frame], None],
        report: Callable[[JobEvent], None],
    ) -> None:
        self._rig, self._clock, self._signals = rig, clock, signals
        self._settings = settings
        self._deliver, self._report = deliver, report
        self._reach = rig.rail.spec.reach(settings.approach, settings.backlash_um, settings.prerun_um)
        self._settle_s = pace.settle_of(settings)
        self._pre_delay_s = pace.pre_delay_of(settings)
        self.hold = settings.hold or pace.hold
        self._give_up_after = pace.give_up_after
        self._missed_in_a_row = 0
        self._began_s = 0.0
        self._paused_s = 0.0
        self._pending: tuple[Stop, StopRecord, Exposure] | None = None
        self._total = 0
        self.complete = False

    def run(self, plan: StackPlan, records: list[StopRecord]) -> None:
        rail, camera = self._rig.rail, self._rig.camera
        route = [*plan.positions_um, *self._settings.return_positions_um(plan)]
        # The whole way is checked before the first pulse.
        if rail.trusted:
            rail.spec.rehearse(route, self._reach, rail.position_steps, rail.run_in)
        self._total = len(plan)
        self._began_s = self._clock.now_s()
        camera.begin(self._settings)
        for stop in plan:
            self._wait_while_paused()
            rail.move_to(stop.position_um, self._reach)
            record = StopRecord(stop.index, stop.position_um, rail.position_um, self._elapsed_s())
            records.append(record)
            arrived_s = self._clock.now_s()
            self._collect_pending()
            self._sleep(self._settle_s - (self._clock.now_s() - arrived_s))
            if stop.index == 0:
                self._sleep(self._pre_delay_s)
            self._photograph(stop, record)
        if self._settings.return_to == "none":
            self._collect_pending()
        for position_um in self._settings.return_positions_um(plan):
            rail.move_to(position_um, self._reach)
            self._collect_pending()
        self.complete = True
        self._report(Captured())

    def _photograph(self, stop: Stop, record: StopRecord) -> None:
        camera = self._rig.camera
        for _ in range(self._settings.shots_per_step):
            self._collect_pending()
            try:
                exposure = camera.expose()
            except (ExposureTimeout, FrameLost) as error:
                now_s, at = self._elapsed_s(), self._clock.wall().isoformat(timespec="milliseconds")
                self._note(stop, record, ShotRecord(now_s, now_s, None, at, None, str(error)))
                continue
            self._pending = (stop, record, exposure)
            if camera.has_frame():
                self._collect_pending()
        if self.hold == "off":
            self._rig.rail.release()

    def _collect_pending(self) -> None:
        """Wait for the frame of the last exposure and hand it on."""
        if self._pending is None:
            return
        stop, record, exposure = self._pending
        name, lost = None, None
        try:
            frame = self._rig.camera.collect(exposure)
        except FrameLost as error:
            lost = str(error)
        else:
            if frame is not None:
                name = frame.name
                self._deliver(stop, record.position_um, frame)
        self._pending = None
        self._note(stop, record, self._shot(exposure, name, lost))

    def abandon_pending(self) -> None:
        """Enter an exposure whose frame nobody waits for any more: the specimen was exposed all the same."""
        if self._pending is not None:
            (_, record, exposure), self._pending = self._pending, None
            record.shots.append(self._shot(exposure, None, "the stack ended before its frame was fused"))

    def _shot(self, exposure: Exposure, name: str | None, lost: str | None) -> ShotRecord:
        return ShotRecord(
            exposure.opened_s - self._began_s,
            exposure.closed_s - self._began_s,
            exposure.exposure_s,
            exposure.at.isoformat(timespec="milliseconds"),
            name,
            lost,
        )

    def _note(self, stop: Stop, record: StopRecord, shot: ShotRecord) -> None:
        """Enter one exposure into the record; with the stop's last one, report the stop."""
        record.shots.append(shot)
        self._missed_in_a_row = self._missed_in_a_row + 1 if shot.error else 0
        if len(record.shots) == self._settings.shots_per_step:
            done = stop.index + 1
            eta_s = (self._elapsed_s() - self._paused_s) / done * (self._total - done)
            self._report(StopDone(stop.index, any(s.error for s in record.shots), eta_s))
        if self._missed_in_a_row >= self._give_up_after:
            raise CameraError(
                f"{self._missed_in_a_row} frames in a row are missing, the last at stop {stop.index}: the "
                "camera does not deliver; check it, then start again",
                missing_in_a_row=self._missed_in_a_row,
            )

    def _wait_while_paused(self) -> None:
        self._check_cancel()
        if not self._signals.pause.is_set():
            return
        self._collect_pending()
        self._report(Paused())
        paused_s = self._elapsed_s()
        while self._signals.pause.is_set():
            self._sleep(_SLICE_S)
        self._paused_s += self._elapsed_s() - paused_s
        self._report(Resumed())

    def _check_cancel(self) -> None:
        if self._signals.cancel.is_set():
            self._collect_pending()
            raise Cancelled("the job was cancelled; what was fused so far is in its folder")

    def _sleep(self, seconds: float) -> None:
        """Sleep in slices, so that a cancel is heard in the middle of a long wait."""
        until_s = self._clock.now_s() + seconds
        while (left_s := until_s - self._clock.now_s()) > 0:
            if not self._clock.sleep(min(left_s, _SLICE_S), self._signals.stop):
                self._rig.rail.distrust()
                raise Stopped("the emergency stop was pressed: the motor is off; send `home`")
            self._check_cancel()

    def _elapsed_s(self) -> float:
        return self._clock.now_s() - self._began_s
