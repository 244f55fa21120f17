"""Drive a plan on a rig, and leave nothing on afterwards; how, is `focusd.stack`."""

from __future__ import annotations

from collections.abc import Callable

from focusd.clock import Clock
from focusd.estimate import Pace
from focusd.job import JobEvent, JobSettings
from focusd.plan import StackPlan
from focusd.rig import Rig
from focusd.signals import Cancelled, Signals
from focusd.stack import Receiver, Stack
from focusd.stop_record import StopRecord

__all__ = ["Cancelled", "Receiver", "Runner", "Signals", "StopRecord"]


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
        receiver: Receiver,
        report: Callable[[JobEvent], None],
        records: list[StopRecord],
        *,
        preflight: bool = False,
    ) -> None:
        """Photograph every stop.

        Parameters
        ----------
        plan : StackPlan
            Where to stop. The whole way is checked against the limits before the first pulse.
        settings : JobSettings
            How.
        receiver : Receiver
            Takes each frame with the rail's true step position.
        report : callable
            Takes `StopDone`, `Retaken`, `Paused`, `Resumed` and `Captured` as they happen.
        records : list of StopRecord
            Appended to as stops are reached, so that it is there for a stack that ends early.
        preflight : bool
            Take a frame in the middle of the stack first and let the receiver inspect it.

        Raises
        ------
        Cancelled
            Between two stops. What was delivered stays delivered.
        CameraError
            Too many frames missing in a row, or no test frame.
        RailError, Stopped
            The motor is off and the position untrusted.
        FocusdError
            What the receiver raises.
        """
        stack = Stack(self._rig, self._clock, self._signals, self._pace, settings, receiver, report)
        try:
            stack.run(plan, records, preflight=preflight)
        finally:
            stack.abandon_pending()
            # Nothing is left on, whatever happened; only a finished stack may keep the motor holding.
            if not (stack.complete and stack.hold == "always"):
                self._rig.rail.release()
            try:
                self._rig.camera.end()
            finally:
                if self._rig.lights is not None:
                    self._rig.lights.end()
