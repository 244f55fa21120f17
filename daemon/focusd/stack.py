"""Drive a plan on a rig: move, settle, expose, hand the frame on; one Stop after the other.

The way of one Stop::

    move (from the approach side) -> collect the last stop's frame, if it was not there before -> settle ->
    expose -> the shutter has closed: the carriage may move again

so the camera's file travels, and the fusion works, while the rail is already moving on and settling. A frame
that is lost, or turns out unusable, is taken again: back (from the approach side), settle, expose; within a
budget of the job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from focusd.clock import Clock
from focusd.errors import CameraError, ExposureTimeout, FrameLost, Stopped
from focusd.estimate import Pace
from focusd.job import Captured, JobEvent, JobSettings, Paused, Resumed, Retaken, StopDone
from focusd.plan import StackPlan, Stop
from focusd.rig import Exposure, Frame, Rig, Shot
from focusd.signals import Cancelled, Signals
from focusd.stop_record import ShotRecord, StopRecord

_SLICE_S = 0.2
# Exposures for one frame, at most.
_TRIES = 3


class Receiver(Protocol):
    """Who takes the frames of a stack; called on the job thread."""

    def deliver(self, shot: Shot, frame: Frame) -> None:
        """Take a frame in; may block while the fusion is behind."""
        ...

    def spoiled(self, *, settled: bool = False) -> Sequence[Shot]:
        """Return the shots whose frames have turned out unusable since the last call.

        With `settled`, after every frame that was delivered has been looked at.
        """
        ...

    def inspect(self, frame: Frame) -> None:
        """Judge the test frame; raise `FocusdError` to refuse the stack."""
        ...


@dataclass(frozen=True, slots=True)
class _Try:
    """An exposure for a shot; `number` counts from 0."""

    shot: Shot
    record: StopRecord
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Miss:
    """A try that gave no frame."""

    attempt: _Try
    reason: str


class Stack:
    """One stack while it runs.

    Parameters
    ----------
    rig, clock, signals, pace
        As `focusd.runner.Runner` has them.
    settings, receiver, report
        As its `run` takes them.
    """

    def __init__(
        self,
        rig: Rig,
        clock: Clock,
        signals: Signals,
        pace: Pace,
        settings: JobSettings,
        receiver: Receiver,
        report: Callable[[JobEvent], None],
    ) -> None:
        self._rig, self._clock, self._signals = rig, clock, signals
        self._settings = settings
        self._receiver, self._report = receiver, report
        self._reach = rig.rail.spec.reach(settings.approach, settings.backlash_um, settings.prerun_um)
        self._settle_s = pace.settle_of(settings)
        self._pre_delay_s = pace.pre_delay_of(settings)
        self.hold = settings.hold or pace.hold
        self._give_up_after = pace.give_up_after
        self._retries_left = pace.retries
        self._missed_in_a_row = 0
        self._began_s = 0.0
        self._paused_s = 0.0
        self._lit_at_s: float | None = None
        self._pending: tuple[_Try, Exposure] | None = None
        # Of the stops whose report is due: whether each of their shots so far is missing.
        self._open: dict[int, list[bool]] = {}
        self._records: list[StopRecord] = []
        self._tried: dict[tuple[int, int], int] = {}
        self._total = self._done = 0
        self.complete = False

    def run(self, plan: StackPlan, records: list[StopRecord], *, preflight: bool) -> None:
        """Photograph every stop; see `focusd.runner.Runner.run`."""
        rail, camera, lights = self._rig.rail, self._rig.camera, self._rig.lights
        middle_um = plan.positions_um[len(plan) // 2]
        self._records = records
        route = [*plan.positions_um, *self._settings.return_positions_um(plan)]
        if preflight:
            route.insert(0, middle_um)
        # The whole way is checked before the first pulse.
        if rail.trusted:
            rail.spec.rehearse(route, self._reach, rail.position_steps, rail.run_in)
        self._total = len(plan)
        self._began_s = self._clock.now_s()
        camera.begin(self._settings)
        if lights is not None:
            self._sleep(lights.begin())
        if preflight:
            self._look_from(middle_um)
        for stop in plan:
            self._wait_while_paused()
            self._visit(stop, records)
        self._catch_up(settled=True)
        for position_um in self._settings.return_positions_um(plan):
            rail.move_to(position_um, self._reach)
        self.complete = True
        self._report(Captured())

    # One stop.

    def _visit(self, stop: Stop, records: list[StopRecord]) -> None:
        rail = self._rig.rail
        rail.move_to(stop.position_um, self._reach)
        arrived_s = self._clock.now_s()
        if self._catch_up():
            rail.move_to(stop.position_um, self._reach)
            arrived_s = self._clock.now_s()
        record = StopRecord(stop.index, stop.position_um, rail.position_um, self._elapsed_s())
        records.append(record)
        turns = self._settings.lights or (None,)
        # The first light warms up while the carriage settles.
        self._switch_on(turns[0])
        self._settle(arrived_s)
        self._open[stop.index] = []
        number = 0
        for light in turns:
            for _ in range(self._settings.shots_per_step):
                self._retake(self._collect())  # of the shot before, at this very stop
                shot = Shot(stop.index, number, stop.position_um, record.position_um, light)
                self._retake(self._shoot(_Try(shot, record)))
                number += 1
                # With nothing to write first, the fusion may have it while the carriage moves.
                if self._settings.keep_frames in (None, "off") and self._rig.camera.has_frame():
                    self._retake(self._collect())
            self._switch_off()
        if self.hold == "off":
            rail.release()

    def _look_from(self, position_um: float) -> None:
        """Take a test frame and have it judged."""
        rail, camera = self._rig.rail, self._rig.camera
        rail.move_to(position_um, self._reach)
        light = self._settings.lights[0] if self._settings.lights else None
        self._switch_on(light)
        self._settle(self._clock.now_s())
        for number in range(_TRIES):
            try:
                exposure = self._expose(light)
                frame = camera.collect(exposure)
                if frame is not None:
                    self._receiver.inspect(frame)
            except (ExposureTimeout, FrameLost) as error:
                self._check_cancel()
                if number + 1 == _TRIES:
                    raise CameraError(
                        f"the camera gave no test frame in {_TRIES} tries that can be used: {error}",
                        **error.values,
                    ) from error
            else:
                break
        self._switch_off()

    def _shoot(self, attempt: _Try) -> _Miss | None:
        """Expose; the frame is pending then."""
        try:
            exposure = self._expose(attempt.shot.light)
        except (ExposureTimeout, FrameLost) as error:
            now_s, at = self._elapsed_s(), self._clock.wall().isoformat(timespec="milliseconds")
            shot = attempt.shot
            attempt.record.shots.append(
                ShotRecord(now_s, now_s, None, at, None, str(error), shot.number, shot.light)
            )
            return _Miss(attempt, str(error))
        self._pending = (attempt, exposure)
        return None

    def _expose(self, light: str | None) -> Exposure:
        self._switch_on(light)
        self._warm_up()
        return self._rig.camera.expose()

    def _collect(self) -> _Miss | None:
        """Wait for the frame of the last exposure and hand it on."""
        if self._pending is None:
            return None
        attempt, exposure = self._pending
        name, lost = None, None
        try:
            frame = self._rig.camera.collect(exposure)
        except FrameLost as error:
            lost = str(error)
        else:
            if frame is not None:
                name = frame.name
                self._receiver.deliver(attempt.shot, frame)
        self._pending = None
        attempt.record.shots.append(self._record_of(attempt, exposure, name, lost))
        if lost is not None:
            return _Miss(attempt, lost)
        self._missed_in_a_row = 0
        self._resolve(attempt, missing=False)
        return None

    # Second tries.

    def _catch_up(self, *, settled: bool = False) -> bool:
        """Collect what is pending and take again what is lost or spoiled; whether the carriage went there."""
        miss = self._collect()
        misses = [miss] if miss is not None else []
        went = False
        while True:
            for miss in misses:
                went |= self._retake(miss)
            spoiled = self._receiver.spoiled(settled=settled)
            if not spoiled:
                return went
            misses = [self._miss_of(shot) for shot in spoiled]

    def _miss_of(self, shot: Shot) -> _Miss:
        """Return a frame that arrived, and turned out unusable later; its stop has been reported."""
        tries = self._tried.get((shot.stop_index, shot.number), 0)
        return _Miss(_Try(shot, self._records[shot.stop_index], tries), "its frame cannot be used")

    def _retake(self, miss: _Miss | None) -> bool:
        """Go back, settle and expose again, until the frame is there or no try is left; whether it went."""
        went = False
        while miss is not None:
            attempt = miss.attempt
            if self._signals.cancel.is_set():
                self._resolve(attempt, missing=True)
                self._check_cancel()
            if attempt.number + 1 >= _TRIES or self._retries_left <= 0:
                self._give_up(miss)
                break
            self._retries_left -= 1
            self._report(Retaken(attempt.shot.stop_index, miss.reason))
            self._rig.rail.move_to(attempt.shot.planned_um, self._reach)
            went = True
            number = self._tried[attempt.shot.stop_index, attempt.shot.number] = attempt.number + 1
            try:
                self._settle(self._clock.now_s())
                miss = self._shoot(replace(attempt, number=number)) or self._collect()
            except Cancelled:
                self._resolve(attempt, missing=True)
                raise
            self._switch_off()
        return went

    def _give_up(self, miss: _Miss) -> None:
        """Go on without a frame; with too many in a row the camera is at fault."""
        self._missed_in_a_row += 1
        self._resolve(miss.attempt, missing=True)
        if self._missed_in_a_row >= self._give_up_after:
            raise CameraError(
                f"{self._missed_in_a_row} frames in a row are missing, the last at stop "
                f"{miss.attempt.shot.stop_index}: the camera does not deliver; check it, then start again "
                f"({miss.reason})",
                missing_in_a_row=self._missed_in_a_row,
            )

    # What is told.

    def abandon_pending(self) -> None:
        """Enter an exposure whose frame nobody waits for any more: the specimen was exposed all the same."""
        if self._pending is not None:
            (attempt, exposure), self._pending = self._pending, None
            attempt.record.shots.append(
                self._record_of(attempt, exposure, None, "the stack ended before its frame was fused")
            )

    def _record_of(self, attempt: _Try, exposure: Exposure, name: str | None, lost: str | None) -> ShotRecord:
        return ShotRecord(
            exposure.opened_s - self._began_s,
            exposure.closed_s - self._began_s,
            exposure.exposure_s,
            exposure.at.isoformat(timespec="milliseconds"),
            name,
            lost,
            attempt.shot.number,
            attempt.shot.light,
        )

    def _resolve(self, attempt: _Try, *, missing: bool) -> None:
        """Count a shot that is there or given up; with the stop's last one, report the stop."""
        index = attempt.shot.stop_index
        if index not in self._open:
            return  # reported before: its frame turned out unusable later
        self._open[index].append(missing)
        if len(self._open[index]) == self._settings.exposures_per_stop:
            is_missing = any(self._open.pop(index))
            self._done += 1
            eta_s = (self._elapsed_s() - self._paused_s) / self._done * (self._total - self._done)
            self._report(StopDone(index, is_missing, eta_s))

    # Waiting.

    def _switch_on(self, light: str | None) -> None:
        """Switch on a shot's light, unless it burns; `_warm_up` waits for it."""
        lights = self._rig.lights
        if lights is not None and self._lit_at_s is None:
            self._lit_at_s = self._clock.now_s() + lights.turn_on(light)

    def _warm_up(self) -> None:
        if self._lit_at_s is not None:
            self._sleep(self._lit_at_s - self._clock.now_s())

    def _switch_off(self) -> None:
        if self._rig.lights is not None and self._lit_at_s is not None:
            self._rig.lights.turn_off()
        self._lit_at_s = None

    def _settle(self, arrived_s: float) -> None:
        """Wait until the carriage is at rest; before the first exposure of all also until hands are off."""
        self._sleep(self._settle_s - (self._clock.now_s() - arrived_s))
        pre_delay_s, self._pre_delay_s = self._pre_delay_s, 0.0
        self._sleep(pre_delay_s)

    def _wait_while_paused(self) -> None:
        self._check_cancel()
        if not self._signals.pause.is_set():
            return
        if self._catch_up() and self.hold == "off":
            self._rig.rail.release()
        self._report(Paused())
        paused_s = self._elapsed_s()
        while self._signals.pause.is_set():
            self._sleep(_SLICE_S)
        self._paused_s += self._elapsed_s() - paused_s
        self._report(Resumed())

    def _check_cancel(self) -> None:
        if self._signals.cancel.is_set():
            miss = self._collect()
            if miss is not None:
                self._resolve(miss.attempt, missing=True)
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
