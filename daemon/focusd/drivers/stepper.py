"""A STEP/DIR/EN driver chip on three GPIO lines, and an end stop on a fourth."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gpiozero import DigitalOutputDevice, InputDevice
from gpiozero.pins import Factory

from focusd.clock import Clock
from focusd.config import HomeConfig, RailConfig
from focusd.drivers.pulses import TIMINGS, PinPulses
from focusd.ramp import Ramp


class Stepper:
    """A stepper motor behind a driver chip (A4988, DRV8825, TMC2209).

    The current is off from the moment the pins are taken. EN should have a pull-up on the board, so that it
    is off as well while no program holds the line.

    Parameters
    ----------
    config : RailConfig
        Pins, polarity and chip.
    factory : gpiozero.pins.Factory
        Where pins come from.
    clock : Clock
        The rig's.
    """

    def __init__(self, config: RailConfig, factory: Factory, clock: Clock) -> None:
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
        self._pulses = PinPulses(self._step, self._timing, clock)

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

    def run(self, steps: int, ramp: Ramp, stop: threading.Event, until: Callable[[], bool] | None) -> int:
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
        self._enable.close()


class EndStop:
    """A switch on a GPIO line.

    Parameters
    ----------
    config : HomeConfig
        Pin, active level and pull.
    factory : gpiozero.pins.Factory
        Where pins come from.
    """

    def __init__(self, config: HomeConfig, factory: Factory) -> None:
        # gpiozero derives the active level from a pull and wants it stated without one; the level itself is
        # compared here, since a switch may be wired against its pull. Not a Button: that starts threads.
        pull = {"up": True, "down": False, "none": None}[config.pull]
        self._active_high = config.active == "high"
        self._input = InputDevice(
            config.pin, pull_up=pull, active_state=None if pull is not None else True, pin_factory=factory
        )

    @property
    def is_pressed(self) -> bool:
        """Whether the switch is at its active level."""
        return bool(self._input.pin.state) == self._active_high

    def close(self) -> None:
        """Give the pin back."""
        self._input.close()
