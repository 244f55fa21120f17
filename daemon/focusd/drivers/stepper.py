"""A driver chip with STEP, DIR and EN on GPIO lines."""

from __future__ import annotations

from collections.abc import Sequence

from gpiozero import DigitalOutputDevice
from gpiozero.pins import Factory

from focusd.clock import Clock
from focusd.drivers.native import Board, NativePulses
from focusd.drivers.pulses import TIMINGS, PinPulses, Pulses
from focusd.halt import Halt
from focusd.rail import Until
from focusd.rail_config import MS_LEVELS, ChipRailConfig
from focusd.ramp import Ramp


class Stepper:
    """A stepper motor behind a driver chip (A4988, DRV8825, TMC2209).

    The current is off from the moment the pins are taken. EN should have a pull-up on the board: then it is
    off as well before any program takes the line. After a program was killed Raspberry Pi OS leaves outputs
    as they were, which is what ``focusd release`` is for.

    Parameters
    ----------
    config : ChipRailConfig
        Pins, polarity and chip.
    factory : gpiozero.pins.Factory
        Where pins come from.
    clock : Clock
        The rig's.
    board : Board, optional
        The same lines for the C loop, which then times the steps; Python does without it.
    """

    def __init__(
        self, config: ChipRailConfig, factory: Factory, clock: Clock, board: Board | None = None
    ) -> None:
        self._clock = clock
        self._timing = TIMINGS[config.driver]
        self._invert = config.invert_direction
        # EN first: whatever the other lines do while being set up, the motor is off.
        self._enable = DigitalOutputDevice(
            config.enable_pin,
            active_high=config.enable_active == "high",
            initial_value=False,
            pin_factory=factory,
        )
        self._direction = DigitalOutputDevice(config.direction_pin, initial_value=False, pin_factory=factory)
        self._step = DigitalOutputDevice(config.step_pin, initial_value=False, pin_factory=factory)
        levels = MS_LEVELS[config.driver].get(config.microsteps, ())
        self._microsteps = [
            DigitalOutputDevice(pin, initial_value=bool(level), pin_factory=factory)
            for pin, level in zip(config.microstep_pins, levels, strict=False)
        ]
        self._pulses: Pulses
        if board is None:
            self._pulses = PinPulses(self._step, self._timing, clock)
        else:
            self._pulses = NativePulses(board, config.step_pin, self._timing, clock)

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early, if not the emergency stop."""
        return self._pulses.ended_by

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        return self._pulses.worst_late_s

    def energise(self) -> None:
        """Switch the current on and give the chip its time to wake."""
        if not self._enable.value:
            self._enable.on()
            self._clock.sleep(self._timing.wake_s)

    def release(self) -> None:
        """Switch the current off."""
        self._enable.off()

    def run(self, steps: int, ramp: Ramp, stop: Halt, until: Sequence[Until] = ()) -> int:
        """Make steps; see `focusd.rail.Motor.run`."""
        if steps == 0:
            return 0
        level = (steps > 0) != self._invert
        if bool(self._direction.value) != level:
            self._clock.sleep(self._timing.direction_s)
            self._direction.value = level
            self._clock.sleep(self._timing.direction_s)
        made = self._pulses.run(abs(steps), ramp, stop, until)
        return made if steps > 0 else -made

    def close(self) -> None:
        """Release and give the pins back, EN last."""
        self.release()
        self._step.close()
        self._direction.close()
        for pin in self._microsteps:
            pin.close()
        self._enable.close()
