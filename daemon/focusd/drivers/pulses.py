"""Who times the STEP pulses, and what the driver chip asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gpiozero import DigitalOutputDevice

from focusd.clock import Clock
from focusd.drivers.pacer import Pacer
from focusd.halt import Halt
from focusd.rail import Until
from focusd.ramp import Ramp


@dataclass(frozen=True, slots=True)
class PulseTiming:
    """What a driver chip asks, s.

    Parameters
    ----------
    high_s, low_s : float
        Shortest STEP pulse and pause.
    direction_s : float
        DIR must stand this long before a STEP edge and after it.
    wake_s : float
        From EN to the first STEP.
    """

    high_s: float
    low_s: float
    direction_s: float
    wake_s: float


# Each with a margin over the data sheet, because a pin's edge is not as steep as the table's.
TIMINGS: dict[str, PulseTiming] = {
    # Allegro A4988 (rev. 5), figure 1: STEP high and low 1 us, set-up and hold 200 ns; 1 ms from sleep.
    "a4988": PulseTiming(2e-6, 2e-6, 1e-6, 1e-3),
    # TI DRV8825 (SLVSA73F), 7.6: STEP high and low 1.9 us, set-up and hold 650 ns; 1.7 ms from sleep.
    "drv8825": PulseTiming(4e-6, 4e-6, 2e-6, 2e-3),
    # Trinamic TMC2209 (rev. 1.09), 13.1: STEP high and low a clock and 20 ns (107 ns), set-up and hold 20 ns.
    "tmc2209": PulseTiming(1e-6, 1e-6, 1e-6, 1e-3),
}


class Pulses(Protocol):
    """Gives STEP pulses."""

    def run(self, count: int, ramp: Ramp, stop: Halt, until: Sequence[Until]) -> int:
        """Make `count` pulses; see `focusd.rail.Motor.run`. Returns the pulses made."""
        ...

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early, if not the emergency stop."""
        ...

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        ...


class PinPulses:
    """Pulses made edge by edge through a gpiozero pin, timed in Python on the rig's clock.

    Parameters
    ----------
    step : DigitalOutputDevice
        The STEP line.
    timing : PulseTiming
        The driver chip's.
    clock : Clock
        The rig's.
    """

    def __init__(self, step: DigitalOutputDevice, timing: PulseTiming, clock: Clock) -> None:
        self._step = step
        self._timing = timing
        self._clock = clock
        self._pacer = Pacer(clock)

    @property
    def ended_by(self) -> Until | None:
        """What ended the last run early, if not the emergency stop."""
        return self._pacer.ended_by

    @property
    def worst_late_s(self) -> float:
        """The latest any step has been behind its time so far, s."""
        return self._pacer.worst_late_s

    def run(self, count: int, ramp: Ramp, stop: Halt, until: Sequence[Until]) -> int:
        """Make `count` pulses; see `focusd.rail.Motor.run`. Returns the pulses made."""
        return self._pacer.run(count, ramp, stop, until, self._pulse)

    def _pulse(self) -> float:
        self._step.on()
        stepped_s = self._clock.now_s()
        self._clock.sleep(self._timing.high_s)
        self._step.off()
        self._clock.sleep(self._timing.low_s)
        return stepped_s
