"""A driver chip that is stepped by its pins and set up, and watched, over a serial line."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from focusd.drivers.serial_wire import SerialWire
from focusd.drivers.stepper import Stepper
from focusd.drivers.tmc2209 import Tmc2209
from focusd.errors import RailError
from focusd.halt import Halt
from focusd.rail import Until
from focusd.ramp import Ramp
from focusd.tmc_settings import TmcSettings

log = logging.getLogger(__name__)


class TmcStepper:
    """A `Stepper` whose TMC2209 is set up before it gets current, and asked before and after every move.

    The chip is set up when the motor is first switched on, not when focusd starts: it answers only while the
    motor supply is on, which may come later.

    Parameters
    ----------
    stepper : Stepper
        The pins.
    wire : SerialWire
        The serial line.
    address : int
        Of the chip, 0 to 3.
    settings : TmcSettings
        What it is set to.
    """

    def __init__(self, stepper: Stepper, wire: SerialWire, address: int, settings: TmcSettings) -> None:
        self._stepper = stepper
        self._wire = wire
        self._chip = Tmc2209(wire, address)
        self._settings = settings
        self._is_set_up = False
        self._was_hot = False

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early, if not the emergency stop."""
        return self._stepper.ended_by

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        return self._stepper.worst_late_s

    def energise(self) -> None:
        """Set the chip up if that was lost, or see that it has kept its settings; then the current on.

        Raises
        ------
        ChipReset, ChipFault
            The chip was reset or has switched the motor off since the last move: nobody knows where it is.
        TmcError
            It does not answer, or not as it should; the current stays off.
        """
        if self._is_set_up:
            self._ask()
        else:
            self._stepper.release()
            self._chip.configure(self._settings)
            self._is_set_up = True
        self._stepper.energise()

    def release(self) -> None:
        """Switch the current off, by EN alone."""
        self._stepper.release()

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        """Make steps; see `focusd.rail.Motor.run`.

        Raises
        ------
        ChipReset, ChipFault
            The chip was reset or has switched the motor off meanwhile: steps were lost.
        TmcError
            It cannot be asked.
        """
        made = self._stepper.run(steps, ramp, stop, until)
        # The line is slow: whoever ended the move waits for EN first.
        if made == steps != 0:
            self._ask()
        return made

    def close(self) -> None:
        """Release, and give pins and port back."""
        try:
            self._stepper.close()
        finally:
            self._wire.close()

    def _ask(self) -> None:
        try:
            status = self._chip.check()
        except RailError:  # a chip that cannot be asked may have been reset as well
            self._is_set_up = False
            raise
        if status.over_temperature_warning and not self._was_hot:
            log.warning(
                "the TMC2209 on %s is hotter than 120 degrees C: lower run_ma or cool it", self._wire.name
            )
        self._was_hot = status.over_temperature_warning
