"""Who times the STEP pulses, and what the driver chip asks of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from gpiozero import DigitalOutputDevice

from focusd.clock import Clock
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
    # Allegro A4988, Timing Requirements: STEP high and low 1 us, set-up and hold 200 ns; 1 ms from sleep.
    "a4988": PulseTiming(2e-6, 2e-6, 1e-6, 1e-3),
    # TI DRV8825 (SLVSA73F), 6.6: STEP high and low 1.9 us, set-up and hold 650 ns, wake 1.7 ms.
    "drv8825": PulseTiming(4e-6, 4e-6, 2e-6, 2e-3),
    # Trinamic TMC2209, 14.2 STEP/DIR interface timing: about 100 ns high and low, 20 ns set-up and hold.
    "tmc2209": PulseTiming(1e-6, 1e-6, 1e-6, 1e-3),
}


class PinPulses:
    """Pulses made edge by edge through a gpiozero pin, timed on the rig's clock.

    A late step is never caught up: each interval counts from the previous actual step, and after a gap of
    more than one interval the ramp begins again, because the motor has come to rest meanwhile.

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
        self.worst_late_s = 0.0

    def run(self, count: int, ramp: Ramp, stop: threading.Event, until: Callable[[], bool] | None) -> int:
        """Make `count` pulses; see `focusd.rail.Motor.run`. Returns the pulses made."""
        clock, timing = self._clock, self._timing
        since_rest = 0
        last_s = clock.now_s()
        for made in range(count):
            interval_s = ramp.interval_s(since_rest, count - made)
            ahead_s = last_s + interval_s - clock.now_s()
            if not clock.sleep(max(0.0, ahead_s), stop) or (until is not None and until()):
                return made
            late_s = clock.now_s() - last_s - interval_s
            if made:
                self.worst_late_s = max(self.worst_late_s, late_s)
            since_rest = 0 if late_s > interval_s else since_rest + 1
            last_s = clock.now_s()
            self._step.on()
            clock.sleep(timing.high_s)
            self._step.off()
            clock.sleep(timing.low_s)
        return count
